package background

import "testing"

func TestQuiet(t *testing.T) {}

func TestBackground(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		panic("in the background")
	}()
	<-done
	select {}
}
