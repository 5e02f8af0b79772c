package harness_test

import (
	"errors"
	"image"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/harness/verdict"
)

// truthHost skips or fails the test if the truth server cannot be built.
func truthHost(t *testing.T) {
	t.Helper()
	harness.RequireHost(t)
	if _, err := harness.TruthHelper(t.Context()); err != nil {
		harness.SkipOrFail(t, err.Error())
	}
}

// truth server → built-in proxy → built-in client
func TestALaneCanHaveTheTruthServerInQEMUsPlace(t *testing.T) {
	truthHost(t)
	lane := harness.Up(t, harness.Config{Server: harness.ServerTruth})
	server, err := lane.Truth()
	if err != nil {
		t.Fatal(err)
	}
	box := image.Rect(30, 40, 130, 90)
	for _, color := range []uint32{0x3366cc, 0xcc6633} {
		if err := server.Push(t.Context(), &qxl.Drawable{Box: box, Op: &qxl.Fill{Brush: qxl.Solid(color), Rop: qxl.RopPut}}); err != nil {
			t.Fatal(err)
		}
		if err := server.Draw(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := lane.AwaitScreensMatch(t.Context()); err != nil {
			t.Errorf("color %06x: %v", color, err)
		}
	}
	want, err := server.Picture()
	if err != nil {
		t.Fatal(err)
	}
	if got := want.NRGBAAt(31, 41); got.R != 0xcc || got.G != 0x66 || got.B != 0x33 {
		t.Errorf("the server's own picture is %v there", got)
	}
	got, err := lane.Screenshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := drive.FirstDifference(got, want); diff != "" {
		t.Error(diff)
	}
	if _, err := lane.AwaitSerial(t.Context(), "hello"); verdict.Of(err) != verdict.Harness {
		t.Errorf("waiting for a guest's line: %v, want a fault of the harness", err)
	}
}

func TestALaneEndsWithItsTruthServer(t *testing.T) {
	truthHost(t)
	lane, err := harness.Start(t.Context(), harness.Config{Server: harness.ServerTruth, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer lane.Close()
	server, err := lane.Truth()
	if err != nil {
		t.Fatal(err)
	}
	// A ROP3 code that spice-server has no handler for.
	if err := server.Push(t.Context(), &qxl.Drawable{Box: image.Rect(0, 0, 9, 9), Op: &qxl.Rop3{Brush: qxl.Solid(1), Code: 0xcc,
		Src: &qxl.Image{Format: qxl.Bit32, Width: 9, Height: 9, Data: qxl.Bytes(make([]byte, 9*9*4))}, Area: image.Rect(0, 0, 9, 9)}}); err != nil {
		t.Fatal(err)
	}
	if err := server.Draw(t.Context(), 0); err == nil {
		t.Fatal("the server lives")
	}
	<-lane.Done()
	if v := verdict.Of(lane.Err()); v != verdict.Product {
		t.Errorf("got %v (%v), want a fault of the product", v, lane.Err())
	}
}

func TestWhatNeedsAGuestSaysThatThereIsNone(t *testing.T) {
	truthHost(t)
	lane := harness.Up(t, harness.Config{Server: harness.ServerTruth})
	require.Nil(t, lane.Machine())
	require.Empty(t, lane.State().SerialLog)
	require.Empty(t, lane.Serial().Tail(9))
	_, serial := lane.Serial().Await(t.Context(), serial.Contains("hello"))
	for what, err := range map[string]error{
		"serial console": serial,
		"change ticket":  lane.ChangeTicket(t.Context()),
		"stop backend":   lane.StopBackend(t.Context()),
	} {
		require.ErrorContains(t, err, what+": a lane whose server is truth has no guest")
		require.Equal(t, verdict.Harness, verdict.Of(err), what)
	}
	require.ErrorContains(t, lane.ChangeTicketSilently(t.Context()), "has no guest")
	require.NoError(t, lane.AwaitScreensMatch(t.Context()), "the client is still connected")
}

func TestAGuestAndAServerWithoutOneExcludeEachOther(t *testing.T) {
	for _, c := range []harness.Config{
		{Server: "truth", Image: "some.qcow2"}, {Server: "truth", Fixture: "beacon"}, {Server: "truth", BackendTLS: true},
		{Server: "nowhere"}, {Server: "host:0"}, {Server: ":5900"},
	} {
		var field *harness.FieldError
		if err := c.Check(); !errors.As(err, &field) {
			t.Errorf("%+v: %v, want a field's error", c, err)
		}
	}
	for _, server := range []string{"truth", "127.0.0.1:5900"} {
		for field, c := range map[string]harness.Config{
			"Initrd": {Initrd: "initrd"}, "Append": {Append: "quiet"}, "Banner": {Banner: "hello"},
			"Failures": {Failures: []fixtures.Failure{{Name: "bad"}}}, "IgnoreFailures": {IgnoreFailures: []string{"all"}},
			"MemoryMiB": {MemoryMiB: 512}, "CPUs": {CPUs: 2}, "Accel": {Accel: "kvm"}, "Display": {Display: "std"},
			"Agent": {Agent: harness.AgentOn}, "Warm": {Warm: harness.WarmRequire}, "Devices": {Devices: []string{"virtio-rng-pci"}},
			"ExtraArgs": {ExtraArgs: []string{"-S"}}, "Streaming": {Streaming: "all"}, "SingleClient": {SingleClient: true},
		} {
			c.Server = server
			require.ErrorContains(t, c.Check(), "Config."+field+": "+strconv.Quote(server)+" ", "or it would be ignored")
		}
		require.NoError(t, harness.Config{Server: server, Accel: "auto", Agent: harness.AgentOff, Warm: harness.WarmOff}.Check())
	}
	require.ErrorContains(t, harness.Config{Server: "host:1", Compression: "glz"}.Check(), "Config.Compression: ")
	require.ErrorContains(t, harness.Config{Server: "host:1", Streaming: "off"}.Check(), "Config.Streaming: ")
	require.NoError(t, harness.Config{Server: "truth", Compression: "glz", Streaming: "off"}.Check())
	require.ErrorContains(t, harness.Config{ServerTicket: "t"}.Check(), "Config.ServerTicket: ")
	require.ErrorContains(t, harness.Config{Server: "truth", ServerTicket: "t"}.Check(), "Config.ServerTicket: ")
	for _, server := range []string{"", "qemu", "truth", "127.0.0.1:5900", "[::1]:5900"} {
		if err := (harness.Config{Server: server}).Check(); err != nil {
			t.Errorf("server %q: %v", server, err)
		}
	}
}
