package passing

import (
	"fmt"
	"testing"
)

func TestPrintsHalfALine(t *testing.T) { fmt.Print("booting...") }

func TestSubtests(t *testing.T) {
	t.Run("one", func(t *testing.T) { fmt.Print("one says") })
	t.Run("two", func(t *testing.T) { fmt.Print("two says") })
	fmt.Print("more")
}

func TestSkipsAfterHalfALine(t *testing.T) {
	fmt.Print("booting...")
	t.Run("sub", func(t *testing.T) { t.Skip("no KVM here") })
}
