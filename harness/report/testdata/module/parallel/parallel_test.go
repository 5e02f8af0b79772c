package parallel

import (
	"fmt"
	"testing"
)

// The two run at once, and the bad one fails while the good one is in the middle of a line.
func TestInterleaved(t *testing.T) {
	half, failed := make(chan struct{}), make(chan struct{})
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		fmt.Print("good stops in the middle")
		close(half)
		<-failed
	})
	t.Run("bad", func(t *testing.T) {
		t.Parallel()
		<-half
		t.Error("bad: got 1, want 2")
		close(failed)
	})
}
