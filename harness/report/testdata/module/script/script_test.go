package script

import "testing"

func TestScripts(t *testing.T) {
	t.Run("up", func(t *testing.T) { run(t) })
}
