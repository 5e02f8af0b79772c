package harness_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
)

// The files of a lane that did not come up are passed on, too.
func TestASecretInTheFilesOfALaneThatDidNotComeUpIsSaid(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	dir := t.TempDir()
	said := lanetest.Failing(t, func(tb testing.TB) {
		harness.Up(tb, harness.Config{Dir: dir, Proxy: harness.Command(sh + ` -c 'cp "$1" "$2"; exit 3' proxy {sources} ` + dir + "/leak.txt")})
	})
	require.Len(t, said, 2)
	require.Equal(t, "harness fault: search for secrets: in "+dir+": the ticket is in leak.txt; do not pass these files on", said[0])
	require.Contains(t, said[1], "product fault: proxy: it ended")
}
