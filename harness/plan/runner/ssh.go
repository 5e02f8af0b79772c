package runner

import (
	"errors"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newSSH(plan.Executor, *plan.Loaded, string) (Executor, error) {
	return nil, &verdict.Error{Verdict: verdict.Harness, Err: errors.New("ssh")}
}
