package hangs

import (
	"fmt"
	"testing"
)

func TestHangs(t *testing.T) {
	t.Run("deep", func(t *testing.T) {
		fmt.Print("waiting...")
		select {}
	})
}
