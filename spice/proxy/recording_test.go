package proxy_test

// What a recording of a session has, what it never has, and how long it is kept.

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

// recordingIn lets a proxy record into a directory.
func recordingIn(dir string) func(c *proxy.Config) {
	return func(c *proxy.Config) { c.Recording.Dir, c.Linger = dir, time.Millisecond }
}

// recordedFile waits for the end of a session's recording and returns its file.
func (l *lane) recordedFile(dir string) (string, proxy.Event) {
	l.t.Helper()
	e := l.event(proxy.EventRecordingEnded)
	require.NoError(l.t, e.Err)
	require.NotEmpty(l.t, e.Recording)
	return filepath.Join(dir, e.Recording), e
}

// fingerprint describes a picture as spicetest's goldens do.
func fingerprint(p *spice.Picture) string {
	rgb := make([]byte, 0, 3*p.Width*p.Height)
	for y := range p.Height {
		for x := range p.Width {
			b := p.Pix[y*p.Stride+4*x:]
			rgb = append(rgb, b[2], b[1], b[0])
		}
	}
	return fmt.Sprintf("%dx%d %x\n", p.Width, p.Height, sha256.Sum256(rgb))
}

// picture returns what a client shows.
func picture(t *testing.T, c *spice.Client) string {
	t.Helper()
	s, err := c.AwaitPicture(t.Context(), 0)
	require.NoError(t, err)
	p, err := c.Snapshot(s.Channel, s.ID, nil)
	require.NoError(t, err)
	return fingerprint(p)
}

// A real QEMU's conversation is played to a client through the proxy. The recording is played to
// another client, which has the same picture at the end: the one that QEMU's screendump showed.
//
//	client ──► proxy ──► conversation        another client ──► recording
//	             └─────► recording
func TestARecordingIsPlayedToAClientThatHasTheExactLastPicture(t *testing.T) {
	for _, name := range []string{"qxl-auto_glz-plain", "std-lz-plain", "virtio-quic-plain"} {
		t.Run(name, func(t *testing.T) {
			conversation, err := spicetest.Load(filepath.Join("..", "spicetest", "testdata", "conversations", name))
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join("..", "spicetest", "testdata", "conversations", name, "picture"))
			require.NoError(t, err)
			server := spicetest.Start(t, conversation.Config())
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			server.ServeListener(ln)
			c := newConsole(t, "tcp", nil)
			c.set(func(c *console) { c.InsecurePort = ln.Addr().(*net.TCPAddr).Port })
			dir := t.TempDir()
			l := up(t, c, recordingIn(dir))

			client, err := spice.Dial(t.Context(), spice.FromVV(l.vv()))
			require.NoError(t, err)
			require.NoError(t, server.AwaitScripts(t.Context(), len(conversation.Recordings)))
			require.Equal(t, string(want), picture(t, client), "through the proxy")
			require.NoError(t, client.Close())
			file, e := l.recordedFile(dir)
			assert.Empty(t, e.Reason)

			recorded, err := spicetest.Load(file)
			require.NoError(t, err)
			replay := spicetest.Start(t, recorded.Config())
			again, err := spice.Dial(t.Context(), spice.Config{Host: "localhost", Port: 1, Password: "any", DialFunc: replay.Dial})
			require.NoError(t, err)
			defer again.Close()
			require.NoError(t, replay.AwaitScripts(t.Context(), len(recorded.Recordings)))
			assert.Equal(t, string(want), picture(t, again), "from the recording")
		})
	}
}

