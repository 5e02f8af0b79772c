package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/inert"
	"github.com/spicelane/spicelane/spice/control"
)

// Limits of the answers of the tools that read.
const (
	maxLanes   = 64
	maxName    = 200     // bytes; the lane of a test is called like the test
	maxReason  = 1 << 10 // bytes of a lane's reason
	maxSide    = 1600    // pixels of a picture's longer side
	maxPNG     = 2 << 20 // bytes of a picture
	maxLines   = 500     // lines of a serial log
	maxTail    = 32 << 10
	tailLines  = 50 // by default
	socketWait = 5 * time.Second
)

// A laneName selects the lane of a call.
type laneName struct {
	Lane string `json:"lane,omitempty" jsonschema:"the lane's name; may be left out if only one lane is up"`
}

func (s *server) addReading() {
	reads := func() *mcp.ToolAnnotations { return &mcp.ToolAnnotations{ReadOnlyHint: true} }
	add(s, &mcp.Tool{Name: "status", Annotations: reads(),
		Description: "List the lanes, running and ended, and how their consoles are."}, callLimit, s.status)
	add(s, &mcp.Tool{Name: "screenshot", Annotations: reads(),
		Description: "Take a picture of a lane's screen, as PNG. A large screen is scaled down; ask for a region to see every pixel."}, callLimit, s.screenshot)
	add(s, &mcp.Tool{Name: "text", Annotations: reads(),
		Description: "Read what is written on a lane's screen, for screens with fixed character cells: firmware, VGA text, Linux's console."}, callLimit, s.text)
	add(s, &mcp.Tool{Name: "digest", Annotations: reads(),
		Description: "Read the digest that a test guest such as Beacon shows: its frame counter and the newest keys and events that reached it."}, callLimit, s.digest)
	add(s, &mcp.Tool{Name: "serial", Annotations: reads(),
		Description: "Read the last lines that a lane's guest printed on its serial console. This also works for a lane that has ended."}, callLimit, s.serial)
	add(s, &mcp.Tool{Name: "await", Annotations: reads(),
		Description: "Wait until a lane shows or prints something: exactly one of text, serial, event and still_ms."}, maxAwait+10*time.Second, s.await)
}

// find returns the lane with the given name, or the only one that is up if the name is empty. load
// is registry.Find, FindReady or FindControlled.
func (s *server) find(name string, load func(string) (registry.State, error)) (registry.State, error) {
	if name == "" {
		name = s.cfg.Lane
	}
	switch {
	case len(name) > maxName:
		return registry.State{}, fmt.Errorf("lane: a name has at most %d bytes, this one has %d", maxName, len(name))
	case s.cfg.Lane != "" && name != s.cfg.Lane:
		return registry.State{}, fmt.Errorf("this server shows only lane %s", s.cfg.Lane)
	case name == "":
		var ready []registry.State
		for _, l := range s.lanes() {
			if l.State == registry.StateReady {
				ready = append(ready, l)
			}
		}
		if len(ready) != 1 {
			return registry.State{}, fmt.Errorf("%d lanes are up: name the lane (status lists them)", len(ready))
		}
		name = ready[0].Name
	}
	return load(name)
}

// lanes returns the lanes that this server shows.
func (s *server) lanes() []registry.State {
	all, err := registry.Registry{}.List()
	if err != nil {
		s.log.Warn("some lanes cannot be listed", "err", err)
	}
	all = append(all, registry.RunningTests()...)
	if s.cfg.Lane == "" {
		return all
	}
	for _, l := range all {
		if l.Name == s.cfg.Lane {
			return []registry.State{l}
		}
	}
	return nil
}

// drive calls f with a connection to the client of a lane that is up. It closes the connection
// after f, so that other programs can connect.
func (s *server) drive(ctx context.Context, name string, f func(*control.Driver) error) error {
	l, err := s.find(name, registry.FindControlled)
	if err != nil {
		return err
	}
	release, err := s.taking(ctx, l.ControlSocket)
	if err != nil {
		return err
	}
	defer release()
	dial, cancel := context.WithTimeout(ctx, socketWait)
	defer cancel()
	d, err := drive.Dial(dial, "spicelane mcp", l.ControlSocket)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := f(d); err != nil {
		if _, ok := errors.AsType[*verdict.Error](err); ok {
			return err
		}
		return &verdict.Error{Verdict: drive.VerdictOf(err), Op: "lane " + l.Name, Err: err}
	}
	return nil
}

