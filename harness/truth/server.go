package truth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// ServerConfig configures a Server. Helper and Dir are required.
type ServerConfig struct {
	// Helper is the path of the helper, see package truthserver.
	Helper string
	// Dir is the directory of the device's memory and the helper's log.
	Dir string
	// Setting is how images are compressed. The zero Setting is "off".
	Setting Setting
	// SingleClient keeps spice-server's own rule that a new client disconnects the previous one.
	// Without it, spice-server 0.15.1 crashes if several clients connect and disconnect in quick
	// succession.
	SingleClient bool
	// Streaming turns regions that are redrawn fast into video.
	Streaming bool
	// Ticket is the SPICE password; empty for none.
	Ticket string
	// Unix is the path of a SPICE unix socket to listen on instead of a TCP port. spice-server does not
	// compress images for it.
	Unix string
	// Port is the TCP port on the loopback address; 0 means any free one.
	Port int
	// TLSDir, if set, contains ca-cert.pem, server-cert.pem and server-key.pem for a TLS port.
	TLSDir string
	// Memory is the size of the device's memory in bytes; 0 means DefaultMemory.
	Memory int
	// Record, if set, is the path of a file in which spice-server records all commands.
	Record string
	// Pixels, if set, makes the pixels of all images instead of the images' own functions.
	Pixels func(*qxl.Image) []byte
}

// Setting is how a server compresses images.
type Setting struct {
	Compression string // "off", "quic", …; "" is "off"
	JPEG        bool   // lossy, whatever the connection
	Zlib        bool   // over GLZ, whatever the connection
}

// Compressions are the possible values of Setting.Compression, besides "".
var Compressions = []string{"off", "quic", "lz", "glz", "auto_glz", "auto_lz", "lz4"}

// compressionNumbers has the numbers of the compressions in spice-server.h.
var compressionNumbers = map[string]int{"": 1, "off": 1, "auto_glz": 2, "auto_lz": 3, "quic": 4, "glz": 5, "lz": 6, "lz4": 7}

// ParseSetting parses a setting such as "glz", "glz+zlib" or "auto_glz+jpeg+zlib".
func ParseSetting(s string) (Setting, error) {
	words := strings.Split(s, "+")
	set := Setting{Compression: words[0]}
	if compressionNumbers[set.Compression] == 0 || set.Compression == "" {
		return set, fmt.Errorf("truth: compression %q: not one of %s", words[0], strings.Join(Compressions, ", "))
	}
	for _, w := range words[1:] {
		switch w {
		case "jpeg":
			set.JPEG = true
		case "zlib":
			set.Zlib = true
		default:
			return set, fmt.Errorf("truth: compression %q: %q is not jpeg or zlib", s, w)
		}
	}
	return set, nil
}

// String returns the setting in the form that ParseSetting parses.
func (s Setting) String() string {
	words := s.Compression
	if words == "" {
		words = "off"
	}
	if s.JPEG {
		words += "+jpeg"
	}
	if s.Zlib {
		words += "+zlib"
	}
	return words
}

// Server is a running spice-server whose device this process plays. It is not safe for concurrent
// use. If the context of a call ends before the server has answered, the server cannot be used any
// more, except for Close.
type Server struct {
	cfg     ServerConfig
	process *proc.Process
	in      *os.File
	out     *os.File
	answers *bufio.Reader
	log     string // path of the errors of the helper and the library
	mem     *memory
	nextID  uint64

	surfaces map[uint32]surface
	tcp      int
	tls      int
	// replaying is the recording that was opened last.
	replaying string
	broken    error // why the server answers no more lines
}

// surface is the place of a surface's pixels.
type surface struct {
	catalogue.Surface
	at     uint64
	stride int
}

// ServerDied says that the helper has ended, or does not answer any more.
type ServerDied struct {
	Doing string // the line that it did not answer
	State string // how it ended
	Log   string // its last error message
}

func (e *ServerDied) Error() string {
	s := "truth: the server " + e.State
	if e.Doing != "" {
		s += fmt.Sprintf(" while it carried out %q", e.Doing)
	}
	if e.Log != "" {
		s += ": " + e.Log
	}
	return s
}

// A helper needs milliseconds for the drawings of a step. If it has used spinTime of processor time
// for a line, it spins. If it has used less, it waits for the host, and gets answerTime in all.
const (
	spinTime   = 2 * time.Second
	answerTime = time.Minute
)

