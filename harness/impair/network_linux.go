package impair

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A network is two network namespaces with a pair of virtual Ethernet devices
// between them:
//
//	┌ near ───────────────────┐      ┌ far ────────────────────┐
//	│ 192.0.2.1  leg  ▸ netem ┼──────┼ netem ◂  leg  192.0.2.2 │
//	└─────────────────────────┘      └─────────────────────────┘
//
// What each side sends is impaired on its way out, so each direction is impaired separately. The
// namespaces have no name: they are held by descriptors of this process, and the kernel removes
// them with it, however it ends.
type network struct {
	near, far *side
	shape     shaper
}

// A shaper returns the queueing discipline that applies l to what leaves a device. It must be of
// the same kind each time.
type shaper func(attrs netlink.QdiscAttrs, l Profile) netlink.Qdisc

// A side is one of the two namespaces.
type side struct {
	ns     netns.NsHandle
	handle *netlink.Handle
	leg    netlink.Link
	ip     net.IP
}

// The addresses are of TEST-NET-1 (RFC 5737); nothing else is in the namespaces.
var (
	nearIP = net.IPv4(192, 0, 2, 1).To4()
	farIP  = net.IPv4(192, 0, 2, 2).To4()
)

const (
	legName = "leg"
	// ethernetMTU is the MTU with which a frame's TCP segment has the size used by Profile.Loss.
	ethernetMTU = 1500
	// queueDevice is only for the kernel's own queue of a device; netem's limit decides what may
	// wait.
	queueDevice = 1000
)

// newNetwork makes the namespaces and their devices. The error says what the host or this user
// lacks.
func newNetwork(ctx context.Context, l Profile, shape shaper) (_ *network, err error) {
	if shape == nil {
		shape = netem
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	n := &network{shape: shape}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.near, err = newSide(nearIP); err != nil {
		return nil, err
	}
	if n.far, err = newSide(farIP); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.TxQLen = legName, ethernetMTU, queueDevice
	err = n.near.handle.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: legName, PeerNamespace: netlink.NsFd(n.far.ns)})
	if err != nil {
		return nil, lack("a pair of virtual Ethernet devices", err, unix.EOPNOTSUPP, "this kernel has no veth")
	}
	for _, s := range []*side{n.near, n.far} {
		if s.leg, err = s.handle.LinkByName(legName); err != nil {
			return nil, fmt.Errorf("the device %s: %w", legName, err)
		}
	}
	for _, s := range []struct{ this, that *side }{{n.near, n.far}, {n.far, n.near}} {
		if err = s.this.setUp(s.that, shape(attrsOf(s.this.leg), l)); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// newSide makes a namespace.
func newSide(ip net.IP) (*side, error) {
	s := &side{ns: netns.None(), ip: ip}
	err := onThreadOfItsOwn(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.ns, err = netns.Get()
		}
		return err
	})
	if err != nil {
		return nil, lack("a network namespace", err, unix.EPERM, "this user may not make a network namespace")
	}
	if s.handle, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in a namespace: %w", err), s.ns.Close())
	}
	return s, nil
}

