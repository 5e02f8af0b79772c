package verdict_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

// judged is an error of another package that knows who is at fault.
type judged struct{ kind verdict.Kind }

func (judged) Error() string           { return "judged" }
func (j judged) Verdict() verdict.Kind { return j.kind }

func TestAnErrorIsClassifiedByTheFirstThatKnows(t *testing.T) {
	t.Parallel()
	inner := &verdict.Error{Verdict: verdict.Host, Op: "qemu", Err: errors.New("gone")}
	for _, c := range []struct {
		name string
		err  error
		want verdict.Kind
		says string
	}{
		{"a verdict that is there stays", fmt.Errorf("wrapped: %w", inner), verdict.Host, "wrapped: qemu: gone"},
		{"it stays before an error that judges itself", errors.Join(judged{verdict.Product}, inner), verdict.Host, "judged\nqemu: gone"},
		{"an error that judges itself", fmt.Errorf("wrapped: %w", judged{verdict.Product}), verdict.Product, "step: wrapped: judged"},
		{"it decides before what the system said", errors.Join(syscall.ENOSPC, judged{verdict.Harness}), verdict.Harness, "step: " + syscall.ENOSPC.Error() + "\njudged"},
		{"the guest's own report", &verdict.ConsoleError{Name: "kernel panic", Line: "panic: x"}, verdict.Product,
			`step: the guest failed: kernel panic: "panic: x" on its serial console`},
		{"a full disk", &fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, verdict.Host,
			"step: write f: no space left on device; the disk is full: free some space or choose another directory"},
		{"a quota", syscall.EDQUOT, verdict.Host, "step: disk quota exceeded; the disk is full: free some space or choose another directory"},
		{"a place that cannot be written", fs.ErrPermission, verdict.Host, "step: permission denied; choose a directory that can be written"},
		{"a disk that cannot be written", syscall.EROFS, verdict.Host, "step: read-only file system; choose a directory that can be written"},
		{"a port that needs root", &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}, verdict.Host,
			"step: listen tcp: bind: permission denied; this user may not use that address: choose a port above 1023"},
		{"a port that is taken", syscall.EADDRINUSE, verdict.Host, "step: address already in use; another program has that port: end it or choose another"},
		{"an address that is not here", syscall.EADDRNOTAVAIL, verdict.Host, "step: cannot assign requested address; this host does not have that address"},
		{"anything else", errors.New("what?"), verdict.Harness, "step: what?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := verdict.Classify("step", c.err)
			require.Equal(t, c.want, verdict.Of(err))
			require.EqualError(t, err, c.says)
			require.ErrorIs(t, err, c.err)
		})
	}
	require.NoError(t, verdict.Classify("step", nil))
}

// Without this rule the part that runs out of descriptors first would get the blame: the client
// that cannot dial, or the QEMU that cannot start.
func TestALackOfDescriptorsIsTheHostsFaultWhateverFailedByIt(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	hint := fmt.Sprintf("; this process may have %d files open: raise that limit (ulimit -n 1024)", limit.Cur)
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"bare": {syscall.EMFILE, "step: too many open files" + hint},
		"a product's verdict": {&verdict.Error{Verdict: verdict.Product, Op: "client", Err: fmt.Errorf("dial: %w", syscall.EMFILE)},
			"client: dial: too many open files" + hint},
		"an error that judges itself":     {errors.Join(judged{verdict.Product}, syscall.EMFILE), "step: judged\ntoo many open files" + hint},
		"a host's verdict without a hint": {&verdict.Error{Verdict: verdict.Host, Op: "pipe", Err: syscall.EMFILE}, "pipe: too many open files" + hint},
		"the whole host": {syscall.ENFILE,
			"step: too many open files in system; the host has no file descriptor left: end some programs, or raise fs.file-max"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, verdict.Host, verdict.Of(c.err))
			err := verdict.Classify("step", c.err)
			require.EqualError(t, err, c.says)
			require.Equal(t, verdict.Host, verdict.Of(err))
			require.EqualError(t, verdict.Classify("again", err), c.says, "the hint is given once")
		})
	}
}
