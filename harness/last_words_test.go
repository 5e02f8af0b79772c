package harness

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Timeline: QEMU tells of a panic; then the line in which the guest said why is read,
// which came on another socket.
func TestWhatAGuestSaidLastIsHeardAfterItsEnd(t *testing.T) {
	t.Parallel()
	end := errors.New("the guest panicked")
	m := &qemu.Machine{}
	for _, c := range []struct {
		name string
		then func(w *consoleWatch, read chan struct{}) // what comes after the end
		want string
		at   time.Duration
	}{
		{"its words come late", func(w *consoleWatch, _ chan struct{}) {
			w.err = &verdict.ConsoleError{Name: "panic", Line: "panic: x"}
			close(w.failed)
		}, `the guest failed: panic: "panic: x" on its serial console`, consequenceGrace / 2},
		{"it said nothing of it", func(_ *consoleWatch, read chan struct{}) { close(read) }, "the guest panicked", consequenceGrace / 2},
		{"its console does not end", nil, "the guest panicked", consequenceGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &Lane{failures: newConsoleWatch(nil, nil)}
				read := make(chan struct{})
				l.consoles.Store(m, read)
				if c.then != nil {
					time.AfterFunc(consequenceGrace/2, func() { c.then(l.failures, read) })
				}
				began := time.Now()
				l.awaitLastWords(m)
				require.Equal(t, c.at, time.Since(began))
				require.EqualError(t, l.reason(end), c.want)
			})
		})
	}
}