// A laneStatus is what the tool status returns about a lane.
type laneStatus struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Verdict   string `json:"verdict,omitempty"`
	Fixture   string `json:"fixture,omitempty"`
	Accel     string `json:"accel,omitempty"`
	Dir       string `json:"dir" jsonschema:"the directory with the lane's evidence"`
	Connected bool   `json:"connected"`
	Console   string `json:"console,omitempty" jsonschema:"why the console's state is unknown or bad"`
	Width     int    `json:"width,omitempty"`
	Height    int    `json:"height,omitempty"`
	Agent     bool   `json:"agent"`
	MouseMode string `json:"mouse_mode,omitempty" jsonschema:"client: click works; server: the guest takes relative moves only"`
}

type statusResult struct {
	Lanes []laneStatus `json:"lanes"`
	More  int          `json:"more,omitempty" jsonschema:"how many lanes were left out"`
}

func (s *server) status(ctx context.Context, in laneName) (*mcp.CallToolResult, statusResult, error) {
	all := s.lanes()
	if in.Lane != "" {
		l, err := s.find(in.Lane, registry.Find)
		if err != nil {
			return nil, statusResult{}, err
		}
		all = []registry.State{l}
	}
	res := statusResult{Lanes: []laneStatus{}}
	for i, l := range all {
		if i == maxLanes {
			res.More = len(all) - maxLanes
			break
		}
		res.Lanes = append(res.Lanes, s.statusOf(ctx, l))
	}
	return nil, res, nil
}

// liveWait is how long status waits for the client of one lane. It is short, because a program that
// drives the lane has priority.
const liveWait = 500 * time.Millisecond

func (s *server) statusOf(ctx context.Context, l registry.State) laneStatus {
	row := laneStatus{
		Name: l.Name, State: l.State, Verdict: string(l.Verdict), Fixture: l.Fixture, Accel: l.Accel, Dir: l.Dir,
		Reason: cut(inert.Text(l.Reason), maxReason),
	}
	if l.State != registry.StateReady || l.ControlSocket == "" {
		return row
	}
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	var st control.Status
	release, err := s.taking(ctx, l.ControlSocket)
	if err == nil {
		defer release()
		var d *control.Driver
		if d, err = (control.DriverConfig{Name: "spicelane mcp"}).Dial(ctx, l.ControlSocket); err == nil {
			defer d.Close()
			st, err = d.Status(ctx)
		}
	}
	switch {
	case errors.Is(err, &control.Error{Code: control.CodeBusy}):
		row.Console = "another program is driving it"
	case err != nil:
		row.Console = harmless(err).Error()
	default:
		row.Connected, row.Agent, row.MouseMode = st.SPICEConnected, st.AgentConnected, st.MouseMode
		row.Console = cut(inert.Text(st.Error), maxReason)
		if p, ok := st.Primary(); ok {
			row.Width, row.Height = p.Width, p.Height
		}
	}
	return row
}

// A region is a part of the screen in pixels.
type region struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

func (r *region) rect() (image.Rectangle, error) {
	if r == nil {
		return image.Rectangle{}, nil
	}
	const most = 1 << 15
	if r.X < 0 || r.Y < 0 || r.Width <= 0 || r.Height <= 0 || r.X > most || r.Y > most || r.Width > most || r.Height > most {
		return image.Rectangle{}, fmt.Errorf("region %dx%d at %d,%d: it has to be on the screen and not empty", r.Width, r.Height, r.X, r.Y)
	}
	return image.Rect(r.X, r.Y, r.X+r.Width, r.Y+r.Height), nil
}

type screenshotParams struct {
	laneName
	Region *region `json:"region,omitempty" jsonschema:"only this part of the screen; default: all of it"`
	Cursor bool    `json:"cursor,omitempty" jsonschema:"draw the pointer into the picture"`
}

