package scenario_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/screen"
)

// The guest is one of a user's own entry, with the kernel's large font. Its terminal turns capital
// letters into small ones on their way in.
func TestReadBackFailsIfTheGuestGetsOtherCharactersThanWereTyped(t *testing.T) {
	lanetest.AtOnce(t)
	entry := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(entry, []byte(`name: own
build: linux
append: console=ttyS0 quiet fbcon=font:TER16x32
banner: Hello from Linux
texts:
  shell: "linux# "
`), 0o600))
	lane := harness.Up(t, harness.Config{Fixture: entry, Display: "virtio"})
	_, err := lane.TypeInto(lane.Context(), "linux# ", "clear; stty iuclc; echo lower case only\n")
	require.NoError(t, err)
	_, err = lane.AwaitTextMatch(lane.Context(), screen.TextQuery{Pattern: regexp.MustCompile(`^lower case only$`)})
	require.NoError(t, err)
	grid, err := lane.Text(lane.Context())
	require.NoError(t, err)
	require.Equal(t, "linux-ter-16x32", grid.Font.Name)
	said := lanetest.Failing(t, func(tb testing.TB) { scenario.ReadBackOf(tb, lane, time.Second/2, "AB") })
	require.Len(t, said, 1)
	require.Contains(t, said[0], `after "AB" was typed into "linux# "`)
	require.Contains(t, said[0], `\nlinux# ab`)
}
