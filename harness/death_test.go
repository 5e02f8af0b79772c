package harness_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// partEnv makes the test binary play a part in a test instead of running tests.
const partEnv = "SPICELANE_TEST_PART"

func TestMain(m *testing.M) {
	if os.Getenv(neverAsks) == "" {
		headless.Main()
	}
	if os.Getenv(partEnv) == "hold a lane" {
		holdLane()
	}
	lanetest.Main(m)
}

// holdLane brings a lane up as a test would, prints so, and waits to be killed.
func holdLane() {
	lane, err := harness.Start(context.Background(), harness.Config{Dir: os.Args[len(os.Args)-1]})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(verdict.Of(err).ExitCode())
	}
	b, err := json.Marshal(lane.State())
	if err != nil {
		panic(err)
	}
	fmt.Println(string(b))
	<-lane.Done()
	os.Exit(0)
}

func TestAKilledTestProcessTakesItsLaneWithIt(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, t.ArtifactDir())
	cmd.Env = append(os.Environ(), partEnv+"=hold a lane")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, line)
	var s registry.State
	require.NoError(t, json.Unmarshal([]byte(line), &s), line)
	require.True(t, host.Alive(s.PIDs.QEMU))

	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	killed := time.Now()
	_ = cmd.Wait()
	require.True(t, host.AwaitExit(t.Context(), s.PIDs.QEMU, 2*time.Second), "QEMU lives %v after the test process was killed", time.Since(killed))

	// The sockets and scratch files are removed, too.
	require.Eventually(t, func() bool {
		_, err := os.Lstat(s.RunDir)
		return errors.Is(err, fs.ErrNotExist)
	}, 2*time.Second, 10*time.Millisecond, "%s outlives its owner", s.RunDir)
}

func TestQEMUsDeathEndsEveryWaiterAtOnceWithTheReason(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx, cancel := context.WithTimeout(lane.Context(), time.Minute)
	defer cancel()
	waiters := map[string]func() error{
		"serial": func() error { _, err := lane.AwaitSerial(ctx, "a line that never comes"); return err },
		"digest": func() error {
			_, err := lane.AwaitDigest(ctx, "a digest that never comes", func(harness.Digest) bool { return false })
			return err
		},
	}
	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(waiters))
	for name, wait := range waiters {
		go func() { results <- result{name, wait()} }()
	}
	require.NoError(t, syscall.Kill(lane.State().PIDs.QEMU, syscall.SIGKILL))
	for range waiters {
		r := <-results
		var exit *qemu.ExitError
		require.ErrorAs(t, r.err, &exit, r.name)
		require.Equal(t, qemu.KindSignal, exit.Kind, r.name)
		require.Equal(t, verdict.Host, verdict.Of(r.err), r.name)
		require.NotEmpty(t, exit.Argv, r.name)
		require.Contains(t, strings.Join(exit.Serial, "\n"), "Hello from Beacon", r.name)
	}
	<-lane.Done()
	require.ErrorContains(t, lane.Err(), "killed by signal 9")
	require.NoError(t, ctx.Err(), "the waiters were woken, they did not time out")
	require.Equal(t, registry.StateFailed, lane.State().State)
}

func TestAGuestThatNeverSaysItsBannerIsTheProductsFault(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	_, err := harness.Start(ctx, harness.Config{Dir: t.ArtifactDir(), Banner: "a banner that never comes", OnBegin: func(step string) {
		if step == "banner" {
			cancel(errPatience)
		}
	}})
	var boot *qemu.BootError
	require.ErrorAs(t, err, &boot)
	require.ErrorIs(t, err, errPatience)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.ErrorContains(t, err, "a banner that never comes")
}

// errPatience is a deadline of the test, not an interrupt by a user.
var errPatience = fmt.Errorf("the test's patience is at its end: %w", context.DeadlineExceeded)
