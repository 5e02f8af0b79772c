package registry_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestTheZeroRegistryIsTheUsers(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	none, err := registry.Registry{}.List()
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, registry.Registry{}.Save(registry.State{Name: "mine", State: registry.StateStopped}))
	require.FileExists(t, filepath.Join(state, "spicelane", "lanes", "mine", "lane.json"))
	all, err := registry.Registry{}.List()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "mine", all[0].Name)

	t.Setenv("XDG_STATE_HOME", "relative")
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.Equal(t, filepath.Join(home, ".local", "state", "spicelane", "lanes", "x"), registry.Registry{}.Entry("x"))
}

func TestALaneWhoseSupervisorIsGoneHasFailed(t *testing.T) {
	t.Parallel()
	r := registry.Registry{Root: t.TempDir()}
	ended := exec.Command("true")
	require.NoError(t, ended.Run())
	run := filepath.Join(t.TempDir(), "spl-0123456789")
	foreign := filepath.Join(t.TempDir(), "mine")
	for name, s := range map[string]registry.State{
		"ready":    {State: registry.StateReady, RunDir: run},
		"starting": {State: registry.StateStarting, RunDir: foreign},
		"failed":   {State: registry.StateFailed, Reason: "what it said itself"},
	} {
		s.Name = name
		if s.RunDir != "" {
			require.NoError(t, os.Mkdir(s.RunDir, 0o700))
		}
		s.SetSupervisor(ended.Process.Pid)
		require.NoError(t, r.Save(s))
		require.False(t, s.Terminate(0))
	}
	all, err := r.List()
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, "what it said itself", all[0].Reason)
	for i, word := range map[int]string{1: "while the lane was ready", 2: "while the lane was starting"} {
		require.Equal(t, registry.StateFailed, all[i].State)
		require.Equal(t, verdict.Harness, all[i].Verdict)
		require.Contains(t, all[i].Reason, "was killed "+word)
	}
	require.NoDirExists(t, run)
	require.DirExists(t, foreign, "only what is named as a run directory is removed")
}

func TestALaneThatIsSupervisedStaysAsItIs(t *testing.T) {
	t.Parallel()
	r := registry.Registry{Root: t.TempDir()}
	s := registry.State{Name: "up", State: registry.StateReady}
	s.SetSupervisor(os.Getpid())
	require.NoError(t, r.Save(s))
	got, err := r.Load("up")
	require.NoError(t, err)
	require.Equal(t, s, got)

	// The same pid with another start time is another process.
	s.SupervisorStart++
	require.NoError(t, r.Save(s))
	got, err = r.Load("up")
	require.NoError(t, err)
	require.Equal(t, registry.StateFailed, got.State)
}

func TestANoteThatCannotBeReadIsReportedBesideTheOthers(t *testing.T) {
	t.Parallel()
	r := registry.Registry{Root: t.TempDir()}
	require.NoError(t, r.Save(registry.State{Name: "good", State: registry.StateStopped}))
	require.NoError(t, r.Save(registry.State{Name: "bad", State: registry.StateStopped}))
	require.NoError(t, os.WriteFile(filepath.Join(r.Entry("bad"), "lane.json"), []byte("{"), 0o600))
	all, err := r.List()
	require.ErrorContains(t, err, filepath.Join(r.Entry("bad"), "lane.json"))
	require.ErrorContains(t, err, "remove that directory to forget the lane")
	require.Len(t, all, 1)

	_, err = r.Load("../bad")
	require.ErrorContains(t, err, `lane name "../bad": not usable as a name`)
	_, err = r.Load("none")
	require.EqualError(t, err, "lane none: there is no lane of that name; see: spicelane status")
}

// Timeline: a reader reads that the lane is ready; its supervisor records the end and exits; the
// reader looks for the supervisor.
func TestTheEndThatASupervisorRecordsLastIsNotOverwritten(t *testing.T) {
	t.Parallel()
	r := registry.Registry{Root: t.TempDir()}
	ended := exec.Command("true")
	require.NoError(t, ended.Run())
	s := registry.State{Name: "lane", State: registry.StateReady}
	s.SetSupervisor(ended.Process.Pid)
	require.NoError(t, r.Save(s))
	file := filepath.Join(r.Entry("lane"), "lane.json")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.Remove(file))
	require.NoError(t, syscall.Mkfifo(file, 0o600))

	got := make(chan registry.State, 1)
	go func() {
		s, err := r.Load("lane")
		assert.NoError(t, err)
		got <- s
	}()
	pipe, err := os.OpenFile(file, os.O_WRONLY, 0) // when the reader has opened it
	require.NoError(t, err)
	s.State, s.EndedBy = registry.StateStopped, registry.EndedByRequest
	require.NoError(t, r.Save(s))
	_, err = pipe.Write(before)
	require.NoError(t, err)
	require.NoError(t, pipe.Close())
	require.Equal(t, s, <-got)
	after, err := r.Load("lane")
	require.NoError(t, err)
	require.Equal(t, s, after)
}

// Programs that read status --json find these keys for each lane, whatever is known of it.
func TestAStateAlwaysHasTheKeysThatProgramsReadThere(t *testing.T) {
	b, err := json.Marshal(registry.State{})
	require.NoError(t, err)
	var got map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &got))
	for _, key := range []string{"name", "dir", "fixture", "accel", "warm", "cold_reason", "state", "ready_ms", "pids", "qmp", "serial_log",
		"spice", "proxy", "vv", "control_socket", "console_uuid"} {
		require.Contains(t, got, key)
	}
	for key, parts := range map[string][]string{"pids": {"qemu", "proxy", "client"}, "spice": {"addr"}, "proxy": {"addr", "tls_addr", "api"}} {
		var some map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(got[key], &some))
		for _, part := range parts {
			require.Contains(t, some, part, key)
		}
	}
}
