package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// A supervisor that is killed leaves no page and no verdict, and the user has not asked for that.
func TestAnInterruptedDownKillsNoSupervisor(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	supervisor := exec.Command("sh", "-c", `trap "" TERM; echo up; read -r end`)
	in, err := supervisor.StdinPipe()
	require.NoError(t, err)
	out, err := supervisor.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, supervisor.Start())
	t.Cleanup(func() {
		in.Close()
		_ = supervisor.Wait()
	})
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	s := registry.State{Name: "a", Dir: t.TempDir(), State: registry.StateReady}
	s.SetSupervisor(supervisor.Process.Pid)
	require.NoError(t, registry.Registry{}.Save(s))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	status := run(ctx, []string{"down", "a"}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, 2, status, stderr.String())
	require.Contains(t, stderr.String(), "interrupted")
	require.True(t, host.Alive(supervisor.Process.Pid))
}

// A disk that was full leaves such a state. The other lanes still have to be found and ended.
func TestALaneWhoseStateCannotBeReadHidesNoOther(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	reg := registry.Registry{}
	require.NoError(t, os.MkdirAll(reg.Entry("bad"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(reg.Entry("bad"), "lane.json"), []byte("{"), 0o600))
	supervisor := exec.Command("sleep", "60")
	require.NoError(t, supervisor.Start())
	ended := make(chan struct{})
	go func() {
		_ = supervisor.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = supervisor.Process.Kill()
		<-ended
	})
	s := registry.State{Name: "good", Dir: t.TempDir(), State: registry.StateReady}
	s.SetSupervisor(supervisor.Process.Pid)
	require.NoError(t, reg.Save(s))

	status, out, stderr := spicelane(t, "status")
	require.Equal(t, 2, status)
	require.Contains(t, out, "good")
	require.Contains(t, stderr, "lane.json")
	status, out, stderr = spicelane(t, "down", "--all")
	require.Equal(t, 2, status)
	require.Contains(t, out, "good: down")
	require.Contains(t, stderr, "lane.json")
	<-ended
}

// Each of these commands waits for what this console does not have or does.
func TestAnInterruptedWaitForADigestIsNoFaultOfTheProduct(t *testing.T) {
	for _, args := range [][]string{{"digest"}, {"smoke", "--require-digest"}} {
		ctx, cancel := context.WithCancel(t.Context())
		c := newDying(controltest.New(256, 256), 1, cancel)
		path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
		var stdout, stderr strings.Builder
		status := run(ctx, append(args, "--socket", path), strings.NewReader(""), &stdout, &stderr)
		require.Equal(t, 2, status, "%q: %s", args, stderr.String())
	}
}

// A console that shows nothing for a while is not at fault if the user does not wait.
func TestAnInterruptedScreenshotIsNoFaultOfTheProduct(t *testing.T) {
	console := spicetest.Start(t, spicetest.Config{Ticket: "ticket", Scripts: map[wire.ChannelID]spicetest.Script{
		mainID: {Steps: []spicetest.Step{spicetest.Send(&wire.MainInit{SessionID: 7})}},
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	console.ServeListener(ln)
	file := &vv.File{Type: "spice", Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, Password: "ticket"}
	text, err := file.MarshalText()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "console.vv")
	require.NoError(t, os.WriteFile(path, text, 0o600))

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = console.AwaitScripts(ctx, 1)
		cancel()
	}()
	var stdout, stderr strings.Builder
	png := filepath.Join(t.TempDir(), "x.png")
	status := run(ctx, []string{"screenshot", "--vv", path, "-o", png}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, 2, status, stderr.String())
}

// The supervisor does not take back that the lane is ready, but it ends it.
func TestALaneThatIsReadyAfterTheInterruptIsNotUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	notes, exited := make(chan note, 1), make(chan error, 1)
	end := func() {
		notes <- note{Ready: &registry.State{Name: "a"}}
		exited <- nil
	}
	_, err := awaitReady(ctx, notes, exited, end, "supervisor.log", newProgress(io.Discard))
	require.ErrorContains(t, err, "interrupted")
	require.Equal(t, verdict.Harness, verdict.Of(err))
	require.Empty(t, exited, "its name is free")
}
