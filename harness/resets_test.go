package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// resetLane boots a sector that prints READY and obeys single bytes on its serial port: r resets
// the machine, s switches it off.
func resetLane(t *testing.T) *harness.Lane {
	t.Helper()
	return resetLaneIn(t, t.ArtifactDir())
}

// resetLaneIn is resetLane with the given lane directory.
func resetLaneIn(t testing.TB, lane string) *harness.Lane {
	t.Helper()
	dir := t.TempDir()
	sector, err := os.ReadFile("qemu/testdata/echo.bin")
	require.NoError(t, err)
	disk := make([]byte, 1<<20)
	copy(disk, sector)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "echo.img"), disk, 0o600))
	entry := filepath.Join(dir, "echo.yaml")
	require.NoError(t, os.WriteFile(entry, []byte("name: echo\nimage: echo.img\nfirmware: bios\nmemory_mib: 32\nbanner: READY\n"), 0o600))
	up := harness.Up(t, harness.Config{Fixture: entry, Warm: "off", Dir: lane})
	require.NoError(t, awaitReady(up, 0))
	return up
}

// awaitReady waits for READY in line number n or later, and for the end of that line. A line is
// seen before it ends, so a wait for the next READY would otherwise find the same line again.
func awaitReady(lane *harness.Lane, n int) error {
	lines := lane.Machine().Serial().Reader(n)
	for {
		line, err := lines.Next(lane.Context())
		if err != nil || strings.Contains(line.Text, "READY") {
			return err
		}
	}
}

// tell sends the guest one byte. If the byte resets the guest, tell waits until it is back.
func tell(t *testing.T, lane *harness.Lane, command string) error {
	mark := lane.Machine().Serial().Next()
	if _, err := lane.Machine().WriteSerial(lane.Context(), []byte(command)); err != nil {
		return err
	}
	return awaitReady(lane, mark)
}

func events(t *testing.T, lane *harness.Lane, name string) (n int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(lane.Dir(), timeline.File))
	require.NoError(t, err)
	return strings.Count(string(b), `"`+name+`"`)
}

func verdictOf(t *testing.T, lane *harness.Lane) (r verdict.Report) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(lane.Dir(), verdict.File))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r))
	return r
}

func TestAResetThatNobodyExpectsFailsTheWaitsUnderWay(t *testing.T) {
	t.Parallel()
	lane := resetLane(t)
	waited := make(chan error, 1)
	go func() {
		_, err := lane.AwaitSerial(lane.Context(), "login:")
		waited <- err
	}()
	// The first reset may come before the wait has begun.
	var err error
	for try := 0; err == nil && try < 4; try++ {
		require.NoError(t, tell(t, lane, "r"))
		select {
		case err = <-waited:
		default:
		}
	}
	if err == nil {
		err = <-waited
	}
	require.ErrorContains(t, err, "the guest reset itself (guest-reset) while the lane was ready")
	require.ErrorContains(t, err, "Lane.ExpectReset")
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.NoError(t, lane.Err(), "the lane is up")
	require.Equal(t, registry.StateReady, lane.State().State)
	require.Positive(t, lane.State().Resets)
	require.Positive(t, events(t, lane, "reset"))
}

func TestAResetThatIsExpectedOrAskedForFailsNoWait(t *testing.T) {
	t.Parallel()
	lane := resetLane(t)
	ctx, cancel := context.WithCancelCause(lane.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := lane.AwaitSerial(ctx, "login:")
		waited <- err
	}()
	done := lane.ExpectReset()
	for range 3 {
		require.NoError(t, tell(t, lane, "r"))
	}
	done()
	mark := lane.Serial().Next()
	require.NoError(t, lane.Machine().Reset(lane.Context()))
	require.NoError(t, awaitReady(lane, mark))
	cancel(errors.New("it was waiting all the time"))
	require.ErrorContains(t, <-waited, "it was waiting all the time")
	require.NoError(t, lane.Err())
}

