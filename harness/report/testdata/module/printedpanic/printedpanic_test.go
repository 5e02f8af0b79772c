package printedpanic

import (
	"fmt"
	"testing"
)

const guest = "panic: no root device\n\ngoroutine 1 [running]:\nmain.main()\n"

func TestPrints(t *testing.T) {
	fmt.Print("the guest said:\n" + guest)
	t.Errorf("banner is %q, want %q", "a", "b")
}

func TestLogs(t *testing.T) {
	t.Log(guest)
	t.Error("got 1, want 2")
}

func TestPassesAfterwards(t *testing.T) { fmt.Print(guest) }

func TestPrintsLast(t *testing.T) {
	fmt.Print(guest)
	t.Error("got 3, want 4")
}
