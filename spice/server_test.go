package spice_test

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"image"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ticket = "open-sesame"

var serverKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := link.GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

var (
	mainID    = wire.ChannelID{Type: wire.ChannelMain}
	displayID = wire.ChannelID{Type: wire.ChannelDisplay}
	inputsID  = wire.ChannelID{Type: wire.ChannelInputs}
	cursorID  = wire.ChannelID{Type: wire.ChannelCursor}
)

// server is the other end of a session, played by a test: it links every channel that the client opens, and the test says what goes over
// them.
type server struct {
	t        testing.TB
	path     string
	listener net.Listener
	offer    []wire.ChannelID
	init     wire.MainInit
	common   wire.Caps
	tls      *tls.Config          // spoken on every connection if not nil
	silent   bool                 // main is linked and then nothing is said
	linking  func(wire.ChannelID) // called before a link is answered, if not nil
	links    chan *peer
	wg       sync.WaitGroup

	mu    sync.Mutex
	peers map[wire.ChannelID]*peer
	conns []net.Conn
}

// peer is the server's end of one channel.
type peer struct {
	t       testing.TB
	id      wire.ChannelID
	request link.Request
	conn    net.Conn
	in      *wire.FrameReader
	out     *wire.FrameWriter
}

// serve starts a server that offers the given channels besides main.
func serve(t testing.TB, offer ...wire.ChannelID) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "spice")
	require.NoError(t, err)
	s := &server{
		t: t, path: filepath.Join(dir, "s"), offer: offer, links: make(chan *peer, 64), peers: map[wire.ChannelID]*peer{},
		init:   wire.MainInit{SessionID: 0x5eed, SupportedMouseModes: wire.MouseModeServer, CurrentMouseMode: wire.MouseModeServer},
		common: link.CommonCaps,
	}
	s.listener, err = net.Listen("unix", s.path)
	require.NoError(t, err)
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(func() {
		s.listener.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
		os.RemoveAll(dir)
	})
	return s
}

func (s *server) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.tls != nil {
			conn = tls.Server(conn, s.tls)
		}
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		s.wg.Add(1)
		go s.link(conn)
	}
}

func (s *server) link(conn net.Conn) {
	defer s.wg.Done()
	ctx := context.Background()
	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: serverKey()})
	if err != nil {
		conn.Close()
		return
	}
	if s.linking != nil {
		s.linking(hs.Request.Channel)
	}
	channelCaps := wire.MakeCaps(wire.CapDisplayStreamReport, wire.CapDisplayPrefCompression)
	if err := hs.Reply(ctx, s.common, channelCaps); err != nil {
		return
	}
	got, err := hs.Secret(ctx)
	if err != nil || got != ticket {
		hs.Finish(ctx, wire.ResultPermissionDenied)
		conn.Close()
		return
	}
	if err := hs.Finish(ctx, wire.ResultOK); err != nil {
		return
	}
	frame := wire.FrameConfig{Mini: hs.Mini()}
	p := &peer{t: s.t, id: hs.Request.Channel, request: hs.Request, conn: conn, in: wire.NewFrameReader(conn, frame), out: wire.NewFrameWriter(conn, frame)}
	s.mu.Lock()
	s.peers[p.id] = p
	s.mu.Unlock()
	if p.id == mainID && !s.silent {
		// The client's attach_channels is left for the test to read.
		p.out.WriteMessage(&s.init)
		p.out.WriteMessage(&wire.MainChannelsList{Channels: s.offer})
	}
	s.links <- p
}

// speak has the server speak TLS from now on.
func (s *server) speak(cfg *tls.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tls = cfg
}

// dial opens a session and waits until the server has all its channels.
func (s *server) dial(cfg spice.Config) *spice.Client {
	s.t.Helper()
	c, err := spice.Dial(s.t.Context(), s.config(cfg))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	for range 1 + len(s.offer) {
		select {
		case <-s.links:
		case <-time.After(10 * time.Second):
			s.t.Fatal("the client did not open all channels")
		}
	}
	return c
}

func (s *server) config(cfg spice.Config) spice.Config {
	cfg.UnixPath = s.path
	if cfg.Password == "" {
		cfg.Password = ticket
	}
	return cfg
}

func (s *server) peer(id wire.ChannelID) *peer {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[id]
	require.NotNil(s.t, p, "channel %v is not open", id)
	return p
}

func (p *peer) send(messages ...wire.ServerMessage) {
	p.t.Helper()
	for _, m := range messages {
		require.NoError(p.t, p.out.WriteMessage(m), "sending %s", m.MessageName())
	}
}

// next reads one message of the client.
func (p *peer) next() wire.ClientMessage {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	h, err := p.in.Next()
	require.NoError(p.t, err, "waiting for the client's next message on %v", p.id)
	body, err := p.in.Body(nil)
	require.NoError(p.t, err)
	m, err := wire.DecodeClient(p.id.Type, h.Type, body)
	require.NoError(p.t, err)
	return m
}

// want reads one message of the client and compares it.
func (p *peer) want(m wire.ClientMessage) {
	p.t.Helper()
	require.Equal(p.t, m, p.next())
}

// sync returns when the client has carried out everything that was sent on this channel.
func (p *peer) sync() {
	p.t.Helper()
	const id = 0xfeed
	p.send(&wire.Ping{ID: id, Data: []byte{}})
	for {
		if pong, ok := p.next().(*wire.Pong); ok && pong.ID == id {
			return
		}
	}
}

func primary(w, h uint32) *wire.DisplaySurfaceCreate {
	return &wire.DisplaySurfaceCreate{Width: w, Height: h, Format: wire.Surface32XRGB, Flags: wire.SurfacePrimary}
}

func base(r image.Rectangle) wire.DisplayBase { return wire.DisplayBase{Box: wire.RectOf(r)} }

func fill(r image.Rectangle, color uint32) *wire.DrawFill {
	return &wire.DrawFill{Base: base(r), Brush: wire.Brush{Type: wire.BrushSolid, Color: color}, Rop: wire.RopPut}
}

// bitmap returns an uncompressed 32-bit image of one colour a pixel.
func bitmap(id uint64, w, h int, colors ...uint32) *wire.Image {
	m := &wire.Image{
		ID: id, Type: wire.ImageBitmap, Width: uint32(w), Height: uint32(h),
		Bitmap: wire.Bitmap{Format: wire.Bitmap32Bit, Flags: wire.BitmapFlagTopDown, Width: uint32(w), Height: uint32(h), Stride: uint32(4 * w)},
	}
	for i := range w * h {
		v := colors[i%len(colors)]
		m.Data = append(m.Data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return m
}

func drawCopy(at image.Point, src *wire.Image) *wire.DrawCopy {
	size := image.Rect(0, 0, int(src.Width), int(src.Height))
	return &wire.DrawCopy{Base: base(size.Add(at)), Src: src, SrcArea: wire.RectOf(size), Rop: wire.RopPut}
}

// pixels returns a picture as rows of RRGGBB.
func pixels(p *spice.Picture) []string {
	var rows []string
	for y := range p.Height {
		row := ""
		for x := range p.Width {
			b := p.Pix[y*p.Stride+4*x:]
			row += fmt.Sprintf(" %02x%02x%02x", b[2], b[1], b[0])
		}
		rows = append(rows, row[1:])
	}
	return rows
}

// contextCanceled is a context that is over already.
func contextCanceled() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx, cancel
}
