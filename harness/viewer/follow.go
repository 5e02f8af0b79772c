package viewer

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
)

// tailBytes is how many bytes of an existing file are read: what a person can scroll through, but
// not the frames of an hour.
const tailBytes = 256 << 10

// followSerial copies the lines of the guest's console to the feed.
func (v *Viewer) followSerial(ctx context.Context) {
	// A separate log splits the bytes into lines and removes control sequences.
	log := serial.NewLog(serial.Config{})
	v.joined.Go(func() {
		v.followFile(ctx, qemu.SerialLog, log)
		log.End(nil)
	})
	for c := log.Reader(0); ; {
		// NB: no time limit is needed: the log is ended with ctx.
		line, err := c.Next(context.Background())
		if err != nil {
			return
		}
		v.feed.add(Entry{Kind: Serial, At: line.Time, Text: line.Text})
	}
}

// followTimeline reads keys and frames of the lane's own client.
func (v *Viewer) followTimeline(ctx context.Context) {
	v.followFile(ctx, timeline.File, &lineWriter{line: func(b []byte) {
		var e struct {
			T    int64  `json:"t_us"`
			Kind string `json:"kind"`
			Down *bool  `json:"down"`
		}
		// Most lines are frames that are not needed.
		if json.Unmarshal(b, &e) != nil {
			return
		}
		switch {
		case e.Kind == "key" && e.Down != nil && *e.Down:
			v.latency.otherPressed(e.T)
		case e.Kind == timeline.KindFrame:
			v.latency.otherDrawn(e.T)
		case e.Kind == timeline.KindFull:
			v.feed.add(Entry{Kind: Session, Name: timeline.File, Text: "it has its limit: frames and serial lines are no longer noted"})
		}
	}})
}

// followFile copies the end of a file in the lane's directory, and then what is appended, to w
// until ctx ends. It waits until the file exists.
func (v *Viewer) followFile(ctx context.Context, name string, w io.Writer) {
	path := filepath.Join(v.cfg.Dir, name)
	again := time.NewTicker(retry)
	defer again.Stop()
	for {
		st, err := os.Stat(path)
		if err == nil {
			from := max(st.Size()-tailBytes, 0)
			if from > 0 {
				w = &afterNewline{w: w}
			}
			err = serial.FollowFrom(ctx, path, from, w)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !os.IsNotExist(err) {
			v.feed.add(Entry{Kind: Session, Name: name, Text: err.Error()})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// afterNewline drops everything up to the first line end, because it may be half a line.
type afterNewline struct {
	w     io.Writer
	begun bool
}

func (a *afterNewline) Write(p []byte) (int, error) {
	n := len(p)
	if !a.begun {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return n, nil
		}
		a.begun, p = true, p[i+1:]
	}
	if _, err := a.w.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}

// maxLine is the longest line of a timeline that is parsed.
const maxLine = 64 << 10

// lineWriter calls line with each complete line.
type lineWriter struct {
	line func([]byte)
	open []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		w.line(append(w.open, p[:i]...))
		w.open, p = w.open[:0], p[i+1:]
	}
	if len(w.open)+len(p) <= maxLine {
		w.open = append(w.open, p...)
	}
	return n, nil
}
