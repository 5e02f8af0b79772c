package harness

import (
	"errors"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Timeline: QEMU reports a panic; then the line in which the guest gave the reason is read, which
// came over another socket.
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

// Timeline: a guest writes "FATAL: no", and a moment later the rest of the line.
func TestAFailureIsSaidInAllItsWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		match string
		rest  string
		after time.Duration
		want  string // empty: it is no failure
		took  time.Duration
	}{
		{"the rest comes soon", "^FATAL: ", " disk\r\n", linePause / 2, "FATAL: no disk", linePause / 2},
		{"the rest comes soon, without a newline", "^FATAL: ", " disk", linePause / 2, "FATAL: no disk", linePause + linePause/2},
		{"the rest comes late", "^FATAL: ", " disk\r\n", linePause * 2, "FATAL: no%", linePause},
		{"it is redrawn, which keeps what stood there", "^FATAL: ", "\rloading again", linePause / 2, "FATAL: no%", linePause + linePause/2},
		{"what matches is half of one text and half of another", "^FATAL: no%", " disk\r\n", linePause / 2, "", linePause / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				console := serial.NewLog(serial.Config{})
				_, err := console.Write([]byte("loading 1%\rFATAL: no"))
				require.NoError(t, err)
				time.AfterFunc(c.after, func() { _, _ = console.Write([]byte(c.rest)) })
				line, err := console.Reader(0).Look(t.Context())
				require.NoError(t, err)
				began := time.Now()
				w := newConsoleWatch([]fixtures.Failure{{Name: "fatal", Pattern: regexp.MustCompile(c.match)}}, nil)
				w.scan(console).look(line)
				require.Equal(t, c.took, time.Since(began))
				if c.want == "" {
					require.Nil(t, w.err)
				} else {
					require.Equal(t, c.want, w.err.Line)
				}
				synctest.Wait()
				time.Sleep(c.after) // the bubble's clock
			})
		})
	}
}
