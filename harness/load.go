package harness

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/spice/proxy"
)

// KindLoad is the kind of a timeline entry with what the host and QEMU did in the last half second.
const KindLoad = "load"

// A Load is what the host, QEMU and its SPICE server did for half a second.
type Load struct {
	host.Load
	// SPICEKnown tells whether the SPICE bytes are known: the built-in proxy counts them, or, in a
	// lane without it, the built-in client.
	SPICEKnown bool
	// SPICEIn and SPICEOut are the bytes that QEMU's SPICE server received and sent.
	SPICEIn, SPICEOut uint64
}

// noteLoad writes a load to the timeline and passes it to Config.OnLoad.
func (l *Lane) noteLoad(now host.Load) {
	load := Load{Load: now}
	fields := map[string]any{"ms": now.Over.Milliseconds(), "qemu": now.QEMU, "waited": now.Waited,
		"held_up": now.HeldUp, "busy": now.Busy, "steal": now.Steal, "load_1m": now.LoadAverage,
		"memory": now.Memory, "disk_read": now.DiskRead, "disk_written": now.DiskWritten}
	if in, out, ok := l.spice.since(); ok {
		load.SPICEKnown, load.SPICEIn, load.SPICEOut = true, in, out
		fields["spice_in"], fields["spice_out"] = in, out
	}
	l.log.AddAt(now.At, KindLoad, fields)
	if l.cfg.OnLoad != nil {
		l.cfg.OnLoad(load)
	}
}

// A spiceMeter measures the traffic of QEMU's SPICE server. The zero value has no counter.
type spiceMeter struct {
	mu   sync.Mutex
	read func() (in, out uint64)
	in   uint64 // when last read
	out  uint64
}

// count sets the counter: read returns the bytes that QEMU's SPICE server has received and sent. It
// must not block.
func (m *spiceMeter) count(read func() (in, out uint64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.in, m.out = read, 0, 0
}

// since returns the bytes since the last call. ok is false if nobody counts them.
func (m *spiceMeter) since() (in, out uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read == nil {
		return 0, 0, false
	}
	nowIn, nowOut := m.read()
	in, out = grown(m.in, nowIn), grown(m.out, nowOut)
	m.in, m.out = nowIn, nowOut
	return in, out, true
}

// grown returns by how much a counter has grown. A counter that has become smaller has restarted.
func grown(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// countRelayed counts what a built-in proxy in a separate process relays. It asks the proxy as
// often as a load is noted, until the lane ends.
func (b *bringUp) countRelayed(api string) {
	var in, out atomic.Uint64
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(host.LoadInterval)
		defer tick.Stop()
		for {
			var got struct{ Relayed proxy.Relayed }
			// The lane notices by itself when the proxy has ended.
			if err := getJSON(ctx, api+"/sessions", b.apiToken, &got); err == nil {
				in.Store(got.Relayed.FromClient)
				out.Store(got.Relayed.FromServer)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	b.undo.push(func() error {
		stop()
		<-done
		return nil
	})
	b.spice.count(func() (uint64, uint64) { return in.Load(), out.Load() })
}
