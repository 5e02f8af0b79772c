package spiceconsole

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/recording"
)

// A capture is a running recording.
type capture struct {
	dir      string
	recorder *recording.Recorder // of the newest session
	opened   int                 // sessions
	left     server.Recorded     // files of the previous sessions, and in the end of all
	errs     []error
}

// RecordStart implements [server.Recorder].
func (c *Console) RecordStart(ctx context.Context, dir string) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if c.dial == nil {
		return errNoDial
	}
	if c.capture != nil {
		return &control.Error{Code: control.CodeRecording,
			Message: fmt.Sprintf("a recording into %s is running: record_stop ends it", c.capture.dir)}
	}
	// Report a bad directory before the session is ended.
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	if err != nil {
		return &control.Error{Code: control.CodeBadParams, Message: fmt.Sprintf("params.dir: %s", err)}
	}
	c.capture = &capture{dir: dir, recorder: rec}
	if err := c.replace(ctx); err != nil {
		return errors.Join(err, c.abandon())
	}
	return nil
}

// abandon ends a recording that got no session, and removes it. The caller holds changing.
func (c *Console) abandon() error {
	left, err := c.endCapture()
	for _, name := range left.Files {
		err = errors.Join(err, os.Remove(filepath.Join(left.Dir, name)))
	}
	_ = os.Remove(left.Dir) // if it is empty
	return err
}

// RecordStop implements [server.Recorder]. The session continues.
func (c *Console) RecordStop(ctx context.Context) (server.Recorded, error) {
	if err := c.lock(ctx); err != nil {
		return server.Recorded{}, err
	}
	defer c.unlock()
	if c.capture == nil {
		return server.Recorded{}, &control.Error{Code: control.CodeRecording,
			Message: "no recording is running: record_start begins one"}
	}
	return c.endCapture()
}

// endCapture ends the recording. The caller holds changing.
func (c *Console) endCapture() (server.Recorded, error) {
	t := c.capture
	c.capture = nil
	return t.end()
}

// session returns the recorder for the session that is about to be opened. It returns nil if that
// fails: the session is opened anyway, and RecordStop reports the error.
func (t *capture) session() *recording.Recorder {
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

// turn closes the recorder and adds its files to left.
func (t *capture) turn() {
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

// end closes the capture and returns its files.
func (t *capture) end() (server.Recorded, error) {
	t.turn()
	slices.Sort(t.left.Files)
	t.left.Dir = t.dir
	return t.left, errors.Join(t.errs...)
}
