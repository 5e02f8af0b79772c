package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A process that was killed is there for a moment after its sockets are closed, and its lane has not
// recorded yet why it ended.
func TestACommandThatLosesItsSocketWaitsForWhatTheLaneSays(t *testing.T) {
	for name, lost := range map[string]error{
		"reset":   &net.OpError{Op: "read", Net: "unix", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
		"refused": &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"ended":   io.EOF,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			s := registry.State{Name: "a", Dir: t.TempDir(), State: registry.StateReady}
			s.PIDs.Client = os.Getpid() // it is alive
			s.SetSupervisor(os.Getpid())
			require.NoError(t, registry.Registry{}.Save(s))
			recorded := make(chan error)
			go func() {
				end := s
				end.State, end.Verdict, end.Hop, end.Reason = registry.StateFailed, verdict.Product, verdict.HopClient, "the client ended: killed"
				recorded <- registry.Registry{}.Save(end)
			}()
			lost := &verdict.Error{Verdict: verdict.Harness, Op: "control socket", Err: fmt.Errorf("lost: %w", lost)}
			err := smokeReason(t.Context(), s, lost, nil, time.Now())
			require.NoError(t, <-recorded)
			for _, err := range []error{err, target{lane: &s}.ended(t.Context(), lost)} {
				require.EqualError(t, err, "lane a is not up but failed: the client ended: killed")
				require.Equal(t, verdict.Product, verdict.Of(err))
				require.Equal(t, verdict.HopClient, verdict.HopOf(err))
			}
		})
	}
}

func TestSmokeThatFailsOnALaneThatIsUpSaysItsOwnReason(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := registry.State{Name: "a", Dir: t.TempDir(), State: registry.StateReady}
	s.PIDs.Client = os.Getpid()
	s.SetSupervisor(os.Getpid())
	require.NoError(t, registry.Registry{}.Save(s))
	err := &verdict.Error{Verdict: verdict.Product, Err: errors.New("the picture is of one colour")}
	require.Equal(t, err, smokeReason(t.Context(), s, err, nil, time.Now()))
	require.Equal(t, err, target{lane: &s}.ended(t.Context(), err))
}
