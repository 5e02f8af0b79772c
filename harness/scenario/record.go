package scenario

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/spicetest"
)

// quiet is how long nothing must be drawn before the client counts as having all drawings of a
// paused machine.
const quiet = 500 * time.Millisecond

// Record makes the client record its session while keys are pressed and the mode changes. Then it
// plays the recording to a client without a guest. It demands that this client ends with the same
// picture as the lane's, and that QEMU's ticket is not in the files.
func Record(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("recording the session", control.MethodRecordStart, control.MethodRecordStop, control.MethodAwait) {
		return
	}
	before := r.primary()
	agent := r.understood().AgentConnected
	dir := filepath.Join(r.TempDir(), "recording")
	r.must(r.client.RecordStart(r.ctx, dir))
	r.must(lane.AwaitScreensMatch(r.ctx))
	r.returned()

	s := r.stream()
	r.tap(s, "Shift")
	r.tap(s, "Ctrl")
	ticket := lane.DirectVV().Password
	if direct := lane.State().Proxy == (registry.ProxyAddrs{}); direct && agent {
		// The secret of this session must not be in the recording.
		r.must(r.client.ClipboardSet(r.ctx, "the ticket is "+ticket))
		awaitA(r, s, "the clipboard", func(e digest.Clipboard) bool { return e.What == digest.DataReceived })
	}
	for i, m := range digitModes {
		if m == image.Pt(before.Width, before.Height) {
			r.tap(s, fmt.Sprint((i+1)%3+1)) // one of the small ones, and not this one
			r.switched(s, digitModes[(i+1)%3])
			r.tap(s, fmt.Sprint(i+1))
			r.switched(s, m)
		}
	}
	r.tap(s, "Alt")

	var want *image.NRGBA
	var res control.RecordStopResult
	r.must(lane.WhilePaused(r.ctx, func() (err error) {
		_, err = r.client.Await(r.ctx, control.AwaitParams{Condition: control.Condition{Stable: &control.StableCondition{MS: uint32(quiet.Milliseconds())}}})
		if err != nil {
			return err
		}
		if want, err = lane.Screenshot(r.ctx); err != nil {
			return err
		}
		res, err = r.client.RecordStop(r.ctx)
		return err
	}))
	r.must(lane.AwaitScreensMatch(r.ctx), "after the recording")
	r.tap(s, "Shift")
	r.complete(s, false)

	r.want(res.Dir == dir, "the client was to record into %s, and says %s", dir, res.Dir)
	messages := r.unsaid(res, ticket)
	got := r.played(dir)
	diff := drive.FirstDifference(got, want)
	r.want(diff == "", "the recording ends in another picture than the client had (which is called QEMU's here): %s", diff)
	r.Logf("the recording has %d messages in %d files of %d bytes", messages, len(res.Files), res.Bytes)
}

// unsaid demands that a secret is in none of a recording's files, and counts the messages.
func (r *run) unsaid(res control.RecordStopResult, secret string) (messages int) {
	r.Helper()
	if secret == "" {
		r.Fatalf("%s fault: the lane has no ticket to look for", verdict.Harness)
	}
	size := int64(0)
	for _, name := range res.Files {
		text, err := os.ReadFile(filepath.Join(res.Dir, name))
		r.must(err)
		size += int64(len(text))
		// NB: a body is in lines of hex, which could split a secret.
		c, err := recording.Parse(bytes.NewReader(text))
		r.must(err, name)
		messages += len(c.Messages)
		joined := strings.ReplaceAll(string(text), "\n", "")
		r.want(!strings.Contains(joined, secret) && !strings.Contains(joined, hex.EncodeToString([]byte(secret))), "%s holds QEMU's ticket", name)
		for i, m := range c.Messages {
			r.want(!bytes.Contains(m.Body, []byte(secret)), "%s holds QEMU's ticket in message %d", name, i+1)
		}
	}
	r.want(size == res.Bytes, "the client says that it recorded %d bytes, and there are %d", res.Bytes, size)
	return messages
}

// played returns the picture at the end of a recording.
func (r *run) played(dir string) *image.NRGBA {
	r.Helper()
	conversation, err := spicetest.Load(dir)
	r.must(err)
	srv, err := spicetest.NewServer(conversation.Config())
	r.must(err)
	r.later(func() { r.must(srv.Close(), "play the recording") })
	ctx, cancel := r.within(patience)
	defer cancel()
	c, err := spice.Dial(ctx, spice.Config{Host: "recording", Port: 1, DialFunc: srv.Dial})
	r.must(err)
	r.later(func() { c.Close() })
	r.must(srv.AwaitScripts(ctx, len(conversation.Recordings)), "play the recording")
	if missing := c.Stats().Unsupported; len(missing) > 0 {
		r.want(false, "the client could not decode %v", missing)
	}
	p, err := c.Snapshot(0, 0, nil)
	r.must(err)
	return nrgba(p)
}
