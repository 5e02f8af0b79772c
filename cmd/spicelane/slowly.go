package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spicelane/spicelane/harness/termview"
)

// slowly runs f. If that takes longer than a second and stderr is a terminal, it shows what the
// command waits for, and for how long.
func slowly(stderr io.Writer, what string, f func() error) error {
	file, ok := stderr.(*os.File)
	if !ok || !termview.IsTerminal(file) {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	shown := false
	for {
		select {
		case err := <-done:
			if shown {
				fmt.Fprint(stderr, "\r\x1b[K")
			}
			return err
		case <-tick.C:
			fmt.Fprintf(stderr, "\r\x1b[K  %s … %.0f s", what, time.Since(began).Seconds())
			shown = true
		}
	}
}
