package impair

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// Netem returns the arguments for netem.
var Netem = netem

// InKernelBy returns a Config whose Profile is implemented in the kernel by another queueing
// discipline.
func InKernelBy(cfg Config, shape func(netlink.QdiscAttrs, Profile) netlink.Qdisc) Config {
	cfg.In, cfg.shape = InKernel, shape
	return cfg
}

// MayMakeNamespaces returns nil if this user may.
func MayMakeNamespaces() error {
	s, err := newSide(nearIP)
	if err != nil {
		return err
	}
	s.handle.Close()
	return s.ns.Close()
}

// Namespaces returns the relay's two namespaces, as the targets of the links in /proc/PID/ns.
func (r *Relay) Namespaces() (ids []string) {
	for _, s := range []*side{r.net.near, r.net.far} {
		id, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", s.ns))
		if err != nil {
			panic(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// Passed returns how many bytes have left the near side's device, and how many packets were dropped
// there.
func (r *Relay) Passed() (bytes uint64, drops uint32, err error) {
	all, err := r.net.near.handle.QdiscList(r.net.near.leg)
	if err != nil {
		return 0, 0, err
	}
	for _, q := range all {
		if s := q.Attrs().Statistics; s != nil && s.Basic != nil && s.Queue != nil {
			bytes, drops = bytes+s.Basic.Bytes, drops+s.Queue.Drops
		}
	}
	return bytes, drops, nil
}

// InsideNear runs f on a thread in the near namespace, and returns its error.
func (r *Relay) InsideNear(f func() error) error { return r.net.near.do(f) }

// ThreadNamespace returns the namespace of the calling thread.
func ThreadNamespace() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }
