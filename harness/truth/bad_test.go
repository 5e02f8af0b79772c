package truth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/internal/wrong"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/spice"
)

// start starts a separate server with a primary surface.
func start(t *testing.T, cfg truth.ServerConfig) *truth.Server {
	t.Helper()
	cfg.Helper, cfg.Dir = helper(t), t.TempDir()
	s, err := truth.StartServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Primary(t.Context(), catalogue.Surface{Format: qxl.SurfaceXRGB, Width: 320, Height: 240}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAFullDeviceIsAnErrorAndTheServerGoesOn(t *testing.T) {
	s := start(t, truth.ServerConfig{Memory: 4 << 20})
	big := image.Rect(0, 0, 320, 240)
	huge := image.Rect(0, 0, 1200, 1000)
	full := s.Push(t.Context(), &qxl.Drawable{Box: big, Op: &qxl.Copy{Src: catalogue.Frame(&catalogue.Frames{}, 0, 1200, 1000), Area: huge, Rop: qxl.RopPut}})
	if !errors.Is(full, truth.ErrMemoryFull) {
		t.Fatalf("got %v, want that the memory is full", full)
	}
	if err := s.Draw(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(t.Context(), image.Rect(0, 0, 9, 9), 0x123456); err != nil {
		t.Errorf("after it has drawn what it had: %v", err)
	}
	p, err := s.Picture()
	if err != nil {
		t.Fatal(err)
	}
	if c := p.NRGBAAt(3, 3); c.R != 0x12 || c.G != 0x34 || c.B != 0x56 {
		t.Errorf("it drew %v", c)
	}
}

func TestMemoryIsUsedAgainForAsLongAsAServerGivesItBack(t *testing.T) {
	s := start(t, truth.ServerConfig{Memory: 4 << 20})
	all := image.Rect(0, 0, 320, 240)
	for i := range 60 { // of 300 KiB each
		d := &qxl.Drawable{Box: all, Op: &qxl.Copy{Src: catalogue.Frame(&catalogue.Frames{Seed: uint64(i)}, 0, 320, 240), Area: all, Rop: qxl.RopPut}}
		if err := s.Push(t.Context(), d); err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
		if err := s.Draw(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAGuestThatIsResetInTheMiddleOfAStepIsDrawnAnew(t *testing.T) {
	s := start(t, truth.ServerConfig{})
	client, err := spice.Dial(t.Context(), spice.Config{Host: "127.0.0.1", Port: s.Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for round := range 5 {
		step := catalogue.Random(uint64(round), 12)
		for i, c := range step.Do {
			if err := s.Push(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if i == 2*round {
				break // what was pushed is never drawn
			}
		}
		if err := s.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Primary(t.Context(), catalogue.Surface{Format: qxl.SurfaceXRGB, Width: 320, Height: 240}); err != nil {
			t.Fatal(err)
		}
		value := uint32(0x100 + round)
		if err := s.Fill(t.Context(), image.Rect(0, 0, 320, 240), value); err != nil {
			t.Fatal(err)
		}
		err := client.Await(t.Context(), func() bool {
			c, err := client.Cells(0, 0, image.Rect(319, 239, 320, 240), nil)
			return err == nil && c.Width == 1 && c.Pix[0] == byte(value) && c.Pix[1] == 1
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

func TestAClientMayConnectAndLeaveDuringEveryStep(t *testing.T) {
	s := start(t, truth.ServerConfig{Setting: truth.Setting{Compression: "quic"}, SingleClient: true})
	step := catalogue.Random(3, 25)
	for _, c := range step.Do {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			guest, err := spice.Dial(ctx, spice.Config{Host: "127.0.0.1", Port: s.Port()})
			if err == nil {
				// A client that hangs up before it has a picture can crash spice-server 0.15.1.
				_, err = guest.AwaitPicture(ctx, 0)
				err = errors.Join(err, guest.Close())
			}
			left <- err
		}()
		if err := s.Push(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := s.Draw(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := <-left; err != nil {
			t.Error(err)
		}
		cancel()
	}
	if err := s.Fill(t.Context(), image.Rect(319, 239, 320, 240), 0x42); err != nil {
		t.Fatal(err)
	}
	last, err := spice.Dial(t.Context(), spice.Config{Host: "127.0.0.1", Port: s.Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	err = last.Await(t.Context(), func() bool {
		c, err := last.Cells(0, 0, image.Rect(319, 239, 320, 240), nil)
		return err == nil && c.Width == 1 && c.Pix[0] == 0x42
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheHelperEndsWithItsInput(t *testing.T) {
	s := start(t, truth.ServerConfig{})
	done := s.Done()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-done
	var died *truth.ServerDied
	if err := s.Fill(t.Context(), image.Rect(0, 0, 1, 1), 1); err == nil || errors.As(err, &died) {
		t.Errorf("a closed server was asked: %v", err)
	}
}

// recorded is spice-server's recording of a few steps.
func recorded(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	r := walk(t, truth.Config{Groups: only(t, "1000-1008"), NoProxy: true, Record: dir}, "off")
	if !r.OK() {
		t.Fatal(r.Err())
	}
	return filepath.Join(dir, "fill.replay")
}

func replay(t *testing.T, path string) (*truth.Report, error) {
	t.Helper()
	return truth.Replay(t.Context(), truth.Config{Helper: helper(t), Dir: t.TempDir(), Settings: []truth.Setting{{Compression: "lz"}}}, path)
}

func TestARecordingIsPlayedCompressedOrNot(t *testing.T) {
	path := recorded(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".gz", packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".gz"} {
		r, err := replay(t, p)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || r.Ran < 18 || r.Rows[0].By[catalogue.Exact] != r.Ran {
			t.Errorf("%s: %d commands, %v", filepath.Base(p), r.Ran, r.Err())
		}
	}
}

func TestAFaultIsSeenInARecording(t *testing.T) {
	path := recorded(t)
	cfg := badClient(wrong.WrongColour())
	cfg.Helper, cfg.Dir, cfg.Settings = helper(t), t.TempDir(), []truth.Setting{{Compression: "off"}}
	r, err := truth.Replay(t.Context(), cfg, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) == 0 || r.Failures[0].Hop != truth.HopClient {
		t.Errorf("got %+v, want the client blamed", r.Failures)
	}
}

func TestBadRecordingsAreErrorsThatSayWhere(t *testing.T) {
	path := recorded(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"empty":             nil,
		"foreign":           []byte("\x89PNG\r\n\x1a\n"),
		"only the header":   []byte("SPICE_REPLAY 1\n"),
		"another version":   []byte("SPICE_REPLAY 9\nevent 0 1 16 1\n"),
		"cut in an event":   text[:len(text)-7],
		"cut in pixels":     text[:len(text)/2],
		"no primary":        []byte("SPICE_REPLAY 1\nevent 0 1 16 1\nevent 1 0 1 2\n"),
		"a huge primary":    []byte("SPICE_REPLAY 1\nevent 0 1 20 1\n99999 99999 1280 32\n0 1 0 0\n"),
		"a strange primary": []byte("SPICE_REPLAY 1\nevent 0 1 20 1\n320 240 1280 80\n0 1 0 0\n"),
		"binary that lies":  []byte("SPICE_REPLAY 1\nevent 0 1 20 1\n320 240 1280 32\n0 1 0 0\nbinary 0 data 999999:xx\n"),
	}
	for name, b := range bad {
		p := filepath.Join(t.TempDir(), "bad.replay")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := replay(t, p)
		var damaged *truth.BadRecording
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "bad.replay") {
			t.Errorf("%s: %v, want a bad recording, by name", name, err)
		}
	}
	if _, err := replay(t, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestACommandWithoutABodyIsABadRecording(t *testing.T) {
	path := recorded(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "event 99999 0 1 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = replay(t, path)
	var damaged *truth.BadRecording
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "fill.replay: spice-server does not find command ") {
		t.Errorf("got %v, want a bad recording, by name", err)
	}
}

func TestARecordingThatIsReorderedEndsAndHangsNobody(t *testing.T) {
	path := recorded(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	events := strings.SplitAfter(string(text), "\nevent ")
	last := len(events) - 2
	events[last], events[last-1] = events[last-1], events[last]
	if err := os.WriteFile(path, []byte(strings.Join(events, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	// The server decides in which order two commands draw: either all clients agree, or the
	// recording is bad.
	r, err := replay(t, path)
	var damaged *truth.BadRecording
	switch {
	case errors.As(err, &damaged):
	case err != nil:
		t.Error(err)
	case !r.OK():
		t.Error(r.Err())
	}
}

func TestAFailureOfRandomStepsIsShrunk(t *testing.T) {
	g := catalogue.RandomGroup(11)
	g.Steps = g.Steps[:200]
	cfg := badClient(wrong.WrongColour())
	cfg.Groups, cfg.Shrink, cfg.MostFailures, cfg.NoProxy = []catalogue.Group{g}, true, 1, true
	r := walk(t, cfg, "off")
	if len(r.Failures) != 1 {
		t.Fatalf("%d failures, want one", len(r.Failures))
	}
	if got := r.Failures[0].Smallest; len(got) != 1 || !strings.Contains(got[0], "qxl.Fill") {
		t.Errorf("it takes %q, want one fill", got)
	}
}
