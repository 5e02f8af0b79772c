package truth

import (
	"context"
	"errors"

	"github.com/spicelane/spicelane/spice/wire"
)

// Passed is a message on its way through a bad proxy.
type Passed struct {
	Type uint16
	Body []byte
}

// BadProxy is the built-in proxy with something between it and the server that does to messages what
// change says, one call at a time.
func BadProxy(change func(wire.ChannelID, Passed) []Passed) func(context.Context, Backend) (Path, error) {
	return func(ctx context.Context, b Backend) (Path, error) {
		r, err := startRelay()
		if err != nil {
			return nil, err
		}
		r.server.Store(int32(b.Port))
		r.change = func(ch wire.ChannelID, n note) []note {
			r.mu.Lock()
			defer r.mu.Unlock()
			var all []note
			for _, p := range change(ch, Passed{n.header.Type, n.body}) {
				h := n.header
				h.Type = p.Type
				all = append(all, note{h, p.Body})
			}
			return all
		}
		b.Port = r.port()
		way, err := BuiltinProxy(ctx, b)
		if err != nil {
			r.close()
			return nil, err
		}
		return &badPath{way, r}, nil
	}
}

type badPath struct {
	Path
	relay *relay
}

func (w *badPath) Close() error {
	err := w.Path.Close()
	w.relay.close()
	return errors.Join(err)
}
