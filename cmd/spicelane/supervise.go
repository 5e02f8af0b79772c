package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// newSupervise returns the hidden command of the process that owns a lane of `up`. It reads its
// configuration as JSON from stdin and writes JSON lines to descriptor 3. Descriptor 4 is the
// lane's lock.
func newSupervise() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			syscall.CloseOnExec(superviseNotes)
			syscall.CloseOnExec(superviseLock)
			w := os.NewFile(superviseNotes, "notes")
			lock := os.NewFile(superviseLock, "lock")
			if w == nil || lock == nil {
				return usage("supervise is started by `spicelane up`, not by hand")
			}
			if _, err := w.Stat(); err != nil {
				return usage("supervise is started by `spicelane up`, not by hand")
			}
			var cfg harness.Config
			dec := json.NewDecoder(cmd.InOrStdin())
			dec.DisallowUnknownFields()
			if err := dec.Decode(&cfg); err != nil {
				return usage("supervise is started by `spicelane up`, not by hand: its configuration: %w", err)
			}
			// NB: held until the end, because the holder of the lock owns the lane's name.
			defer lock.Close()
			return supervise(cmd.Context(), cfg, w, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		},
	}
}

// notes writes to the waiting `up`. If `up` was killed, nobody needs the lane, and notes closes
// gone.
type notes struct {
	mu   sync.Mutex
	enc  *json.Encoder
	once sync.Once
	gone chan struct{}
}

func (n *notes) send(x note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.enc.Encode(x) != nil {
		n.once.Do(func() { close(n.gone) })
	}
}

// supervise brings one lane up and stays with it until a part of it ends or a signal ends it.
func supervise(ctx context.Context, cfg harness.Config, w *os.File, log *slog.Logger) error {
	// After `up` was killed, a write to the pipe must be an error, not a signal.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	reg := registry.Registry{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := &notes{enc: json.NewEncoder(w), gone: make(chan struct{})}
	go func() {
		select {
		case <-n.gone:
			cancel(errors.New("`spicelane up` was killed while the lane was starting"))
		case <-ctx.Done():
		}
	}()

	// Proxy and client are processes, so that they can be stopped and killed separately; a witness
	// must see what the client receives. The control socket is free for any driver.
	cfg.Processes, cfg.ReleaseControl = !cfg.Witness, cfg.Client != harness.None
	cfg.Logger = log
	cfg.OnBegin = func(name string) { n.send(note{Begin: name}) }
	cfg.OnStep = func(s registry.Step) { n.send(note{Step: &s}) }
	cfg.OnState = func(s registry.State) {
		s.SetSupervisor(os.Getpid())
		if err := reg.Save(s); err != nil {
			log.Error("cannot note the lane's state", "err", err)
		}
	}
	lane, err := harness.Start(ctx, cfg)
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil && errors.Is(err, context.Canceled) {
			err = &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the lane was ended while it was starting (%v)", cause)}
		}
		n.send(note{Fail: failNoteOf(err)})
		return err
	}
	s := lane.State()
	s.SetSupervisor(os.Getpid())
	n.send(note{Ready: &s})
	w.Close()
	log.Info("lane is ready", "name", cfg.Name, "after", lane.ReadyAfter())

	var why error
	select {
	case <-ctx.Done():
		log.Info("asked to end the lane")
	case <-lane.Done():
		why = lane.Err()
		// Nobody asked for this end, not even if the guest switched itself off.
		lane.NoteFailure(why)
		log.Error("a part of the lane ended", "err", why)
	}
	if err := lane.Close(); err != nil {
		log.Error("not everything ended well", "err", err)
	}
	return why
}

func failNoteOf(err error) *failNote {
	f := &failNote{Verdict: verdict.Of(err), Message: err.Error()}
	var d interface{ Details() string }
	if errors.As(err, &d) {
		f.Detail = d.Details()
	}
	return f
}
