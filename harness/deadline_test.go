package harness_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// requireTooShort requires that a lane was not started because the time was too short.
func requireTooShort(t *testing.T, dir string, err error) *harness.DeadlineError {
	t.Helper()
	var short *harness.DeadlineError
	require.ErrorAs(t, err, &short)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	require.NoFileExists(t, filepath.Join(dir, qemu.ArgvFile), "it was begun")
	return short
}

func TestTooShortADeadlineFailsAtOnceWithTheTimeThatIsNeeded(t *testing.T) {
	ownCache(t)
	for _, c := range []struct {
		name   string
		ctx    time.Duration
		cfg    harness.Config
		wanted string
	}{
		{"of a context", time.Second, harness.Config{}, "the context's deadline leaves "},
		{"that is past", -time.Second, harness.Config{}, "the context's deadline is past by 1"},
		{"of a configuration", time.Hour, harness.Config{Timeout: 100 * time.Millisecond}, "Config.Timeout leaves 600ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.ctx)
			defer cancel()
			c.cfg.Accel, c.cfg.Dir = "tcg", t.TempDir()
			began := time.Now()
			_, err := harness.Start(ctx, c.cfg)
			e := requireTooShort(t, c.cfg.Dir, err)
			require.Less(t, time.Since(began), e.Needed, "it is not at once")
			require.ErrorContains(t, err, c.wanted)
			require.ErrorContains(t, err, "the lane needs more than 1.5s to boot; give it more time")
		})
	}
}

// The time that a lane needs here is known from earlier ones.
func TestWhatALaneNeedsIsLearned(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	for _, c := range []struct {
		warm harness.Warm
		how  string
	}{
		{harness.WarmOff, "to boot"}, // and is saved
		{harness.WarmAuto, "to be restored"},
	} {
		lane := start(t, cfg)
		ready := lane.ReadyAfter()
		require.NoError(t, lane.Close())
		short := cfg
		short.Dir, short.Warm = t.TempDir(), c.warm
		short.Timeout = 100 * time.Microsecond // no part of ready, which has waits for the host in it
		_, err := harness.Start(t.Context(), short)
		e := requireTooShort(t, short.Dir, err)
		require.Greater(t, e.Needed, e.Left)
		require.LessOrEqual(t, e.Needed, ready)
		require.ErrorContains(t, err, c.how+" (the fastest of 1 here)")
	}
}

// hurried is a test with an earlier deadline than its real one.
type hurried struct {
	testing.TB
	deadline time.Time
	fatal    chan string
}

func (h hurried) Deadline() (time.Time, bool) { return h.deadline, true }

func (h hurried) Fatalf(format string, args ...any) {
	h.fatal <- strings.TrimSpace(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func TestATestWithTooLittleTimeIsTold(t *testing.T) {
	ownCache(t)
	h := hurried{t, time.Now().Add(11 * time.Second), make(chan string, 1)}
	dir := t.TempDir()
	go func() {
		harness.Up(h, harness.Config{Accel: "tcg", Dir: dir})
		h.fatal <- "it came up"
	}()
	said := <-h.fatal
	require.Contains(t, said, "harness fault: deadline: go test -timeout, of which 10s are kept for the lane's end, leaves ")
	require.Contains(t, said, "the lane needs more than 1.5s to boot")
	require.NoFileExists(t, filepath.Join(dir, qemu.ArgvFile))
	_, err := os.Stat(filepath.Join(dir, verdict.File))
	require.NoError(t, err)
}
