package nonewline

import (
	"fmt"
	"testing"
)

func TestHost(t *testing.T) {
	fmt.Print("booting...")
	t.Fatal("host fault: KVM is required (asked for) and cannot be used")
}

func TestProduct(t *testing.T) {
	fmt.Print("booting...")
	t.Errorf("banner is %q, want %q", "a", "b")
}

func TestSkipped(t *testing.T) {
	fmt.Print("booting...")
	t.Skip("no KVM here")
}