// Eleven resets in eight seconds left a lane ready and its timeline without a word about them.
func TestAGuestThatResetsItselfForEverFailsALaneThatWasReady(t *testing.T) {
	t.Parallel()
	lane := resetLane(t)
	for lane.Err() == nil {
		if err := tell(t, lane, "r"); err != nil {
			break
		}
	}
	<-lane.Done()
	err := lane.Err()
	var exit *qemu.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, qemu.KindResetLoop, exit.Kind)
	require.ErrorContains(t, err, "the guest resets itself over and over: ")
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.Equal(t, verdict.HopGuest, verdict.HopOf(err))
	require.Equal(t, registry.StateFailed, lane.State().State)
	require.GreaterOrEqual(t, lane.State().Resets, 10)
	require.Equal(t, registry.StateFailed, verdictOf(t, lane).State)
	_, err = lane.AwaitSerial(lane.Context(), "never")
	require.True(t, errors.As(err, &exit), "%v", err)
}

// Both were "stopped", and one of them was a fault in verdict.json.
func TestAGuestThatSwitchesItselfOffIsToldApartFromALaneThatWasEnded(t *testing.T) {
	t.Parallel()
	lane := resetLane(t)
	_, err := lane.Machine().WriteSerial(lane.Context(), []byte("s"))
	require.NoError(t, err)
	<-lane.Done()
	require.NoError(t, lane.Close())
	s, r := lane.State(), verdictOf(t, lane)
	require.Equal(t, []string{registry.StateStopped, registry.EndedByGuest}, []string{s.State, s.EndedBy})
	require.Equal(t, []string{s.State, s.EndedBy, s.Reason}, []string{r.State, r.EndedBy, r.Reason})
	require.Equal(t, s.Verdict, r.Verdict)
	require.True(t, r.OK, "nothing failed")
	require.Empty(t, r.Verdict)
	require.Error(t, lane.Err(), "it is not up any more")

	other := resetLane(t)
	require.NoError(t, other.Close())
	s, r = other.State(), verdictOf(t, other)
	require.Equal(t, []string{registry.StateStopped, registry.EndedByRequest}, []string{s.State, s.EndedBy})
	require.Equal(t, []string{s.State, s.EndedBy}, []string{r.State, r.EndedBy})
	require.True(t, r.OK)
}

// The full scenario ends like this, and the page of a lane that passed it said "product fault".
func TestALaneWhoseGuestSwitchedItselfOffIsJudgedByItsTest(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	off := func(tb testing.TB, dir string) *harness.Lane {
		lane := resetLaneIn(tb, dir)
		_, err := lane.Machine().WriteSerial(lane.Context(), []byte("s"))
		require.NoError(tb, err)
		<-lane.Done()
		return lane
	}
	left := func(lane *harness.Lane, name string) string {
		b, err := os.ReadFile(filepath.Join(lane.Dir(), name))
		require.NoError(t, err)
		return string(b)
	}

	var lane *harness.Lane
	dir := t.TempDir()
	t.Run("passed", func(t *testing.T) { lane = off(t, dir) })
	r := verdictOf(t, lane)
	require.True(t, r.OK)
	require.Empty(t, r.Verdict)
	require.Empty(t, r.Hop)
	require.Contains(t, r.Reason, "the guest shut down")
	require.Equal(t, registry.EndedByGuest, r.EndedBy)
	require.Contains(t, left(lane, replay.File), "<h1>The test passed; the guest switched itself off after ")
	require.NoFileExists(t, filepath.Join(dir, film.File), "only lanes that fail keep their films")
	require.NotContains(t, left(lane, timeline.File), `"kind":"verdict"`)
	require.Contains(t, left(lane, timeline.File), `"state":"stopped"`)

	lanetest.Failing(t, func(tb testing.TB) {
		lane = off(tb, t.TempDir())
		tb.Fail()
	})
	r = verdictOf(t, lane)
	require.False(t, r.OK)
	require.Equal(t, []any{verdict.Product, verdict.HopGuest}, []any{r.Verdict, r.Hop})
	require.Contains(t, r.Reason, "the machine ended: the guest shut down")
	require.Contains(t, left(lane, replay.File), "<h1>Product fault (guest): the machine ended: the guest shut down")
	require.FileExists(t, filepath.Join(lane.Dir(), film.File))

	lanetest.Failing(t, func(tb testing.TB) {
		lane = off(tb, t.TempDir())
		lane.NoteFailure(&verdict.Error{Verdict: verdict.Harness, Err: errors.New("it did not say goodbye")})
		tb.Fail()
	})
	r = verdictOf(t, lane)
	require.False(t, r.OK)
	require.Equal(t, verdict.Harness, r.Verdict)
	require.Equal(t, "it did not say goodbye", r.Reason, "the test knows why it failed")
}
