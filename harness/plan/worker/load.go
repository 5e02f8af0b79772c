package worker

import (
	"context"
	"sync"

	"github.com/spicelane/spicelane/harness"
)

// A Load is what a lane has used so far, and the present load of its host. Times and bytes count
// from the lane's start, so a lost Load does no harm.
type Load struct {
	Lane string `json:"lane"`
	// CPU is the processor time that QEMU used. Waited is how long one of its threads was ready and
	// did not run. HeldUp is how long the harness did not run when it should have. All are in seconds.
	CPU    float64 `json:"cpu_s"`
	Waited float64 `json:"waited_s"`
	HeldUp float64 `json:"held_up_s"`
	// Memory is QEMU's resident memory in bytes.
	Memory int64 `json:"memory"`
	// DiskRead and DiskWritten are the bytes that QEMU had read from and written to disks.
	DiskRead    int64 `json:"disk_read"`
	DiskWritten int64 `json:"disk_written"`
	// SPICEIn and SPICEOut are the bytes that QEMU's SPICE server received and sent, if SPICEKnown.
	SPICEKnown bool   `json:"spice_known"`
	SPICEIn    uint64 `json:"spice_in"`
	SPICEOut   uint64 `json:"spice_out"`
	// Busy and Steal are fractions of all the host's processor time. LoadAverage is that of one
	// minute.
	Busy        float64 `json:"busy"`
	Steal       float64 `json:"steal"`
	LoadAverage float64 `json:"load_1m"`
}

// add adds what the lane used in the last half second.
func (l *Load) add(now harness.Load) {
	s := now.Over.Seconds()
	l.CPU += now.QEMU * s
	l.Waited += now.Waited * s
	l.HeldUp += now.HeldUp * s
	l.DiskRead += now.DiskRead
	l.DiskWritten += now.DiskWritten
	l.SPICEKnown = l.SPICEKnown || now.SPICEKnown
	l.SPICEIn += now.SPICEIn
	l.SPICEOut += now.SPICEOut
	l.Memory, l.Busy, l.Steal, l.LoadAverage = now.Memory, now.Busy, now.Steal, now.LoadAverage
}

// loads sends the loads of an attempt's lanes. It sends them on a separate goroutine, because the
// measurement must not wait for the runner to read them.
type loads struct {
	emit func(Event)
	wake chan struct{}

	mu    sync.Mutex
	fresh map[*Load]bool
}

func newLoads(emit func(Event)) *loads {
	return &loads{emit: emit, wake: make(chan struct{}, 1), fresh: map[*Load]bool{}}
}

// lane returns the function that a lane calls with its load.
func (l *loads) lane(name string) func(harness.Load) {
	of := &Load{Lane: name}
	return func(now harness.Load) {
		l.mu.Lock()
		defer l.mu.Unlock()
		of.add(now)
		l.fresh[of] = true
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// run sends loads until ctx ends.
func (l *loads) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			l.flush()
		}
	}
}

// flush sends the loads that have changed since the last flush.
func (l *loads) flush() {
	l.mu.Lock()
	var now []Load
	for of := range l.fresh {
		now = append(now, *of)
	}
	clear(l.fresh)
	l.mu.Unlock()
	for i := range now {
		l.emit(Event{Load: &now[i]})
	}
}