type screenshotResult struct {
	Width  int `json:"width" jsonschema:"of the region, in the screen's pixels"`
	Height int `json:"height"`
	Scale  int `json:"scale" jsonschema:"how many of the screen's pixels, in each direction, are one of the picture's"`
}

func (s *server) screenshot(ctx context.Context, in screenshotParams) (*mcp.CallToolResult, screenshotResult, error) {
	none := screenshotResult{}
	part, err := in.Region.rect()
	if err != nil {
		return nil, none, err
	}
	var img *image.NRGBA
	err = s.drive(ctx, in.Lane, func(d *control.Driver) error {
		if in.Cursor && !d.Supports(control.MethodCursor) {
			return &verdict.Error{Verdict: verdict.Harness, Op: "screenshot", Err: errors.New("this lane's client does not show the pointer")}
		}
		img, err = d.Image(ctx, control.ScreenshotParams{Format: "rgba", Cursor: in.Cursor})
		return err
	})
	if err != nil {
		return nil, none, err
	}
	if !part.Empty() {
		if !part.In(img.Rect) {
			return nil, none, fmt.Errorf("region %v is not on the screen, which has %dx%d pixels", part, img.Rect.Dx(), img.Rect.Dy())
		}
		img = img.SubImage(part).(*image.NRGBA)
	}
	file, scale, err := smallPNG(img, maxSide, maxPNG)
	if err != nil {
		return nil, none, err
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{Data: file, MIMEType: "image/png"}}},
		screenshotResult{img.Rect.Dx(), img.Rect.Dy(), scale}, nil
}

// smallPNG encodes img as PNG. It scales img down by the smallest whole number with which no side
// has more than side pixels and the file has at most size bytes.
func smallPNG(img *image.NRGBA, side, size int) (file []byte, scale int, err error) {
	for scale = 1; ; scale++ {
		if max(img.Rect.Dx(), img.Rect.Dy()) > side*scale {
			continue
		}
		var b bytes.Buffer
		if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, shrink(img, scale)); err != nil {
			return nil, 0, fmt.Errorf("encode the picture: %w", err)
		}
		if b.Len() <= size {
			return b.Bytes(), scale, nil
		}
		if scale > max(img.Rect.Dx(), img.Rect.Dy()) {
			return nil, 0, fmt.Errorf("the picture does not fit into %d bytes", size)
		}
	}
}

// shrink scales img down by a whole number. Each pixel is the mean of the pixels that it
// represents.
func shrink(img *image.NRGBA, by int) *image.NRGBA {
	if by == 1 {
		return img
	}
	w, h := (img.Rect.Dx()+by-1)/by, (img.Rect.Dy()+by-1)/by
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			var sum [4]int
			n := 0
			for dy := y * by; dy < min((y+1)*by, img.Rect.Dy()); dy++ {
				for dx := x * by; dx < min((x+1)*by, img.Rect.Dx()); dx++ {
					p := img.Pix[dy*img.Stride+4*dx:]
					for i := range sum {
						sum[i] += int(p[i])
					}
					n++
				}
			}
			for i := range sum {
				out.Pix[y*out.Stride+4*x+i] = uint8((sum[i] + n/2) / n)
			}
		}
	}
	return out
}

type textParams struct {
	laneName
	Region *region `json:"region,omitempty" jsonschema:"only lines that are partly in this part of the screen; default: all of it"`
}

type textResult struct {
	Font    string   `json:"font"`
	Lines   []string `json:"lines" jsonschema:"the lines, from the top; a cell that is in no known font is U+FFFD"`
	Unknown int      `json:"unknown" jsonschema:"how many cells are in no known font"`
}