// StartServer starts the helper and opens its ports.
func StartServer(ctx context.Context, cfg ServerConfig) (_ *Server, err error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	s := &Server{cfg: cfg, surfaces: map[uint32]surface{}}
	ram, err := os.CreateTemp(cfg.Dir, "device-memory-*")
	if err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	ram.Close()
	if s.mem, err = newMemory(ram.Name(), cfg.Memory); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.start(ram.Name()); err != nil {
		return nil, err
	}
	_, err = s.ask(ctx, "")
	if err != nil {
		return nil, err
	}
	return s, s.setUp(ctx)
}

// start starts the helper.
func (s *Server) start(ram string) error {
	stdin, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("truth: %w", err)
	}
	defer stdin.Close()
	s.in = in
	out, stdout, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("truth: %w", err)
	}
	defer stdout.Close()
	s.out, s.answers = out, bufio.NewReader(out)
	log, err := os.CreateTemp(s.cfg.Dir, "server-*.log")
	if err != nil {
		return fmt.Errorf("truth: %w", err)
	}
	defer log.Close()
	s.log = log.Name()
	cmd := exec.Command(s.cfg.Helper, ram)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, log
	cmd.Env = os.Environ()
	if !s.cfg.SingleClient {
		cmd.Env = append(cmd.Env, "SPICE_DEBUG_ALLOW_MC=1")
	}
	if s.cfg.Record != "" {
		cmd.Env = append(cmd.Env, "SPICE_WORKER_RECORD_FILENAME="+s.cfg.Record)
	}
	if s.process, err = proc.Start(cmd); err != nil {
		return fmt.Errorf("truth: %s: %w", s.cfg.Helper, err)
	}
	return nil
}

// setUp sends all lines up to and including "start".
func (s *Server) setUp(ctx context.Context) error {
	jpeg, zlib, streaming := 3, 3, 1 // never, never, off
	if s.cfg.Setting.JPEG {
		jpeg = 2
	}
	if s.cfg.Setting.Zlib {
		zlib = 2
	}
	if s.cfg.Streaming {
		streaming = 2
	}
	lines := []string{
		fmt.Sprintf("option compression %d", compressionNumbers[s.cfg.Setting.Compression]),
		fmt.Sprintf("option jpeg %d", jpeg),
		fmt.Sprintf("option zlib %d", zlib),
		fmt.Sprintf("option streaming %d", streaming),
		"noauth",
	}
	if s.cfg.Ticket != "" {
		lines[len(lines)-1] = "ticket " + s.cfg.Ticket
	}
	if s.cfg.Unix != "" {
		lines = append(lines, "unix "+s.cfg.Unix)
	} else {
		lines = append(lines, fmt.Sprintf("port %d", s.cfg.Port))
	}
	if s.cfg.TLSDir != "" {
		lines = append(lines, "tls 0 "+s.cfg.TLSDir)
	}
	for _, line := range append(lines, "start") {
		words, err := s.ask(ctx, line)
		if err != nil {
			return err
		}
		if port, found := strings.CutPrefix(words, "ok "); found {
			n, _ := strconv.Atoi(port)
			if strings.HasPrefix(line, "tls ") {
				s.tls = n
			} else {
				s.tcp = n
			}
		}
	}
	return nil
}

// Port returns the TCP port, or 0 on a unix socket.
func (s *Server) Port() int { return s.tcp }

// TLSPort returns the TLS port, or 0 if there is none.
func (s *Server) TLSPort() int { return s.tls }

// Done returns a channel that is closed when the helper has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Exited() }

// Err returns a *ServerDied that says how the helper ended; nil while it runs.
func (s *Server) Err() error {
	state := s.process.State()
	if state == nil {
		return nil
	}
	return &ServerDied{State: "ended with " + state.String(), Log: lastLine(s.log)}
}

// Picture returns the primary surface as the server has drawn it.
func (s *Server) Picture() (*image.NRGBA, error) {
	if s.mem == nil {
		return nil, s.broken // the server is closed
	}
	p, ok := s.surfaces[0]
	if !ok {
		return nil, errors.New("truth: there is no primary surface")
	}
	return Picture(p.cells(s.mem.all, nil)), nil
}

// PID returns the helper's process id.
func (s *Server) PID() int { return s.process.PID() }

