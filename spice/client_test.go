package spice_test

import (
	"context"
	"image"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestASessionOpensMainFirstAndTheOthersWithItsConnectionID(t *testing.T) {
	s := serve(t, displayID, inputsID, cursorID, wire.ChannelID{Type: wire.ChannelPlayback}, wire.ChannelID{Type: wire.ChannelDisplay, ID: 1})
	s.offer = append(s.offer, displayID) // a channel offered twice is opened once
	c, err := spice.Dial(t.Context(), s.config(spice.Config{}))
	require.NoError(t, err)
	defer c.Close()
	got := map[wire.ChannelID]uint32{}
	for range 5 {
		p := <-s.links
		got[p.id] = p.request.ConnectionID
	}
	require.Equal(t, map[wire.ChannelID]uint32{
		mainID: 0, displayID: 0x5eed, {Type: wire.ChannelDisplay, ID: 1}: 0x5eed, inputsID: 0x5eed, cursorID: 0x5eed,
	}, got, "playback is not opened unless asked for")
	s.peer(mainID).want(&wire.MainAttachChannels{})
	s.peer(displayID).want(&wire.DisplayInit{PixmapCacheID: 1, PixmapCacheSize: 20 << 20, GLZDictionaryID: 1, GLZWindowSize: 8 << 20})
	require.Equal(t, s.offer, c.MainState().Offered)
}

func TestCompressionIsAskedForOnlyWhenConfigured(t *testing.T) {
	s := serve(t, displayID)
	s.dial(spice.Config{PreferredCompression: wire.CompressionLZ4, PixmapCachePixels: -1, GLZWindowPixels: -1})
	d := s.peer(displayID)
	d.want(&wire.DisplayInit{PixmapCacheID: 1, GLZDictionaryID: 1})
	d.want(&wire.DisplayPreferredCompression{Compression: wire.CompressionLZ4})
	require.True(t, d.request.ChannelCaps.Has(wire.CapDisplayPrefCompression))

	s = serve(t, displayID)
	s.dial(spice.Config{})
	require.False(t, s.peer(displayID).request.ChannelCaps.Has(wire.CapDisplayPrefCompression))
}

func TestPingsAreAnsweredAndWindowsAcknowledged(t *testing.T) {
	for _, mini := range []bool{true, false} {
		s := serve(t, cursorID)
		if !mini {
			s.common = s.common.Without(wire.CapMiniHeader)
		}
		s.dial(spice.Config{})
		p := s.peer(cursorID)
		p.send(&wire.Ping{ID: 7, Timestamp: 1 << 40, Data: []byte("filler")})
		p.want(&wire.Pong{ID: 7, Timestamp: 1 << 40})
		p.send(&wire.SetAck{Generation: 3, Window: 2})
		p.want(&wire.AckSync{Generation: 3})
		p.send(&wire.CursorHide{}, &wire.CursorHide{}, &wire.CursorHide{}, &wire.Ping{ID: 8, Data: []byte{}})
		p.want(&wire.Ack{})
		p.want(&wire.Pong{ID: 8})
		p.want(&wire.Ack{})
		p.send(&wire.SetAck{Generation: 4})
		p.want(&wire.AckSync{Generation: 4})
		p.send(&wire.CursorHide{}, &wire.CursorHide{}, &wire.CursorHide{})
		p.sync()
	}
}

func TestWhatIsDrawnIsInTheSnapshot(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	var mu sync.Mutex
	var drawn []spice.Drawn
	stop := c.Observe(func(e spice.Event) {
		if e, ok := e.(spice.Drawn); ok {
			mu.Lock()
			defer mu.Unlock()
			assert.False(t, e.Received.IsZero())
			e.Received, e.At = time.Time{}, time.Time{}
			drawn = append(drawn, e)
		}
	})
	d := s.peer(displayID)
	d.send(primary(4, 3), &wire.DisplayMark{},
		fill(image.Rect(0, 0, 4, 3), 0x111111),
		drawCopy(image.Pt(1, 1), bitmap(1, 2, 2, 0xaa0000, 0x00bb00, 0x0000cc, 0xdddddd)),
		&wire.DisplayCopyBits{Base: base(image.Rect(2, 0, 4, 1)), SrcPos: wire.Point{X: 1, Y: 1}})
	info, err := c.AwaitPicture(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, image.Pt(4, 3), image.Pt(info.Width, info.Height))
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{
		"111111 111111 aa0000 00bb00",
		"111111 aa0000 00bb00 111111",
		"111111 0000cc dddddd 111111",
	}, pixels(pic))
	require.EqualValues(t, 4, pic.Generation, "creation and three operations")
	stop()
	require.Equal(t, []spice.Drawn{
		{Rect: image.Rect(0, 0, 4, 3), Op: "draw_fill", Generation: 2},
		{Rect: image.Rect(1, 1, 3, 3), Op: "draw_copy", Generation: 3},
		{Rect: image.Rect(2, 0, 4, 1), Op: "copy_bits", Generation: 4},
	}, drawn)

	d.send(fill(image.Rect(0, 0, 9, 9), 0))
	d.sync()
	require.Len(t, drawn, 3, "no callback after stop")
	again, err := c.Snapshot(0, 0, pic)
	require.NoError(t, err)
	require.Same(t, pic, again)
	require.EqualValues(t, 5, pic.Generation)

	d.send(&wire.DisplaySurfaceDestroy{})
	d.sync()
	_, err = c.Snapshot(0, 0, nil)
	require.ErrorIs(t, err, spice.ErrNoSurface)
	_, err = c.Snapshot(7, 0, nil)
	require.ErrorIs(t, err, spice.ErrNoSurface)
}

