package truth

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice/wire"
)

// BadProxy is the built-in proxy with a relay between it and the server that applies change to each
// message.
func BadProxy(change func(wire.ChannelID, witness.Message) []witness.Message) func(context.Context, Backend) (Path, error) {
	return func(ctx context.Context, b Backend) (Path, error) {
		var port atomic.Int32
		port.Store(int32(b.Port))
		r, err := witness.Start(witness.Config{Dial: dialPort(&port), Change: change})
		if err != nil {
			return nil, err
		}
		b.Port = r.Port()
		way, err := BuiltinProxy(ctx, b)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		return &badPath{way, r}, nil
	}
}

type badPath struct {
	Path
	relay *witness.Relay
}

func (w *badPath) Close() error {
	return errors.Join(w.Path.Close(), w.relay.Close())
}
