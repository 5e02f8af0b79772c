package subtestpanic

import "testing"

func TestOuter(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Run("bad", func(t *testing.T) { panic("inside a subtest") })
}