func TestNothingIsRecordedUnlessADirectoryIsNamed(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Linger = time.Millisecond })
	_, client, _ := l.open()
	assert.Empty(t, l.event(proxy.EventSessionOpened).Recording)
	client.Close()
	l.event(proxy.EventSessionClosed)
	assert.NoError(t, l.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestASessionIsOneFileThatTheAuditLogNames(t *testing.T) {
	dir := t.TempDir()
	var audit safeBuffer
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir), withWebSocket, func(c *proxy.Config) { c.Audit = &audit })
	token, client, server := l.open()
	opened := l.event(proxy.EventSessionOpened)
	keys, err := l.linkWeb(token, session, inputs)
	require.NoError(t, err)
	far := l.console.next(t)
	write(t, keys, message(101, []byte{0x1e, 0, 0, 0}))
	expect(t, far, message(101, []byte{0x1e, 0, 0, 0}))
	// What the firewall refuses does not reach the console, and is not recorded.
	write(t, client, append(message(107, []byte("passed")), message(999, []byte("refused"))...))
	expect(t, server, message(107, []byte("passed")))
	ends(t, server)
	far.Close()
	server.Close()
	file, e := l.recordedFile(dir)
	assert.Equal(t, opened.Recording, e.Recording)
	assert.Contains(t, e.Recording, e.Session)
	assert.Regexp(t, `"event":"session_opened".*"recording":"`+e.Recording+`"`, audit.String())
	assert.Regexp(t, `"event":"recording_ended","session":"`+e.Session+`".*"recording":"`+e.Recording+`"`, audit.String())

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "one file for each session")
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	channels, err := recording.Load(file)
	require.NoError(t, err)
	require.Len(t, channels, 2)
	type said struct {
		from wire.Direction
		kind uint16
		body string
	}
	heard := map[wire.ChannelID][]said{}
	for _, c := range channels {
		for _, m := range c.Messages {
			heard[c.Link.Channel] = append(heard[c.Link.Channel], said{m.From, m.Header.Type, string(m.Body)})
		}
	}
	assert.Equal(t, map[wire.ChannelID][]said{
		mainChannel: {{wire.FromServer, mainInitType, string(mainInit(session))}, {wire.FromClient, 107, "passed"}},
		inputs:      {{wire.FromClient, 101, "\x1e\x00\x00\x00"}},
	}, heard)
	assert.Equal(t, uint32(session), channels[1].Link.ConnectionID)
}

// A spy notes what a client writes.
type spy struct {
	net.Conn
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *spy) Write(b []byte) (int, error) {
	s.mu.Lock()
	s.out.Write(b)
	s.mu.Unlock()
	return s.Conn.Write(b)
}

// leaks returns the names of the secrets that a recording has: in its text, in the bytes that its
// text stands for, as they are, in hex or in base64.
func leaks(t *testing.T, file string, secrets map[string][]byte) (found []string) {
	t.Helper()
	packed, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer packed.Close()
	all := []byte(filepath.Base(file))
	for _, f := range packed.File {
		r, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		all = append(append(all, f.Name...), text...)
	}
	channels, err := recording.Load(file)
	require.NoError(t, err)
	for _, c := range channels {
		for _, m := range c.Messages {
			all = append(all, m.Body...)
		}
	}
	for name, secret := range secrets {
		require.GreaterOrEqual(t, len(secret), 12, name)
		for _, form := range [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(secret)),
			[]byte(base64.RawURLEncoding.EncodeToString(secret))} {
			if bytes.Contains(all, form) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

func TestNoSecretIsInARecording(t *testing.T) {
	dir := t.TempDir()
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir))
	token := l.token()
	client := &spy{Conn: l.dial()}
	_, err := link.Client(t.Context(), client, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: token})
	require.NoError(t, err)
	server := l.console.next(t)
	sealed := client.out.Bytes()[client.out.Len()-link.TicketSize:]
	der := func(key []byte) []byte {
		block, _ := pem.Decode(key)
		require.NotNil(t, block)
		return block.Bytes
	}
	secrets := map[string][]byte{"token": []byte(token), "ticket": []byte(ticket), "encrypted token": sealed, "API token": []byte(apiToken),
		"server key": der(l.tls.ServerKey), "CA key": der(l.tls.CAKey)}

	// The search finds each of them where it was planted.
	for name, secret := range secrets {
		planted := filepath.Join(t.TempDir(), "x.partial")
		rec, err := recording.NewRecorder(recording.Config{Dir: planted})
		require.NoError(t, err)
		rec.Tap(mainChannel).Message(wire.FromServer, wire.Header{Type: 7}, append([]byte("odd place: "), secret...))
		require.NoError(t, rec.Close())
		require.NoError(t, recording.Pack(t.Context(), planted, planted+".zip"))
		require.Equal(t, []string{name}, leaks(t, planted+".zip", secrets))
	}

	// Token and ticket are told by client and console, in one piece and in pieces.
	say := append(message(mainInitType, mainInit(session)), message(104, []byte("psst: "+ticket+token))...)
	write(t, server, say)
	expect(t, client, say)
	say = message(107, []byte("my token is "+token+", you know"))
	for _, b := range say {
		write(t, client, []byte{b})
	}
	expect(t, server, say)
	// The main channel has its ticket; the display's is another one, as with type: qmp.
	const second = "the-ticket-of-the-display-channel"
	l.console.set(func(c *console) { c.Ticket = second })
	secrets["second ticket"] = []byte(second)
	display, err := l.link(token, session, display)
	require.NoError(t, err)
	far := l.console.next(t)
	write(t, far, message(304, []byte("psst: "+second)))
	expect(t, display, message(304, []byte("psst: "+second)))
	client.Close()
	display.Close()
	file, _ := l.recordedFile(dir)
	assert.Empty(t, leaks(t, file, secrets))
	channels, err := recording.Load(file)
	require.NoError(t, err)
	assert.Equal(t, "psst: "+strings.Repeat("x", len(ticket)+len(token)), string(channels[0].Messages[1].Body))
	assert.Equal(t, "my token is "+strings.Repeat("x", len(token))+", you know", string(channels[0].Messages[2].Body))
	assert.Equal(t, "psst: "+strings.Repeat("x", len(second)), string(channels[1].Messages[0].Body))
}