func TestCachedImagesAreDrawnAgainUntilTheServerDropsThem(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	keep := bitmap(42, 1, 1, 0x00ff00)
	keep.Flags = wire.ImageFlagCacheMe
	cached := &wire.Image{ID: 42, Type: wire.ImageFromCache, Width: 1, Height: 1}
	d.send(primary(3, 1), drawCopy(image.Pt(0, 0), keep), drawCopy(image.Pt(2, 0), cached))
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"00ff00 000000 00ff00"}, pixels(pic))

	d.send(&wire.DisplayInvalList{Resources: []wire.Resource{{Type: wire.ResourcePixmap, ID: 42}}}, drawCopy(image.Pt(1, 0), cached))
	err = c.Wait()
	require.EqualError(t, err, "spice: display:0: message 6 display.draw_copy: image 0x2a is not in the pixmap cache")
	var typed *spice.ChannelError
	require.ErrorAs(t, err, &typed)
	require.Equal(t, displayID, typed.Channel)
}

func TestAPaletteIsCachedAndDropped(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	indexed := func(flags wire.BitmapFlags, data ...byte) *wire.Image {
		m := &wire.Image{Type: wire.ImageBitmap, Width: 2, Height: 1, Data: data, PaletteID: 9,
			Bitmap: wire.Bitmap{Format: wire.Bitmap8Bit, Flags: flags | wire.BitmapFlagTopDown, Width: 2, Height: 1, Stride: 2}}
		if flags&wire.BitmapFlagPaletteFromCache == 0 {
			m.Palette = &wire.Palette{Unique: 9, Colors: []uint32{0x112233, 0x445566}}
		}
		return m
	}
	d.send(primary(4, 1),
		drawCopy(image.Pt(0, 0), indexed(wire.BitmapFlagPaletteCacheMe, 0, 1)),
		drawCopy(image.Pt(2, 0), indexed(wire.BitmapFlagPaletteFromCache, 1, 0)))
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"112233 445566 445566 112233"}, pixels(pic))
	d.send(&wire.DisplayInvalPalette{ID: 9}, drawCopy(image.Pt(0, 0), indexed(wire.BitmapFlagPaletteFromCache, 1, 0)))
	require.ErrorContains(t, c.Wait(), "palette 0x9 is not in the palette cache")
}

func TestSixteenBitSurfacesTakePalettesInTheirOwnFormat(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	create := primary(3, 1)
	create.Format = wire.Surface16_555
	m := &wire.Image{Type: wire.ImageBitmap, Width: 1, Height: 1, Data: []byte{0},
		Palette: &wire.Palette{Colors: []uint32{0x7c1f}},
		Bitmap:  wire.Bitmap{Format: wire.Bitmap8Bit, Flags: wire.BitmapFlagTopDown, Width: 1, Height: 1, Stride: 1}}
	d.send(create, fill(image.Rect(0, 0, 1, 1), 0x03e0), drawCopy(image.Pt(1, 0), m), drawCopy(image.Pt(2, 0), bitmap(0, 1, 1, 0x123456)))
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"00ff00 ff00ff 103152"}, pixels(pic))
}

