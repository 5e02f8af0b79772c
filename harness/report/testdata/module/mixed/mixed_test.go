package mixed

import (
	"fmt"
	"testing"
)

func TestPassesWithHalfALine(t *testing.T) { fmt.Print("booting...") }

func TestFails(t *testing.T) {
	fmt.Print("booting...")
	t.Error("got 1, want 2")
}

func TestFailsWithHalfALineAfterwards(t *testing.T) {
	t.Error("got 3, want 4")
	fmt.Print("booting...")
}
