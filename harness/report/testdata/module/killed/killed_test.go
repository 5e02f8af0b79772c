package killed

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestBefore(t *testing.T) {}

func TestDies(t *testing.T) {
	fmt.Print("dying...")
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
