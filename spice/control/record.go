package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/recording"
)

// RecordConsole is a [RedialConsole] whose sessions can be recorded: it offers
// the verbs record_start and record_stop besides.
//
// A recording is of use only with its beginning, the link and all that the
// server tells a client that has just come. RecordStart therefore ends the
// session and opens another, which is recorded from its first byte. Each session
// that is opened while the recording runs has a directory of its own: the first
// the one that was given, the following ones session-2, session-3, … in it.
type RecordConsole struct {
	*RedialConsole
	dial func(context.Context, func(*spice.Config)) (*spice.Client, error)

	mu   sync.Mutex
	tape *tape // nil if nothing is recorded
}

// tape is a recording under way.
type tape struct {
	dir      string
	recorder *recording.Recorder // of the newest session
	opened   int                 // sessions
	left     Recorded            // by the sessions before, and in the end by all
	errs     []error
}

// NewRecordConsole makes a console that opens its sessions with dial, the first
// one now. Dial gives its configuration, complete but for the Tap, to record
// before it uses it. Close ends the session and the recording.
func NewRecordConsole(ctx context.Context, dial func(ctx context.Context, record func(*spice.Config)) (*spice.Client, error)) (*RecordConsole, error) {
	c := &RecordConsole{dial: dial}
	var err error
	if c.RedialConsole, err = NewRedialConsole(ctx, c.dialTaped); err != nil {
		return nil, err
	}
	return c, nil
}

// dialTaped opens a session, with a tap if a recording runs.
func (c *RecordConsole) dialTaped(ctx context.Context) (*spice.Client, error) {
	c.mu.Lock()
	var rec *recording.Recorder
	if c.tape != nil {
		rec = c.tape.session()
	}
	c.mu.Unlock()
	return c.dial(ctx, func(cfg *spice.Config) {
		if rec != nil {
			rec.Hide(cfg.Password)
			cfg.Tap = rec.Tap
		}
	})
}

// RecordStart implements [Recorder].
func (c *RecordConsole) RecordStart(ctx context.Context, dir string) error {
	t, err := c.start(dir)
	if err != nil {
		return err
	}
	if err := c.Reconnect(ctx); err != nil {
		return errors.Join(err, c.abandon(t))
	}
	return nil
}

// start makes what is dialled next recorded.
func (c *RecordConsole) start(dir string) (*tape, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tape != nil {
		return nil, errorf(CodeRecording, "a recording into %s is running: record_stop ends it", c.tape.dir)
	}
	// What is wrong with the directory is said before the session is cut off.
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	if err != nil {
		return nil, errorf(CodeBadParams, "params.dir: %s", err)
	}
	c.tape = &tape{dir: dir, recorder: rec}
	return c.tape, nil
}

// abandon ends a recording that has not come to a session, and removes it.
func (c *RecordConsole) abandon(t *tape) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tape == t {
		c.tape = nil
	}
	rec, err := t.end()
	for _, name := range rec.Files {
		err = errors.Join(err, os.Remove(filepath.Join(rec.Dir, name)))
	}
	_ = os.Remove(t.dir) // if it is empty
	return err
}

// RecordStop implements [Recorder]. The session goes on.
func (c *RecordConsole) RecordStop() (Recorded, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tape == nil {
		return Recorded{}, errorf(CodeRecording, "no recording is running: record_start begins one")
	}
	t := c.tape
	c.tape = nil
	return t.end()
}

// Close ends the session and the recording, if one is running. The error is of
// either.
func (c *RecordConsole) Close() error {
	err := c.RedialConsole.Close()
	if _, stopErr := c.RecordStop(); !errors.Is(stopErr, &Error{Code: CodeRecording}) {
		err = errors.Join(err, stopErr)
	}
	return err
}

// session is the recorder of the session that is about to be opened; nil if there
// can be none, which is said at the end and no reason to go without the session.
func (t *tape) session() *recording.Recorder {
	if t.opened++; t.opened == 1 {
		return t.recorder
	}
	next, err := recording.NewRecorder(recording.Config{Dir: filepath.Join(t.dir, fmt.Sprintf("session-%d", t.opened))})
	if err != nil {
		t.errs = append(t.errs, err)
		return nil
	}
	t.turn()
	t.recorder = next
	return next
}

// turn closes the recorder and adds up what it has left.
func (t *tape) turn() {
	if err := t.recorder.Close(); err != nil {
		t.errs = append(t.errs, err)
	}
	for _, name := range t.recorder.Files() {
		path, err := filepath.Rel(t.dir, filepath.Join(t.recorder.Dir(), name))
		if err != nil {
			path = name
		}
		t.left.Files = append(t.left.Files, path)
	}
	t.left.Bytes += t.recorder.Size()
}

// end closes the tape and says what is on it.
func (t *tape) end() (Recorded, error) {
	t.turn()
	slices.Sort(t.left.Files)
	t.left.Dir = t.dir
	return t.left, errors.Join(t.errs...)
}

var _ Recorder = (*RecordConsole)(nil)
