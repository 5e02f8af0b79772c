package lanetest

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness"
)

// Main returns the TestMain of a package whose tests bring lanes up: it looks for goroutines that
// are left, and says last what the lanes have carried. go test shows that with -v, and in a
// package that fails.
func Main(m *testing.M) { goleak.VerifyTestMain(counting{m}) }

// counting says what was carried when the tests have run.
type counting struct{ goleak.TestingM }

func (c counting) Run() int {
	code := c.TestingM.Run()
	if carried := harness.Carried(); carried != "" {
		fmt.Println(carried)
	}
	return code
}
