package verdict_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

func TestAFaultSaysItsVerdictWhereAssertionsPrintIt(t *testing.T) {
	t.Parallel()
	err := &verdict.Error{Verdict: verdict.Host, Op: "qemu", Err: errors.New("100 % wrong"), Hint: "fix it"}
	require.Equal(t, "qemu: 100 % wrong; fix it", fmt.Sprint(err))
	require.Equal(t, "qemu: 100 % wrong; fix it", fmt.Sprintf("%v", err))
	require.Equal(t, "host fault: qemu: 100 % wrong; fix it", fmt.Sprintf("%+v", err))
	require.Equal(t, `"qemu: 100 % wrong; fix it"`, fmt.Sprintf("%q", err))
}
