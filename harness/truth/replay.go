package truth

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
)

// BadRecording says that a file is not a recording of spice-server, or is damaged.
type BadRecording struct {
	Path string
	Line int // in the file, from 1; 0 if it is not known
	Err  error
}

func (e *BadRecording) Error() string {
	at := e.Path
	if e.Line > 0 {
		at += fmt.Sprintf(":%d", e.Line)
	}
	return fmt.Sprintf("truth: recording %s: %v", at, e.Err)
}

func (e *BadRecording) Unwrap() error { return e.Err }

// recording is a file made with SPICE_WORKER_RECORD_FILENAME. It is cut where the primary surface
// is created, because the memory of a surface that the library itself creates cannot be read.
type recording struct {
	parts []recordingPart
}

// recordingPart is the part of a recording with one primary surface.
type recordingPart struct {
	primary  catalogue.Surface
	commands int
	text     []byte // a recording that can be played
}

// The kinds of events, and the numbers of the omitted messages (red-worker.h of spice-server).
const (
	eventCommand   = 0
	eventMessage   = 1
	createPrimary  = 20
	destroyPrimary = 21
)

const (
	recordingHeader = "SPICE_REPLAY 1\n"
	// mostRecording limits how much of a file is read, in bytes.
	mostRecording = 1 << 30
	// mostSide limits the sides of a recording's primary surface, in pixels. The helper's memory is
	// large enough for it.
	mostSide = 4096
)

// readRecording reads a file, which may be compressed with gzip.
func readRecording(path string) (*recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, &BadRecording{path, 1, err}
		}
		defer z.Close()
		in = z
	}
	text, err := io.ReadAll(io.LimitReader(in, mostRecording+1))
	if err != nil {
		return nil, &BadRecording{path, 1, err}
	}
	if len(text) > mostRecording {
		return nil, &BadRecording{path, 1, fmt.Errorf("more than %d bytes", mostRecording)}
	}
	return parseRecording(path, text)
}

// parseRecording parses a recording into its parts.
func parseRecording(path string, text []byte) (*recording, error) {
	line := 1
	bad := func(format string, args ...any) error {
		return &BadRecording{path, line, fmt.Errorf(format, args...)}
	}
	rest, ok := bytes.CutPrefix(text, []byte(recordingHeader))
	if !ok {
		return nil, bad("it does not begin with %q", strings.TrimSpace(recordingHeader))
	}
	r := &recording{}
	var part *recordingPart
	line++
	for len(rest) > 0 {
		var number, kind, what int
		var stamp uint64
		if n, _ := fmt.Sscanf(firstLine(rest), "event %d %d %d %d", &number, &kind, &what, &stamp); n != 4 {
			return nil, bad("want an event, not %.40q", firstLine(rest))
		}
		begin := line
		size, lines, err := eventSize(rest)
		if err != nil {
			return nil, bad("event %d: %w", number, err)
		}
		event := rest[:size]
		rest = rest[size:]
		line += lines
		switch {
		case kind == eventMessage && what == createPrimary:
			p := recordingPart{text: []byte(recordingHeader)}
			var stride int
			_, body, _ := bytes.Cut(event, []byte("\n"))
			if n, _ := fmt.Sscanf(firstLine(body), "%d %d %d %d", &p.primary.Width, &p.primary.Height, &stride, &p.primary.Format); n != 4 {
				return nil, &BadRecording{path, begin, errors.New("a primary surface without a size")}
			}
			if p.primary.Width < 1 || p.primary.Height < 1 || p.primary.Width > mostSide || p.primary.Height > mostSide {
				return nil, &BadRecording{path, begin, fmt.Errorf("a primary surface of %d×%d pixels, want at most %d each way", p.primary.Width, p.primary.Height, mostSide)}
			}
			switch p.primary.Format {
			case qxl.Surface555, qxl.SurfaceXRGB, qxl.SurfaceARGB:
			default:
				return nil, &BadRecording{path, begin, fmt.Errorf("a primary surface of format %d, which clients cannot be shown", p.primary.Format)}
			}
			r.parts = append(r.parts, p)
			part = &r.parts[len(r.parts)-1]
		case kind == eventMessage && what == destroyPrimary, part == nil:
		default:
			if kind == eventCommand {
				part.commands++
			}
			part.text = append(part.text, event...)
		}
	}
	if len(r.parts) == 0 {
		return nil, bad("no primary surface is made in it")
	}
	return r, nil
}

