package harness_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

func readVerdict(t *testing.T, dir string) verdict.Report {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, verdict.File))
	require.NoError(t, err)
	var r verdict.Report
	require.NoError(t, json.Unmarshal(b, &r))
	return r
}

func TestAGuestThatPanicsOnItsConsoleEndsTheLane(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	require.NoError(t, lane.Machine().QMP().InjectNMI(ctx))
	_, err := lane.AwaitDigest(ctx, "a digest that never comes", func(harness.Digest) bool { return false })
	var said *verdict.ConsoleError
	require.ErrorAs(t, err, &said)
	require.Regexp(t, "^panic: ", said.Line)
	require.Equal(t, verdict.Product, verdict.Of(err))
	<-lane.Done()
	require.ErrorAs(t, lane.Err(), &said)

	r := readVerdict(t, lane.Dir())
	require.False(t, r.OK)
	require.Equal(t, verdict.Product, r.Verdict)
	require.Contains(t, r.Reason, "the guest failed")

	// When the client has ended, its coverage is known, too. Nothing else changes.
	require.NoError(t, lane.Close())
	closed := readVerdict(t, lane.Dir())
	require.NotZero(t, closed.Carried["operation draw_copy"], "%v", closed.Carried)
	r.Carried = closed.Carried
	require.Equal(t, r, closed)
}

func TestALaneThatWasClosedIsWell(t *testing.T) {
	t.Parallel()
	dir := t.ArtifactDir()
	ok := t.Run("lane", func(t *testing.T) { harness.Up(t, harness.Config{Dir: dir}) })
	require.True(t, ok)
	if _, err := os.Stat(filepath.Join(dir, verdict.File)); os.IsNotExist(err) {
		t.SkipNow() // the lane was skipped, with its reason
	}
	r := readVerdict(t, dir)
	require.True(t, r.OK)
	require.Empty(t, r.Verdict)
	require.Equal(t, t.Name()+"/lane", r.Test)
	require.Equal(t, "beacon", r.Fixture)
}

func TestAWaitInVainSaysWhatTheHostDid(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx, cancel := context.WithTimeoutCause(lane.Context(), 1500*time.Millisecond, errPatience)
	defer cancel()
	_, err := lane.AwaitSerial(ctx, "a line that never comes")
	require.ErrorIs(t, err, errPatience)
	require.ErrorContains(t, err, "QEMU used")
	require.ErrorContains(t, err, "Hello from Beacon", "the last lines that were seen")
}

// A boot sector of one instruction, a jump to itself. If a host does not let it spin, the host is
// blamed instead.
func TestAGuestThatSpinsIsSaidTo(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	dir := t.TempDir()
	image := make([]byte, 1<<20)
	copy(image, []byte{0xeb, 0xfe})
	copy(image[510:], []byte{0x55, 0xaa})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "spins.img"), image, 0o600))
	entry := filepath.Join(dir, "spins.yaml")
	require.NoError(t, os.WriteFile(entry, []byte("name: spins\nimage: spins.img\nfirmware: bios\nmemory_mib: 64\nbanner: READY\n"), 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	_, err := harness.Start(ctx, harness.Config{Fixture: entry, Accel: "tcg", Dir: t.ArtifactDir(), OnBegin: func(step string) {
		if step == "banner" {
			time.AfterFunc(3*time.Second, func() { cancel(errPatience) })
		}
	}})
	require.ErrorIs(t, err, errPatience)
	switch verdict.Of(err) {
	case verdict.Product:
		require.Equal(t, verdict.HopGuest, verdict.HopOf(err))
		require.ErrorContains(t, err, ": the guest spins")
	case verdict.Host:
		require.ErrorContains(t, err, ": the host stalled")
	default:
		t.Fatalf("%+v", err)
	}
}
