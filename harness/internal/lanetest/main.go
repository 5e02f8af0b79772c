package lanetest

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness"
)

// Main runs the tests of a package whose tests start lanes. It checks for leaked goroutines, and at
// the end prints what the lanes have received. go test shows that with -v, and if the package
// fails.
func Main(m *testing.M) { goleak.VerifyTestMain(Count(m)) }

// Count is Main without the check for goroutines: the caller exits with the status that Run returns.
func Count(m *testing.M) goleak.TestingM { return counting{m} }

// counting prints what the lanes have received when the tests have run.
type counting struct{ goleak.TestingM }

func (c counting) Run() int {
	code := c.TestingM.Run()
	if carried := harness.Carried(); carried != "" {
		fmt.Println(carried)
	}
	return code
}