// ask sends a line and returns the answer. If the line is empty, it only waits for an answer.
func (s *Server) ask(ctx context.Context, line string) (string, error) {
	if s.broken != nil {
		return "", s.broken
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if line != "" {
		if _, err := s.in.WriteString(line + "\n"); err != nil {
			return "", s.died(line)
		}
	}
	answer, err := s.answer(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if ctx.Err() != nil {
			// The answer is still to come, and would be taken for that to the next line.
			s.broken = fmt.Errorf("truth: nobody waited for the server's answer to %q: %w",
				sayable(line), context.Cause(ctx))
			return "", context.Cause(ctx)
		}
		s.process.Signal(syscall.SIGKILL)
		err := s.died(line)
		err.State = "spun without end"
		return "", err
	}
	if err != nil {
		return "", s.died(line)
	}
	answer = strings.TrimSuffix(answer, "\n")
	if what, bad := strings.CutPrefix(answer, "error "); bad {
		return "", fmt.Errorf("truth: %s", what)
	}
	return answer, nil
}

// answer reads a line. The error is os.ErrDeadlineExceeded if ctx ends, or if the helper spins or
// does not answer in time.
func (s *Server) answer(ctx context.Context) (string, error) {
	// NB: not ctx's deadline. If it were noticed here before ctx has ended, the server would seem to
	// spin.
	deadline := time.Now().Add(answerTime)
	stop := context.AfterFunc(ctx, func() { _ = s.out.SetReadDeadline(time.Now()) })
	defer stop()
	used := proc.ReadStat(s.process.PID()).CPU
	for {
		next := time.Now().Add(spinTime / 4)
		if next.After(deadline) {
			next = deadline
		}
		if ctx.Err() != nil {
			return "", os.ErrDeadlineExceeded
		}
		if err := s.out.SetReadDeadline(next); err != nil {
			return "", fmt.Errorf("truth: %w", err)
		}
		answer, err := s.answers.ReadString('\n')
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return answer, err
		}
		// A partly read line would be lost, but the helper writes whole lines.
		if !time.Now().Before(deadline) || proc.ReadStat(s.process.PID()).CPU-used > spinTime {
			return "", err
		}
	}
}

// died returns the error for a helper that has ended or does not answer.
func (s *Server) died(line string) *ServerDied {
	e := &ServerDied{Doing: sayable(line), State: "ended"}
	select {
	case <-s.process.Exited():
		e.State = "ended with " + s.process.State().String()
	case <-time.After(answerTime):
		s.process.Signal(syscall.SIGKILL)
	}
	e.Log = lastLine(s.log)
	s.broken = e
	return e
}

// sayable returns a line for an error, without its ticket.
func sayable(line string) string {
	if strings.HasPrefix(line, "ticket ") {
		return "ticket"
	}
	return line
}

