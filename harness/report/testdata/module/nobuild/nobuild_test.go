package nobuild

import "testing"

func TestUnused(t *testing.T) { x := 1 }
