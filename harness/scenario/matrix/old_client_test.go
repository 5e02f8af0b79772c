package matrix_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/internal/race"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// oldClient is the first argument that makes the test binary a client that
// speaks version 1.2 of the control socket and nothing more:
//
//	harness ── control socket ── relay that leaves out the rest ── our own client
const oldClient = "client-of-1.2"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == oldClient {
		if err := runOldClient(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	lanetest.Main(m)
}

func TestAClientOfProtocol12GoesThroughTheSuites(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	self, err := os.Executable()
	require.NoError(t, err)
	lane := harness.Up(t, harness.Config{Client: harness.Command(fmt.Sprintf("'%s' %s {vv} {socket}", self, oldClient))})
	require.Equal(t, methods12, lanetest.Control(t, lane).Server().SupportedMethods)
	for _, s := range scenario.Suites() {
		// The parts that take long with pictures: one key after another and, under the race
		// detector, every mode.
		if s.Name != "keyboard" && s.Name != "type" && s.Name != "native" && (s.Name != "modes" || !race.Enabled) {
			scenario.Run(t, lane, s)
		}
	}
	scenario.Run(t, lane, scenario.Suite{Name: "reset", Run: scenario.Reset})
	if !race.Enabled {
		scenario.Run(t, lane, scenario.Suite{Name: "full", Run: scenario.Full})
	}
}

var (
	methods12 = []string{control.MethodHello, control.MethodStatus, control.MethodSendKey, control.MethodPaste,
		control.MethodScreenshot, control.MethodSubscribe, control.MethodUnsubscribe}
	events12 = []string{control.EventLatency, control.EventAgentConnected, control.EventPasteCompleted, control.EventPasteFailed,
		control.EventDropped, control.EventSurfaceDrawn, control.EventDigestUpdated}
)

// fields12 are the fields of results and events in protocol 1.2. Those that are not listed have no
// additional fields since.
var fields12 = map[string][]string{
	control.MethodStatus:       {"spice_connected", "agent_connected", "surfaces"},
	control.EventSurfaceDrawn:  {"display_channel_id", "surface_id", "produced_at_secs", "wallclock_us"},
	control.EventDigestUpdated: {"frame_counter", "framebuffer_hash", "events", "wallclock_us"},
}

func runOldClient(vvFile, socket string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := os.ReadFile(vvFile)
	if err != nil {
		return err
	}
	f, err := vv.Parse(vvFile, b)
	if err != nil {
		return err
	}
	full := socket + ".full"
	c, err := headless.StartClient(ctx, headless.ClientConfig{VV: func(context.Context) (*vv.File, error) { return f, nil }, Socket: full})
	if err != nil {
		return err
	}
	defer c.Close()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := relay12(conn, full); err != nil {
			return err
		}
	}
}

// relay12 forwards one conversation and omits what version 1.2 does not have.
func relay12(driver net.Conn, full string) error {
	defer driver.Close()
	server, err := net.Dial("unix", full)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	asked := map[string]string{} // method by id
	upward := make(chan error, 1)
	go func() {
		defer server.Close()
		upward <- lines(driver, func(line []byte) error {
			var req control.Request
			if err := json.Unmarshal(line, &req); err != nil {
				return err
			}
			if !slices.Contains(methods12, req.Method) {
				return errors.New("asked for " + req.Method + ", which version 1.2 does not have")
			}
			mu.Lock()
			asked[string(req.ID)] = req.Method
			mu.Unlock()
			_, err := server.Write(append(line, '\n'))
			return err
		})
	}()
	downward := lines(server, func(line []byte) error {
		var msg map[string]json.RawMessage
		if err := json.Unmarshal(line, &msg); err != nil {
			return err
		}
		part, kind := "result", ""
		if err := json.Unmarshal(msg["event"], &kind); err == nil {
			part = "data"
		} else {
			mu.Lock()
			kind = asked[string(msg["id"])]
			mu.Unlock()
		}
		if err := leaveOut(msg, part, kind); err != nil {
			return err
		}
		out, err := json.Marshal(msg)
		if err != nil {
			return err
		}
		_, err = driver.Write(append(out, '\n'))
		return err
	})
	driver.Close()
	up := <-upward
	if errors.Is(downward, net.ErrClosed) || errors.Is(downward, syscall.EPIPE) {
		downward = nil
	}
	if errors.Is(up, net.ErrClosed) {
		up = nil
	}
	return errors.Join(up, downward)
}

func leaveOut(msg map[string]json.RawMessage, part, kind string) error {
	if kind == control.MethodHello && msg[part] != nil {
		var hello control.HelloResult
		if err := json.Unmarshal(msg[part], &hello); err != nil {
			return err
		}
		hello.SupportedMethods, hello.SupportedEvents = methods12, events12
		b, err := json.Marshal(hello)
		msg[part] = b
		return err
	}
	keep, ok := fields12[kind]
	if !ok || msg[part] == nil {
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(msg[part], &all); err != nil {
		return err
	}
	for name := range all {
		if !slices.Contains(keep, name) {
			delete(all, name)
		}
	}
	b, err := json.Marshal(all)
	msg[part] = b
	return err
}

// lines calls f with each line until the connection ends.
func lines(conn net.Conn, f func([]byte) error) error {
	r := bufio.NewReaderSize(conn, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil // the other side has hung up
		}
		if err := f(line[:len(line)-1]); err != nil {
			return err
		}
	}
}
