package printedthenpanics

import (
	"fmt"
	"testing"
)

func TestPrints(t *testing.T) { fmt.Print("panic: of the guest\n\ngoroutine 1 [running]:\n") }

func TestPanics(t *testing.T) {
	fmt.Println("panic: of the guest")
	panic("of the test")
}