func firstLine(b []byte) string {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	return string(b[:min(len(b), 400)])
}

// eventSize returns the length of the event at the start of b, in bytes and in lines. The event
// ends where the next one begins outside binary data.
func eventSize(b []byte) (size, lines int, err error) {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0, 0, errors.New("it is cut off")
		}
		text := b[at : at+i]
		if bytes.HasPrefix(text, []byte("binary ")) {
			var packed, n int
			var name string
			if k, _ := fmt.Sscanf(firstLine(text), "binary %d %s %d:", &packed, &name, &n); k != 3 || packed != 0 || n < 0 {
				return 0, 0, fmt.Errorf("binary data that cannot be read: %.40q", text)
			}
			data := bytes.IndexByte(text, ':') + 1
			// NB: the sum of a length from the file and anything may overflow.
			if n >= len(b)-at-data {
				return 0, 0, fmt.Errorf("it is cut off in %d bytes of %s", n, name)
			}
			end := at + data + n
			lines += bytes.Count(b[at:end], []byte("\n"))
			at = end
			if b[at] != '\n' {
				return 0, 0, fmt.Errorf("%d bytes of %s are followed by %q", n, name, b[at])
			}
			i = 0
		}
		at += i + 1
		lines++
		if at == len(b) || bytes.HasPrefix(b[at:], []byte("event ")) {
			return at, lines, nil
		}
	}
}

// Replay plays any recording made with SPICE_WORKER_RECORD_FILENAME, and compares the pictures
// after each command. Settings with JPEG are an error, because a recording does not say what may
// differ. Nil Settings mean the other default settings. A file that is not a recording is a
// *BadRecording.
func Replay(ctx context.Context, cfg Config, path string) (*Report, error) {
	lossy := func(s Setting) bool { return s.JPEG }
	if slices.ContainsFunc(cfg.Settings, lossy) {
		return nil, errors.New("truth: a recording does not say where it may differ, so it is not played with JPEG: choose other compressions")
	}
	if cfg.Settings == nil {
		cfg.Settings = slices.DeleteFunc(DefaultSettings(), lossy)
	}
	rec, err := readRecording(path)
	if err != nil {
		return nil, err
	}
	var groups []catalogue.Group
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	for i, p := range rec.parts {
		file := filepath.Join(cfg.Dir, fmt.Sprintf("part-%d.replay", i+1))
		if err := os.WriteFile(file, p.text, 0o600); err != nil {
			return nil, fmt.Errorf("truth: %w", err)
		}
		defer os.Remove(file)
		g := catalogue.Group{Name: fmt.Sprintf("part %d", i+1), First: 1, Primary: p.primary}
		for k := range p.commands {
			g.Steps = append(g.Steps, catalogue.Step{Number: k + 1, Group: g.Name, Operation: "replay", Words: fmt.Sprintf("command %d of part %d", k+1, i+1),
				Replay: file, Expect: catalogue.Expect{Kind: catalogue.Exact}})
		}
		groups = append(groups, g)
	}
	cfg.Groups = groups
	cfg.Memory = cmp.Or(cfg.Memory, 2*surfaceMemory+4*mostSide*mostSide)
	r, err := Run(ctx, cfg)
	var died *ServerDied
	var bad *BadRecording
	switch {
	case errors.As(err, &bad):
		err = &BadRecording{Path: path, Err: bad.Err} // the file of the part is gone
	case errors.As(err, &died):
		err = &BadRecording{Path: path, Err: err}
	}
	return r, err
}
