package scenario_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/scenario"
)

// The lanes of these tests:
//
//	Beacon ── QEMU ──(plain or TLS)── proxy ── TLS ── client ── control socket ── suite
//	            └──────────────(plain or TLS)──────────┘

// The canary: what every change runs.
func TestALaneIsUpToTheBasics(t *testing.T) {
	atOnce(t)
	lane := harness.Up(t, harness.Config{})
	scenario.Run(t, lane, suites("boot", "surfaces", "screenshot", "digest", "pointer", "clipboard")...)
}

func TestALaneGoesThroughAllSuites(t *testing.T) {
	atLength(t)
	atOnce(t)
	lane := harness.Up(t, harness.Config{})
	scenario.Run(t, lane)
}

func TestTheGuestWalksThroughAllModes(t *testing.T) {
	atLength(t)
	atOnce(t)
	scenario.Walk(t, harness.Up(t, harness.Config{Display: "std"}))
}

func TestTheGuestSurvivesHardships(t *testing.T) {
	atLength(t)
	atOnce(t)
	lane := harness.Up(t, harness.Config{})
	scenario.Run(t, lane,
		scenario.Suite{Name: "flood", Run: scenario.Flood},
		scenario.Suite{Name: "foreign clipboard", Run: scenario.ForeignClipboard},
		scenario.Suite{Name: "reset", Run: scenario.Reset})
}

// Somebody else's proxy, which passes SPICE through inside TLS and is asked for
// nothing else.
func TestASessionThroughAForeignProxyGoesThroughTheSuites(t *testing.T) {
	atLength(t)
	atOnce(t)
	if _, err := exec.LookPath("socat"); err != nil {
		harness.SkipOrFail(t, "socat was not found; install it with: sudo apt-get install -y socat")
	}
	lane := harness.Up(t, harness.Config{Proxy: "socat OPENSSL-LISTEN:{tls_port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={tls}/server.pem" +
		" TCP:{spice_host}:{spice_port}"})
	scenario.Run(t, lane, suites("boot", "screenshot", "digest", "pointer", "clipboard", "monitors", "tone", "reconnect", "record")...)
}

func TestClosedLoopTypingLosesNothing(t *testing.T) {
	atLength(t)
	atOnce(t)
	n := 2000
	if racing { // each waits for a picture
		n = 200
	}
	scenario.Typing(n)(t, harness.Up(t, harness.Config{}))
}

// Without the proxy it is QEMU's ticket that the client is let in with.
func TestARecordedSessionDoesNotTellItsTicket(t *testing.T) {
	atLength(t)
	atOnce(t)
	scenario.Run(t, harness.Up(t, harness.Config{Proxy: harness.None}), suites("record")...)
}

func TestTheWholeStoryIsReportedTwiceAlike(t *testing.T) {
	atLength(t)
	atOnce(t)
	scenario.Full(t, harness.Up(t, harness.Config{}))
}

func TestWrongAnswersEndInACountdown(t *testing.T) {
	atLength(t)
	atOnce(t)
	scenario.Countdown(t, harness.Up(t, harness.Config{}))
}

// A machine with a keyboard, a mouse and nothing else: the pointer moves by
// distances, and there is neither agent nor sound.
func TestABareMachineIsDrivenToo(t *testing.T) {
	atLength(t)
	atOnce(t)
	lane := harness.Up(t, harness.Config{Fixture: bare(t)})
	st, err := lane.Client.Status(lane.Context())
	require.NoError(t, err)
	require.Equal(t, "server", st.MouseMode)
	scenario.Run(t, lane, suites("boot", "pointer", "clipboard", "monitors", "tone")...)
	scenario.Run(t, lane, scenario.Suite{Name: "bare", Run: scenario.Bare})
}

// With a tablet and without an agent the server moves the tablet.
func TestThePointerMovesOnATablet(t *testing.T) {
	atLength(t)
	atOnce(t)
	lane := harness.Up(t, harness.Config{Agent: "off"})
	st, err := lane.Client.Status(lane.Context())
	require.NoError(t, err)
	require.Equal(t, "client", st.MouseMode)
	scenario.Run(t, lane, suites("pointer")...)
}

// bare is an entry for Beacon on a machine without tablet, agent and sound.
func bare(t *testing.T) string {
	t.Helper()
	fx, err := fixtures.Find("beacon")
	require.NoError(t, err)
	image, err := fx.Materialize(harness.CacheDir())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "bare.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `name: bare
image: %s
memory_mib: %d
banner: %s
digest: true
`, image, fx.MemoryMiB, fx.Banner), 0o600))
	return file
}

// suites are those of scenario.Suites with these names, in the order given.
func suites(names ...string) []scenario.Suite {
	var list []scenario.Suite
	for _, name := range names {
		for _, s := range scenario.Suites() {
			if s.Name == name {
				list = append(list, s)
			}
		}
	}
	if len(list) != len(names) {
		panic(fmt.Sprintf("not all of %v are suites", names))
	}
	return list
}

// atOnce is t.Parallel for tests with a lane. Under the race detector a lane
// takes nearly a whole processor, and lanes that starve miss what they should see.
func atOnce(t *testing.T) {
	t.Helper()
	t.Parallel()
	if racing {
		slots <- struct{}{}
		t.Cleanup(func() { <-slots })
	}
}

var slots = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)-1))

// atLength keeps a test out of the canary.
func atLength(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs the canary only")
	}
}