// lack returns an error with the given words if err is known, otherwise err with what it is about.
func lack(what string, err, known error, words string) error {
	if errors.Is(err, known) {
		return &lackError{words, err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// A lackError says in words what the kernel lacks. It wraps the kernel's error.
type lackError struct {
	words string
	err   error
}

func (e *lackError) Error() string { return e.words }
func (e *lackError) Unwrap() error { return e.err }

func attrsOf(leg netlink.Link) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: leg.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
}

// setUp configures the side's device to reach the other side.
func (s *side) setUp(other *side, q netlink.Qdisc) error {
	// One segment per packet, so that a loss loses one segment and not the 64 KiB that the kernel
	// passes to a device at once.
	if err := s.handle.LinkSetGSOMaxSegs(s.leg, 1); err != nil {
		return fmt.Errorf("the device's segments: %w", err)
	}
	if err := s.handle.AddrAdd(s.leg, &netlink.Addr{IPNet: &net.IPNet{IP: s.ip, Mask: net.CIDRMask(30, 32)}}); err != nil {
		return fmt.Errorf("the device's address: %w", err)
	}
	// Real networks do not resolve a neighbour's address across an ocean, so the resolution must
	// not be impaired.
	err := s.handle.NeighAdd(&netlink.Neigh{LinkIndex: s.leg.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: other.ip, HardwareAddr: other.leg.Attrs().HardwareAddr})
	if err != nil {
		return fmt.Errorf("the device's neighbour: %w", err)
	}
	if err := s.handle.LinkSetUp(s.leg); err != nil {
		return fmt.Errorf("the device: %w", err)
	}
	if err := s.handle.QdiscAdd(q); err != nil {
		return lack("the device's "+q.Type(), err, unix.ENOENT, "this kernel has no sch_"+q.Type())
	}
	return nil
}

// set changes from now on how the kernel impairs what leaves the sides.
func (n *network) set(l Profile) error {
	for _, s := range []*side{n.near, n.far} {
		q := n.shape(attrsOf(s.leg), l)
		if err := s.handle.QdiscChange(q); err != nil {
			return fmt.Errorf("impair: %s: %w", q.Type(), err)
		}
	}
	return nil
}

// pair returns both ends of a new TCP connection through the network.
func (n *network) pair(ctx context.Context) (near, far net.Conn, err error) {
	// A separate listener for each, so that it is clear whose connection arrives.
	var ln net.Listener
	err = n.far.do(func() (err error) {
		var cfg net.ListenConfig
		cfg.SetMultipathTCP(false)
		ln, err = cfg.Listen(ctx, "tcp4", net.JoinHostPort(n.far.ip.String(), "0"))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	err = n.near.do(func() (err error) {
		var d net.Dialer
		d.SetMultipathTCP(false)
		near, err = d.DialContext(ctx, "tcp4", ln.Addr().String())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	if far, err = ln.Accept(); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// do runs f, which makes sockets, in the side's namespace.
func (s *side) do(f func() error) error {
	return onThreadOfItsOwn(func() error {
		if err := netns.Set(s.ns); err != nil {
			return err
		}
		return f()
	})
}

// onThreadOfItsOwn runs f, which may change the thread's network namespace, on a separate thread.
// Afterwards the thread is back in its own namespace, or gone.
func onThreadOfItsOwn(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			err = f()
			// A goroutine that ends with its thread locked ends the thread, too.
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
			home.Close()
		}
		done <- err
	}()
	return <-done
}

// Close releases the namespaces, which end with their last socket. A nil network has none.
func (n *network) Close() error {
	if n == nil {
		return nil
	}
	var errs []error
	for _, s := range []*side{n.near, n.far} {
		if s != nil {
			s.handle.Close()
			errs = append(errs, s.ns.Close())
		}
	}
	return errors.Join(errs...)
}

const (
	// unlimited is the rate of a Profile without one, in bytes per second: 100 Gbit/s. With a rate,
	// netem keeps packets in order despite jitter. And a change without a rate would keep the
	// previous rate.
	unlimited = 12_500_000_000
	// patience limits what may wait at a bottleneck before packets are dropped, in seconds of its
	// rate.
	patience = 1.0
	// longQueue is a limit that TCP's windows do not reach, and shortQueue is enough for the
	// beginning of a connection, both in packets.
	longQueue, shortQueue = 100_000, 100
)

// netem returns l as the kernel's netem (tc-netem(8)).
func netem(attrs netlink.QdiscAttrs, l Profile) netlink.Qdisc {
	rate, limit := uint64(unlimited), uint32(longQueue)
	if l.Rate > 0 {
		rate = uint64(l.Rate)
		// Packets in flight wait in the same queue as those before the bottleneck.
		held := (l.Delay + l.Jitter).Seconds() + patience
		limit = uint32(min(longQueue, max(shortQueue, math.Ceil(held*float64(l.Rate)/ethernetMTU))))
	}
	return netlink.NewNetem(attrs, netlink.NetemQdiscAttrs{
		Latency: uint32(l.Delay.Microseconds()),
		Jitter:  uint32(l.Jitter.Microseconds()),
		Loss:    float32(100 * l.Loss),
		Limit:   limit,
		Rate64:  rate,
	})
}

// Probe returns nil if this user can impair connections in network namespaces on this host,
// otherwise what is missing. It makes the namespaces and releases them.
func Probe() error {
	n, err := newNetwork(context.Background(), Profile{}, nil)
	if err != nil {
		return err
	}
	return n.Close()
}