func TestWhatCannotBeShownIsCountedAndTheSurfaceSaysSo(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	odd := &wire.Image{ID: 5, Type: 77, Flags: wire.ImageFlagCacheMe, Width: 1, Height: 1}
	d.send(primary(2, 1), drawCopy(image.Pt(0, 0), odd), fill(image.Rect(0, 0, 1, 1), 0xffffff))
	d.sync()
	info, ok := c.Surface(0, 0)
	require.True(t, ok)
	require.Equal(t, "draw_copy: image type image-77", info.Problem)
	d.send(drawCopy(image.Pt(0, 0), &wire.Image{ID: 5, Type: wire.ImageFromCache, Width: 1, Height: 1}))
	require.NoError(t, d.out.WriteRaw(wire.Header{Type: 399}, []byte("what?")))
	d.sync()
	require.Equal(t, map[string]uint64{"draw_copy: image type image-77": 2, "message display.type-399": 1}, c.Stats().Unsupported)
	require.False(t, isDone(c))
}

func TestAfterADisplayMessageThatNobodyKnowsNoSurfaceOfItsChannelIsTrusted(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(2, 1))
	require.NoError(t, d.out.WriteRaw(wire.Header{Type: 99}, nil)) // common to all channels: it draws nothing
	d.sync()
	info, ok := c.Surface(0, 0)
	require.True(t, ok)
	require.Empty(t, info.Problem)
	require.NoError(t, d.out.WriteRaw(wire.Header{Type: 399}, []byte("what?")))
	d.sync()
	info, ok = c.Surface(0, 0)
	require.True(t, ok)
	require.Equal(t, "message display.type-399", info.Problem)
}

func isDone(c *spice.Client) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func TestTheFirstErrorEndsEverythingAndEveryoneGetsIt(t *testing.T) {
	s := serve(t, displayID, cursorID)
	c := s.dial(spice.Config{})
	ended := make(chan error, 1)
	c.Observe(func(e spice.Event) {
		if e, ok := e.(spice.Ended); ok {
			ended <- e.Err
		}
	})
	waits := make(chan error, 2)
	for range 2 {
		go func() { waits <- c.Wait() }()
	}
	d := s.peer(displayID)
	require.NoError(t, d.out.WriteRaw(wire.Header{Type: 314}, []byte{1, 2, 3}))
	first := <-waits
	require.Same(t, first, <-waits)
	require.Same(t, first, <-ended)
	var malformed *wire.DecodeError
	require.ErrorAs(t, first, &malformed)
	require.Equal(t, wire.ChannelDisplay, malformed.Channel)
	require.ErrorContains(t, first, "spice: display:0: message 1 display.surface_create: ")
	require.Same(t, first, c.Key(t.Context(), 0x1c, true))
	require.Same(t, first, c.Await(t.Context(), func() bool { return false }))
	_, err := s.peer(cursorID).in.Next()
	require.Error(t, err, "the other channels are closed")
	require.NoError(t, c.Close())
	require.Same(t, first, c.Wait(), "Close does not hide why the session ended")
}

func TestCloseIsCleanAndMayBeRepeated(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(1, 1))
	d.sync()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { assert.NoError(t, c.Close()) })
	}
	wg.Wait()
	require.NoError(t, c.Wait())
	require.ErrorIs(t, c.Key(t.Context(), 0x1c, true), spice.ErrClosed)
	_, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err, "the last picture stays")
}

func TestAServerThatGoesAwayIsNamed(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	s.peer(displayID).conn.Close()
	require.EqualError(t, c.Wait(), "spice: display:0: the server closed the connection")

	s = serve(t, displayID)
	c = s.dial(spice.Config{})
	s.peer(mainID).send(&wire.Disconnecting{Reason: wire.ResultPermissionDenied})
	var said *spice.DisconnectedError
	require.ErrorAs(t, c.Wait(), &said)
	require.Equal(t, &spice.DisconnectedError{Reason: wire.ResultPermissionDenied}, said)
}