// lastLine returns the last meaningful line of a file.
func lastLine(path string) string {
	b, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, l := range slices.Backward(lines) {
		// The library prints its source position after the error.
		if strings.Contains(l, "Spice-") || strings.Contains(l, "CRITICAL") || strings.Contains(l, "ERROR") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// Close ends the helper and releases the memory.
func (s *Server) Close() error {
	var errs []error
	if s.in != nil {
		s.in.Close()
	}
	if s.process != nil {
		// A recording is complete only if the helper ends by itself.
		select {
		case <-s.process.Exited():
		case <-time.After(spinTime):
		}
		errs = append(errs, s.process.Stop(time.Second))
	}
	if s.out != nil {
		s.out.Close()
	}
	if s.mem != nil {
		errs = append(errs, s.mem.close())
		s.mem = nil
	}
	s.broken = errors.New("truth: the server is closed")
	return errors.Join(errs...)
}

// Primary creates the primary surface; it destroys an existing one first.
func (s *Server) Primary(ctx context.Context, want catalogue.Surface) error {
	if _, there := s.surfaces[0]; there {
		if _, err := s.ask(ctx, "unprimary"); err != nil {
			return err
		}
	}
	sf := surface{Surface: want, stride: want.Format.Stride(want.Width)}
	var err error
	if sf.at, err = s.mem.surface(sf.stride * want.Height); err != nil {
		return err
	}
	if _, err := s.ask(ctx, fmt.Sprintf("primary %d %d %d %d %d", sf.at, want.Width, want.Height, sf.stride, want.Format)); err != nil {
		return err
	}
	s.surfaces[0] = sf
	return nil
}

// Reset does what a device does when its guest is reset: it drops all surfaces and commands.
func (s *Server) Reset(ctx context.Context) error {
	err := s.askReleased(ctx, "reset")
	clear(s.surfaces)
	return err
}

// askReleased sends a line whose answer lists what the server has released.
func (s *Server) askReleased(ctx context.Context, line string) error {
	answer, err := s.ask(ctx, line)
	if err != nil {
		return err
	}
	ids, _ := strings.CutPrefix(answer, "released")
	for _, word := range strings.Fields(ids) {
		id, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return fmt.Errorf("truth: the helper answered %q to %q", answer, line)
		}
		s.mem.release(id)
	}
	return nil
}

// Push gives the server a command. Draw, or a later Push to another ring, makes the server carry it
// out.
func (s *Server) Push(ctx context.Context, c qxl.Command) error {
	if c, ok := c.(*qxl.CreateSurface); ok {
		return s.create(ctx, c)
	}
	addr, err := s.pack(ctx, c)
	if err != nil {
		return err
	}
	word := "push"
	if c.Type() == qxl.CmdCursor {
		word = "cursor"
	}
	_, err = s.ask(ctx, fmt.Sprintf("%s %d %d", word, addr, c.Type()))
	if d, ok := c.(*qxl.DestroySurface); ok {
		delete(s.surfaces, d.Surface)
	}
	return err
}

// create creates an offscreen surface in the device's memory.
func (s *Server) create(ctx context.Context, c *qxl.CreateSurface) error {
	sf := surface{Surface: catalogue.Surface{Format: c.Format, Width: c.Width, Height: c.Height}, stride: c.Format.Stride(c.Width)}
	var err error
	if sf.at, err = s.mem.surface(sf.stride * c.Height); err != nil {
		return err
	}
	placed := *c
	placed.Data, placed.Stride = sf.at, sf.stride
	addr, err := s.pack(ctx, &placed)
	if err != nil {
		return err
	}
	if _, err := s.ask(ctx, fmt.Sprintf("push %d %d", addr, c.Type())); err != nil {
		return err
	}
	s.surfaces[c.Surface] = sf
	return nil
}

// pack writes a command into the device's memory and returns its address. If the memory is full, it
// asks the server once to release what it can.
func (s *Server) pack(ctx context.Context, c qxl.Command) (uint64, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	for try := range 2 {
		s.nextID++
		s.mem.begin(s.nextID)
		addr, err := qxl.Pack(s.mem, c, s.nextID, s.cfg.Pixels)
		if !errors.Is(err, ErrMemoryFull) || try > 0 {
			return addr, err
		}
		s.mem.release(s.nextID)
		s.mem.open = nil
		if _, err := s.ask(ctx, "oom"); err != nil {
			return 0, err
		}
		if err := s.askReleased(ctx, "released"); err != nil {
			return 0, err
		}
	}
	panic("unreachable")
}

// Draw makes the server carry out everything that was pushed and draw a surface into its memory. If
// there is no surface id, it draws the primary surface.
func (s *Server) Draw(ctx context.Context, id uint32) error {
	sf, ok := s.surfaces[id]
	if !ok {
		id, sf = 0, s.surfaces[0]
	}
	return s.askReleased(ctx, fmt.Sprintf("update %d 0 0 %d %d", id, sf.Width, sf.Height))
}

// Fill fills a rectangle of the primary surface with a value of its format.
func (s *Server) Fill(ctx context.Context, r image.Rectangle, value uint32) error {
	if err := s.Push(ctx, &qxl.Drawable{Box: r, Op: &qxl.Fill{Brush: qxl.Solid(value), Rop: qxl.RopPut}}); err != nil {
		return err
	}
	return s.askReleased(ctx, fmt.Sprintf("update 0 %d %d %d %d", r.Min.X, r.Min.Y, r.Max.X, r.Max.Y))
}

// Monitors sets which parts of the surfaces the monitors show.
func (s *Server) Monitors(ctx context.Context, monitors []qxl.Monitor) error {
	s.nextID++
	s.mem.begin(s.nextID)
	addr, err := qxl.PackMonitors(s.mem, 4, monitors...)
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, fmt.Sprintf("monitors %d", addr))
	s.mem.release(s.nextID)
	return err
}

// ResetCache empties the clients' image caches.
func (s *Server) ResetCache(ctx context.Context) error {
	_, err := s.ask(ctx, "resetcache")
	return err
}

// Replay opens a recording made with SPICE_WORKER_RECORD_FILENAME, for Next.
func (s *Server) Replay(ctx context.Context, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("truth: %w", err)
	}
	_, err = s.ask(ctx, "replay "+abs)
	s.replaying = path
	return err
}

// Next plays the next command of the recording. It returns false if there is none.
func (s *Server) Next(ctx context.Context) (bool, error) {
	answer, err := s.ask(ctx, "next")
	return err == nil && answer != "ok -1", err
}