func (s *server) text(ctx context.Context, in textParams) (*mcp.CallToolResult, textResult, error) {
	none := textResult{}
	part, err := in.Region.rect()
	if err != nil {
		return nil, none, err
	}
	var img *image.NRGBA
	err = s.drive(ctx, in.Lane, func(d *control.Driver) error {
		img, err = d.Image(ctx, control.ScreenshotParams{Format: "rgba"})
		return err
	})
	if err != nil {
		return nil, none, err
	}
	reader, err := s.textReader(in.Lane)
	if err != nil {
		return nil, none, err
	}
	g, err := reader.Read(pixmap.Of(img))
	if err != nil {
		return nil, none, &verdict.Error{Verdict: verdict.Product, Op: "text", Err: err, Hint: "take a screenshot instead"}
	}
	res := textResult{Font: g.Font.Name, Lines: []string{}, Unknown: g.UnknownCells()}
	for row := range g.Rows {
		line := g.Rect(0, row).Union(g.Rect(g.Cols-1, row))
		if part.Empty() || line.Overlaps(part) {
			res.Lines = append(res.Lines, inert.Text(g.Line(row)))
		}
	}
	return nil, res, nil
}

// textReader returns a reader with the fonts that a lane's guest may use.
func (s *server) textReader(lane string) (text.Reader, error) {
	l, err := s.find(lane, registry.FindControlled)
	if err != nil {
		return text.Reader{}, err
	}
	guest, err := text.LoadAll(l.Fonts...)
	if err != nil {
		return text.Reader{}, verdict.Classify("fonts of the guest", err)
	}
	return text.Reader{Fonts: slices.Concat(guest, text.Fonts())}, nil
}

func (s *server) digest(ctx context.Context, in laneName) (*mcp.CallToolResult, any, error) {
	var got digest.Digest
	err := s.drive(ctx, in.Lane, func(d *control.Driver) (err error) {
		got, err = drive.ReadDigest(ctx, d)
		if err != nil && drive.NoDigestYet(err) {
			err = &verdict.Error{Verdict: verdict.Product, Op: "digest", Err: err, Hint: "only test guests such as Beacon show one"}
		}
		return err
	})
	return nil, got, err
}

type serialParams struct {
	laneName
	Lines int `json:"lines,omitempty" jsonschema:"how many lines, 50 by default, at most 500"`
}

type serialResult struct {
	Lines []string `json:"lines" jsonschema:"the last lines, oldest first"`
	Cut   bool     `json:"cut,omitempty" jsonschema:"earlier lines were left out"`
}

// errNoSerial says why a lane has no serial log.
func errNoSerial(l registry.State) error {
	return &verdict.Error{Verdict: verdict.Harness, Op: "lane " + l.Name, Err: errors.New("it has no guest, so it has no serial console")}
}

func (s *server) serial(_ context.Context, in serialParams) (*mcp.CallToolResult, serialResult, error) {
	none := serialResult{}
	n := in.Lines
	if n == 0 {
		n = tailLines
	}
	if n < 0 || n > maxLines {
		return nil, none, fmt.Errorf("lines: %d is not between 1 and %d", in.Lines, maxLines)
	}
	l, err := s.find(in.Lane, registry.Find)
	if err != nil {
		return nil, none, err
	}
	if l.SerialLog == "" {
		return nil, none, errNoSerial(l)
	}
	res, err := tail(l.SerialLog, n, maxTail)
	if err != nil {
		return nil, none, &verdict.Error{Verdict: verdict.Harness, Op: "lane " + l.Name, Err: fmt.Errorf("its serial log cannot be read: %w", err)}
	}
	return nil, res, nil
}

// tail returns the last n lines within the last size bytes of a file.
func tail(path string, n, size int) (serialResult, error) {
	f, err := os.Open(path)
	if err != nil {
		return serialResult{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return serialResult{}, err
	}
	res := serialResult{Lines: []string{}}
	if over := st.Size() - int64(size); over > 0 {
		res.Cut = true
		if _, err := f.Seek(over, io.SeekStart); err != nil {
			return serialResult{}, err
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(size)))
	if err != nil {
		return serialResult{}, err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) == 0 {
		return res, nil
	}
	lines := bytes.Split(b, []byte("\n"))
	if len(lines) > n {
		res.Cut = true
		lines = lines[len(lines)-n:]
	}
	for _, line := range lines {
		res.Lines = append(res.Lines, inert.Text(string(bytes.TrimSuffix(line, []byte("\r")))))
	}
	return res, nil
}