func TestANoticeJustBeforeTheEndSaysWhyTheSessionEnds(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	s.peer(mainID).send(&wire.Notify{Message: "Somebody else is here."})
	s.peer(mainID).send(&wire.Disconnecting{})
	require.EqualError(t, c.Wait(), `spice: main:0: message 4 disconnecting: server disconnected: ok: "Somebody else is here."`)

	// One that is about something else does not.
	s = serve(t, displayID)
	c = s.dial(spice.Config{})
	s.peer(mainID).send(&wire.Notify{Message: "keyboard channel is insecure"})
	s.peer(mainID).send(&wire.Ping{})
	s.peer(mainID).send(&wire.Disconnecting{})
	var said *spice.DisconnectedError
	require.ErrorAs(t, c.Wait(), &said)
	require.Empty(t, said.Notice)
}

// hangUp ends the server's side of a channel and returns when the client has hung up, too.
func (p *peer) hangUp() {
	p.t.Helper()
	require.NoError(p.t, p.conn.(interface{ CloseWrite() error }).CloseWrite())
	_, err := io.Copy(io.Discard, p.conn)
	require.NoError(p.t, err)
}

// cutOff returns a session whose display has ended in the middle of a message.
func cutOff(t *testing.T) (*server, *spice.Client) {
	t.Helper()
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	_, err := d.conn.Write(wire.Header{Type: 304, Size: 1000}.AppendMini(nil))
	require.NoError(t, err)
	d.hangUp()
	return s, c
}

func TestTheReasonOnTheMainChannelCountsThoughAnotherChannelEndedInTheMiddleOfAMessage(t *testing.T) {
	s, c := cutOff(t)
	s.peer(mainID).send(&wire.Disconnecting{Reason: wire.ResultPermissionDenied})
	var said *spice.DisconnectedError
	require.ErrorAs(t, c.Wait(), &said)
}

func TestAMessageThatIsCutOffIsTheReasonIfTheMainChannelGivesNone(t *testing.T) {
	_, c := cutOff(t)
	require.ErrorContains(t, c.Wait(), "0 of 1000 body bytes")
}

func TestAKeyForAChannelThatTheServerHasClosedDoesNotChangeTheReason(t *testing.T) {
	s := serve(t, inputsID)
	c := s.dial(spice.Config{})
	s.peer(inputsID).hangUp()
	const reason = "spice: inputs:0: the server closed the connection"
	require.EqualError(t, c.Key(t.Context(), 0x1c, true), reason)
	require.EqualError(t, c.Wait(), reason)
}

// A server says why, and closes everything at once.
func TestWhatTheServerSaidLastIsHeardThoughNothingCanBeAnswered(t *testing.T) {
	s := serve(t)
	c := s.dial(spice.Config{})
	gone := make(chan struct{})
	c.Observe(func(e spice.Event) {
		if _, ok := e.(spice.Notified); ok {
			<-gone
		}
	})
	m := s.peer(mainID)
	m.send(&wire.Notify{Message: "hold on"}, &wire.Ping{}, &wire.Disconnecting{Reason: wire.ResultPermissionDenied})
	require.NoError(t, m.conn.Close())
	close(gone)
	var said *spice.DisconnectedError
	require.ErrorAs(t, c.Wait(), &said)
}

func TestAGuestThatMovesEndsTheSessionWithItsNewHost(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	m := s.peer(mainID)
	m.want(&wire.MainAttachChannels{})
	target := wire.MigrationTarget{Port: 5900, SecurePort: 5901, Host: "elsewhere", CertSubject: "CN=x"}
	m.send(&wire.MainMigrateBegin{Target: target})
	m.want(&wire.MainMigrateConnectError{})
	m.send(&wire.MainMigrateSwitchHost{Target: target})
	var moved *spice.MigratedError
	require.ErrorAs(t, c.Wait(), &moved)
	require.Equal(t, &spice.MigratedError{Host: "elsewhere", Port: 5900, TLSPort: 5901, HostSubject: "CN=x"}, moved)
}

func TestLimitsHoldAgainstAHostileServer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits spice.Limits
		sent   []wire.ServerMessage
		want   string
	}{
		{"a surface", spice.Limits{SurfacePixels: 100}, []wire.ServerMessage{primary(11, 10)},
			"pixels of surface 0 (11×10): 110, more than the limit of 100"},
		{"a surface by default", spice.Limits{}, []wire.ServerMessage{primary(16384, 16384)},
			"pixels of surface 0 (16384×16384): 268435456, more than the limit of 67108864"},
		{"a surface of no size", spice.Limits{}, []wire.ServerMessage{primary(0, 10)}, "surface 0 of 0×10 pixels, want 1 to 32768 each way"},
		{"all surfaces", spice.Limits{TotalPixels: 150},
			[]wire.ServerMessage{primary(10, 10), &wire.DisplaySurfaceCreate{Surface: 1, Width: 10, Height: 10, Format: wire.Surface32ARGB}},
			"pixels of all surfaces: 200, more than the limit of 150"},
		{"many surfaces", spice.Limits{Surfaces: 1},
			[]wire.ServerMessage{primary(1, 1), &wire.DisplaySurfaceCreate{Surface: 1, Width: 1, Height: 1, Format: wire.Surface32ARGB}},
			"surfaces: 2, more than the limit of 1"},
		{"an image", spice.Limits{ImagePixels: 5}, []wire.ServerMessage{primary(1, 1), drawCopy(image.Point{}, bitmap(1, 3, 2, 0))},
			"pixels of an image: 6, more than the limit of 5"},
		{"a message", spice.Limits{MessageBytes: 64}, []wire.ServerMessage{primary(1, 1), drawCopy(image.Point{}, bitmap(1, 8, 8, 0))}, "64"},
		{"a surface that never was", spice.Limits{}, []wire.ServerMessage{fill(image.Rect(0, 0, 1, 1), 0)}, "surface 0 does not exist"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, displayID)
			c := s.dial(spice.Config{Limits: tc.limits})
			s.peer(displayID).send(tc.sent...)
			require.ErrorContains(t, c.Wait(), tc.want)
		})
	}
}

func TestMoreChannelsThanTheLimitAreRefused(t *testing.T) {
	s := serve(t, displayID, inputsID, cursorID)
	_, err := spice.Dial(t.Context(), s.config(spice.Config{Limits: spice.Limits{Channels: 2}}))
	require.ErrorContains(t, err, "channels offered: 3, more than the limit of 2")
}

func TestAWrongTicketIsSaidWithoutTheTicket(t *testing.T) {
	s := serve(t, displayID)
	_, err := spice.Dial(t.Context(), s.config(spice.Config{Password: "not-the-ticket"}))
	var refused *link.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, wire.ResultPermissionDenied, refused.Code)
	var dial *spice.DialError
	require.ErrorAs(t, err, &dial)
	require.Equal(t, mainID, dial.Channel)
	require.NotContains(t, err.Error(), "not-the-ticket")
}

func TestAConfigThatCannotWorkIsRefusedBeforeDialing(t *testing.T) {
	for want, cfg := range map[string]spice.Config{
		"neither Host nor UnixPath": {},
		"neither Port nor TLSPort":  {Host: "h"},
		"port out of range":         {Host: "h", Port: 70000},
		"no certificate in PEM":     {Host: "h", TLSPort: 1, CA: []byte("x")},
		"host subject":              {Host: "h", TLSPort: 1, HostSubject: "nonsense"},
		"password":                  {Host: "h", Port: 1, Password: strings.Repeat("secret", 20)},
	} {
		_, err := spice.Dial(t.Context(), cfg)
		require.ErrorContains(t, err, want)
		var config *spice.ConfigError
		require.ErrorAs(t, err, &config)
		require.NotContains(t, err.Error(), "secretsecret")
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	s := serve(t, displayID)
	s.listener.Close() // nobody answers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := spice.Dial(ctx, s.config(spice.Config{}))
	require.Error(t, err)

	// A server that links main and then says nothing.
	s = serve(t)
	s.silent = true
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		(<-s.links).sync()
		cancel()
	}()
	_, err = spice.Dial(ctx, s.config(spice.Config{}))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "waiting for the list of channels")
}

func TestLatencyIsTheTimeBetweenPings(t *testing.T) {
	s := serve(t)
	c := s.dial(spice.Config{})
	got := make(chan spice.Latency, 1)
	c.Observe(func(e spice.Event) {
		if e, ok := e.(spice.Latency); ok {
			got <- e
		}
	})
	m := s.peer(mainID)
	require.Zero(t, c.Latency())
	m.sync()
	require.Zero(t, c.Latency(), "one ping is no interval")
	m.sync()
	require.Equal(t, (<-got).Interval, c.Latency())
	require.Positive(t, c.Latency())
}

func TestWaitForChannelsHoldsAChannelUp(t *testing.T) {
	s := serve(t, displayID, cursorID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(&wire.WaitForChannels{Wait: []wire.WaitForChannel{{Channel: cursorID, Serial: 2}, {Channel: inputsID, Serial: 99}}}, primary(1, 1))
	s.peer(cursorID).send(&wire.CursorHide{})
	s.peer(cursorID).sync() // two messages: the wait is over
	d.sync()
	require.Len(t, c.Surfaces(), 1)
}

// readTap closes read when the nth message of the server was read.
type readTap struct {
	n    int
	read chan struct{}
}

func (*readTap) Linked(wire.LinkInfo) {}

func (r *readTap) Message(d wire.Direction, _ wire.Header, _ []byte) {
	if d == wire.FromServer {
		if r.n--; r.n == 0 {
			close(r.read)
		}
	}
}

func TestAChannelWaitsForAnotherThatIsStillBeingOpened(t *testing.T) {
	second := wire.ChannelID{Type: wire.ChannelDisplay, ID: 1}
	s := serve(t, displayID, second)
	read := make(chan struct{})
	cfg := s.config(spice.Config{Tap: func(id wire.ChannelID) wire.Tap {
		switch id {
		case displayID:
			<-read // the server takes it for open
		case second:
			return &readTap{n: 3, read: read}
		}
		return nil
	}})
	type result struct {
		c   *spice.Client
		err error
	}
	dialled := make(chan result)
	go func() {
		c, err := spice.Dial(context.Background(), cfg)
		dialled <- result{c, err}
	}()
	for range 3 {
		<-s.links
	}
	image5 := bitmap(5, 1, 1, 0x123456)
	image5.Flags = wire.ImageFlagCacheMe
	s.peer(second).send(primary(1, 1), &wire.WaitForChannels{Wait: []wire.WaitForChannel{{Channel: displayID, Serial: 2}}},
		drawCopy(image.Point{}, &wire.Image{ID: 5, Type: wire.ImageFromCache, Width: 1, Height: 1}))
	<-read
	s.peer(displayID).send(primary(1, 1), drawCopy(image.Point{}, image5))
	got := <-dialled
	require.NoError(t, got.err)
	defer got.c.Close()
	s.peer(second).sync()
	pic, err := got.c.Snapshot(1, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"123456"}, pixels(pic))
}

func TestObserversNeverSeeAnEventAfterStop(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(1, 1))
	d.sync()
	for range 50 {
		stopped := false
		stop := c.Observe(func(spice.Event) {
			if stopped {
				t.Error("called after stop")
			}
		})
		d.send(fill(image.Rect(0, 0, 1, 1), 1))
		stop()
		stopped = true
	}
	d.sync()
}

func TestAwaitLooksAgainWheneverSomethingChanged(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(1, 1))
	done := make(chan error, 1)
	go func() {
		done <- c.Await(context.Background(), func() bool {
			pic, err := c.Snapshot(0, 0, nil)
			return err == nil && pic.Pix[0] == 9
		})
	}()
	for i := range 10 {
		d.send(fill(image.Rect(0, 0, 1, 1), uint32(i)))
	}
	require.NoError(t, <-done)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	require.ErrorIs(t, c.Await(ctx, func() bool { return false }), io.ErrNoProgress)
}

// slowClose takes its time to close, so that the links under way end before the session is
// seen to be over. Nothing tells when they have; a slower host only hides the fault that
// this makes certain.
type slowClose struct{ net.Conn }

func (c slowClose) Close() error {
	time.Sleep(20 * time.Millisecond)
	return c.Conn.Close()
}

func TestASessionThatEndsWhileItIsDialledSaysWhichChannelEndedItAndWhy(t *testing.T) {
	s := serve(t, displayID, cursorID)
	release := make(chan struct{})
	defer close(release)
	s.linking = func(id wire.ChannelID) {
		if id == cursorID {
			<-release
		}
	}
	go func() {
		for p := range s.links {
			if p.id == displayID {
				_ = p.out.WriteMessage(fill(image.Rect(0, 0, 1, 1), 1))
				return
			}
		}
	}()
	_, err := spice.Dial(t.Context(), s.config(spice.Config{
		DialFunc: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return slowClose{conn}, err
		},
	}))
	var dial *spice.DialError
	require.ErrorAs(t, err, &dial)
	require.Equal(t, displayID, dial.Channel)
	require.EqualError(t, err, "spice: dial "+s.path+": display:0: message 1 display.draw_fill: surface 0 does not exist")
}
