package parallel

import (
	"fmt"
	"sync"
	"testing"
)

func TestInterleaved(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(2)
	for _, name := range []string{"good", "bad"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fmt.Printf("%s begins\n", name)
			begun.Done()
			begun.Wait()
			fmt.Printf("%s stops in the middle", name)
			if name == "bad" {
				t.Errorf("%s: got 1, want 2", name)
			}
		})
	}
}