// varied is a body whose lines differ, so that a recording cannot say "the same again".
func varied(i int) []byte {
	sum := sha256.Sum256([]byte{byte(i)})
	body := bytes.Repeat(sum[:], 10)
	for j := range body {
		body[j] ^= byte(j / 32)
	}
	return body
}

func TestARecordingThatGrowsTooLargeEndsAndItsSessionGoesOn(t *testing.T) {
	for name, limit := range map[string]func(r *proxy.Recording){
		"of a session": func(r *proxy.Recording) { r.MaxSession = 10_000 },
		"of all":       func(r *proxy.Recording) { r.MaxTotal = 10_000 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := up(t, newConsole(t, "tcp", nil), recordingIn(dir), func(c *proxy.Config) { limit(&c.Recording) })
			_, client, server := l.open()
			for i := range 100 {
				say := message(104, varied(i))
				write(t, server, say)
				expect(t, client, say)
			}
			client.Close()
			e := l.event(proxy.EventRecordingEnded)
			assert.Equal(t, proxy.ReasonRecordingTooLarge, e.Reason)
			assert.NoError(t, e.Err)
			channels, err := recording.Load(filepath.Join(dir, e.Recording))
			require.NoError(t, err)
			require.Len(t, channels, 1)
			n := len(channels[0].Messages)
			assert.Greater(t, n, 5)
			assert.Less(t, n, 20)
			last := channels[0].Messages[n-1]
			assert.Equal(t, varied(n-2), last.Body, "it ends with a whole message")
		})
	}
}

// A message that is too large to be kept in memory ends the recording, not the session.
func TestAMessageThatIsTooLargeToBeRecordedEndsTheRecording(t *testing.T) {
	dir := t.TempDir()
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir), func(c *proxy.Config) { c.Firewall.Mode = proxy.FirewallOff })
	_, client, server := l.open()
	start := append(wire.Header{Type: 104, Size: wire.DefaultMaxBody + 1}.AppendMini(nil), make([]byte, 1000)...)
	write(t, server, start)
	expect(t, client, start)
	client.Close()
	e := l.event(proxy.EventRecordingEnded)
	assert.Equal(t, proxy.ReasonRecordingTooLarge, e.Reason)
	channels, err := recording.Load(filepath.Join(dir, e.Recording))
	require.NoError(t, err)
	assert.Len(t, channels[0].Messages, 1)
}

// age makes a recording that was changed a while ago.
func age(t *testing.T, dir, name string, size int, before time.Duration) string {
	t.Helper()
	path := filepath.Join(dir, name)
	file := path
	if strings.HasSuffix(name, ".partial") {
		require.NoError(t, os.Mkdir(path, 0o700))
		file = filepath.Join(path, "main-0.txt")
	}
	require.NoError(t, os.WriteFile(file, make([]byte, size), 0o600))
	when := time.Now().Add(-before)
	require.NoError(t, os.Chtimes(file, when, when))
	require.NoError(t, os.Chtimes(path, when, when))
	return path
}

func TestOldRecordingsAreDeletedAndTheOldestWhenThereAreTooMany(t *testing.T) {
	dir := t.TempDir()
	day := 24 * time.Hour
	tooOld := age(t, dir, "a.zip", 10, 9*day)
	tooOldToo := age(t, dir, "b.partial", 10, 8*day)
	oldest := age(t, dir, "c.partial", 4000, 3*day)
	older := age(t, dir, "d.zip", 4000, 2*day)
	newest := age(t, dir, "e.zip", 1000, day)
	foreign := age(t, dir, "notes.txt", 100_000, 30*day)
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir), func(c *proxy.Config) { c.Recording.MaxTotal, c.Recording.MaxAge = 10_000, 7*day })
	assert.NoFileExists(t, tooOld)
	assert.NoDirExists(t, tooOldToo)
	assert.DirExists(t, oldest)
	// A session needs room for some 2 kB: the oldest has to go, and no other.
	_, client, server := l.open()
	say := message(104, bytes.Repeat([]byte("ab"), 400))
	write(t, server, say)
	expect(t, client, say)
	assert.NoDirExists(t, oldest)
	client.Close()
	file, e := l.recordedFile(dir)
	assert.Empty(t, e.Reason)
	for _, path := range []string{older, newest, foreign, file} {
		assert.FileExists(t, path)
	}
}

