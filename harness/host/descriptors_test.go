package host

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

func TestTooFewDescriptorsForALaneAreSaidBeforeQEMUSaysSomethingElse(t *testing.T) {
	t.Parallel()
	require.NoError(t, enoughDescriptors(1024, 40))
	require.NoError(t, enoughDescriptors(40+laneDescriptors, 40))
	err := enoughDescriptors(40+laneDescriptors-1, 40)
	require.EqualError(t, err, "open files: this process may have 87 files open and has 40, a lane needs 48 more; "+
		"raise that limit (ulimit -n 1024)")
	require.Equal(t, verdict.Host, verdict.Of(err))
}

func TestOpenDescriptorsAreCounted(t *testing.T) {
	var files []*os.File
	before := openDescriptors()
	for range 8 {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		files = append(files, r, w)
	}
	require.GreaterOrEqual(t, openDescriptors(), before+16)
	for _, f := range files {
		require.NoError(t, f.Close())
	}
}