func TestAClientThatIsGoneBeforeItIsLetInLeavesARecordingOfNothing(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	hold := make(chan struct{})
	c.set(func(c *console) { c.hold = hold })
	dir := t.TempDir()
	l := up(t, c, recordingIn(dir))
	conn := l.dial()
	pending, err := link.Open(t.Context(), conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	token := l.token()
	gone := make(chan error, 1)
	go func() { gone <- pending.Authenticate(context.Background(), token) }()
	require.Eventually(t, func() bool { return len(l.Sessions()) == 1 }, most, time.Millisecond)
	// A reset, so that the proxy's answer fails.
	require.NoError(t, conn.NetConn().(*net.TCPConn).SetLinger(0))
	require.NoError(t, conn.NetConn().Close())
	require.Error(t, <-gone)
	close(hold)
	file, e := l.recordedFile(dir)
	assert.Empty(t, e.Reason)
	channels, err := recording.Load(file)
	require.NoError(t, err)
	require.Len(t, channels, 1)
	assert.Empty(t, channels[0].Messages)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

func TestADirectoryThatCannotTakeRecordingsIsRefusedAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, bad := range []string{file, filepath.Join(file, "below"), "/proc/recordings"} {
		_, err := proxy.Start(t.Context(), proxy.Config{TLS: testBundle(), Consoles: &lab{}, Recording: proxy.Recording{Dir: bad}})
		assert.ErrorContains(t, err, "proxy: Config.Recording: ")
	}
	for name, r := range map[string]proxy.Recording{"MaxSession": {MaxSession: -1}, "MaxTotal": {MaxTotal: -1}, "MaxAge": {MaxAge: -1}} {
		_, err := proxy.Start(t.Context(), proxy.Config{TLS: testBundle(), Consoles: &lab{}, Recording: r})
		assert.ErrorContains(t, err, "Config.Recording."+name+" is negative")
	}
}

func TestASessionThatCannotBeRecordedGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recordings")
	l := up(t, newConsole(t, "tcp", nil), recordingIn(dir))
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	token, client, server := l.open()
	e := l.event(proxy.EventRecordingEnded)
	assert.Equal(t, proxy.ReasonFailed, e.Reason)
	assert.ErrorContains(t, e.Err, "not a directory")
	write(t, server, message(104, []byte("on")))
	expect(t, client, message(104, []byte("on")))
	_, err := l.link(token, session, inputs)
	assert.NoError(t, err)
}

func TestAPictureOf4096x4096PixelsIsRecorded(t *testing.T) {
	need.Long(t)
	const pixels = 4 * 4096 * 4096
	head := (&wire.DrawCopy{Src: &wire.Image{Type: wire.ImageBitmap}}).Append(nil)
	stream := wire.Header{Type: 304, Size: uint32(len(head) + pixels)}.AppendMini(nil)
	stream = append(append(stream, head...), make([]byte, pixels)...)
	got := proxy.Recorded(stream, true, 128<<10)
	require.Len(t, got, 1)
	require.Len(t, got[0].Body, len(head)+pixels)
}

// FuzzRecorded checks that a recording gets the messages that wire's reader finds, whatever the
// pieces in which they pass.
func FuzzRecorded(f *testing.F) {
	f.Add(stream(true), true, 1, 3)
	f.Add(stream(false), false, 7, 1)
	f.Add([]byte{103, 0, 0xff, 0xff, 0xff, 0xff, 1}, true, 3, 3)
	f.Fuzz(func(t *testing.T, s []byte, mini bool, first, then int) {
		got := proxy.Recorded(s, mini, first, then)
		in := wire.NewFrameReader(bytes.NewReader(s), wire.FrameConfig{Mini: mini, MaxBody: wire.DefaultMaxBody})
		for i := 0; ; i++ {
			h, err := in.Next()
			var body []byte
			if err == nil {
				body, err = in.Body(nil)
			}
			if err != nil {
				require.Len(t, got, i)
				return
			}
			require.Greater(t, len(got), i)
			require.Equal(t, h, got[i].Header)
			require.True(t, bytes.Equal(body, got[i].Body))
		}
	})
}
