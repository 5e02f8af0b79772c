package libvirt

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"strconv"
	"time"

	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// domain is the part of a domain's XML that describes its console
// (https://libvirt.org/formatdomain.html#graphical-framebuffers).
type domain struct {
	ID       string     `xml:"id,attr"` // only running domains have one
	UUID     string     `xml:"uuid"`
	Name     string     `xml:"name"`
	Graphics []graphics `xml:"devices>graphics"`
}

type graphics struct {
	Type    string `xml:"type,attr"`
	Port    string `xml:"port,attr"`
	TLSPort string `xml:"tlsPort,attr"`
	Listen  string `xml:"listen,attr"`

	Password *string `xml:"passwd,attr"`        // nil: the server asks for none
	ValidTo  string  `xml:"passwdValidTo,attr"` // UTC

	DefaultMode string    `xml:"defaultMode,attr"` // of channels that are not listed
	Channels    []channel `xml:"channel"`
	Listens     []listen  `xml:"listen"`
}

type channel struct {
	Name string `xml:"name,attr"`
	Mode string `xml:"mode,attr"` // "secure", "insecure" or "any"
}

type listen struct {
	Type    string `xml:"type,attr"` // "address", "network", "socket" or "none"
	Address string `xml:"address,attr"`
	Socket  string `xml:"socket,attr"`
}

// about is what a source knows about all its consoles.
type about struct {
	source      string
	caCert      []byte
	hostSubject string
	everywhere  string // address of a server that listens on all interfaces; empty: this machine
}

func parseDomain(text string) (*domain, error) {
	d := &domain{}
	if err := xml.Unmarshal([]byte(text), d); err != nil {
		return nil, fmt.Errorf("its XML cannot be read: %w", err)
	}
	if d.UUID == "" || d.Name == "" {
		return nil, fmt.Errorf("its XML has no uuid or no name")
	}
	return d, nil
}

// running reports whether the domain is active, even if it is paused.
func (d *domain) running() bool { return d.ID != "" && d.ID != "-1" }

// spice returns the SPICE server of the domain, nil if it has none. QEMU has at most one.
func (d *domain) spice() *graphics {
	for i := range d.Graphics {
		if d.Graphics[i].Type == "spice" {
			return &d.Graphics[i]
		}
	}
	return nil
}

// console describes the console without its password. If no client can reach it, why says the
// reason; otherwise why is empty. host is the name of the machine.
func (d *domain) console(a about, host string) (c console.Console, why string) {
	c = console.Console{Source: a.source, UUID: console.CanonicalUUID(d.UUID), Name: d.Name, Hypervisor: host}
	g := d.spice()
	if g == nil {
		return c, "it has no SPICE graphics"
	}
	for _, l := range g.Listens {
		switch l.Type {
		case "socket":
			if l.Socket == "" {
				return c, "its SPICE server has no socket path yet"
			}
			c.Unix = l.Socket
			return c, ""
		case "none":
			return c, `its SPICE server listens nowhere: <listen type="none"/>`
		}
	}
	var err error
	if c.InsecurePort, err = port(g.Port); err == nil {
		c.SecurePort, err = port(g.TLSPort)
	}
	switch {
	case err != nil:
		return c, "its SPICE port cannot be used: " + err.Error()
	case c.InsecurePort == 0 && c.SecurePort == 0:
		return c, `its SPICE server has no port: give it port="…" or autoport="yes"`
	}
	c.HypervisorIP = a.reach(g.address())
	if c.InsecurePort != 0 && c.SecurePort != 0 {
		if c.SecureChannels = g.secureChannels(); len(c.SecureChannels) == 0 {
			c.SecurePort = 0
		}
	}
	if c.SecurePort != 0 {
		c.CACert, c.HostSubject = a.caCert, a.hostSubject
	}
	return c, ""
}

// port reads a port; 0 means none. libvirt writes -1 for a port that it has not chosen yet.
func port(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n > 65535:
		return 0, fmt.Errorf("%q is not a port", text)
	case n < 0:
		return 0, nil
	}
	return n, nil
}

// address returns where the server listens.
func (g *graphics) address() string {
	for _, l := range g.Listens {
		if l.Address != "" {
			return l.Address
		}
	}
	return g.Listen
}

// reach returns the address at which clients reach a server that listens on address.
func (a about) reach(address string) string {
	if here, all := hostport.Loopback(address); all {
		return cmp.Or(a.everywhere, here)
	}
	return address
}

// secureChannels returns the channels that use TLS when both ports are open. A channel whose mode
// is "any" uses TLS.
func (g *graphics) secureChannels() []string {
	modes := map[string]string{}
	for _, c := range g.Channels {
		modes[c.Name] = c.Mode
	}
	var secure []string
	for _, t := range wire.ChannelTypes() {
		if cmp.Or(modes[t.String()], g.DefaultMode) != "insecure" {
			secure = append(secure, t.String())
		}
	}
	if len(secure) == len(wire.ChannelTypes()) {
		return []string{"all"}
	}
	return secure
}

// locked says why the server refuses the password now; empty if it does not.
func (g *graphics) locked(now time.Time) string {
	if g.Password == nil {
		return ""
	}
	if *g.Password == "" {
		return "its SPICE password is empty, and lets nobody in: set one with virsh update-device"
	}
	if err := link.CheckSecret(*g.Password); err != nil {
		return "its SPICE password cannot be used: " + err.Error()
	}
	if g.ValidTo == "" {
		return ""
	}
	until, err := time.Parse("2006-01-02T15:04:05", g.ValidTo)
	switch {
	case err != nil:
		return fmt.Sprintf("until when its SPICE password is valid cannot be read: passwdValidTo=%q", g.ValidTo)
	case !now.Before(until):
		return fmt.Sprintf("its SPICE password was valid until %s UTC: set a later passwdValidTo with virsh update-device", g.ValidTo)
	}
	return ""
}

// ticket returns the password, empty if the server asks for none.
func (g *graphics) ticket() string {
	if g.Password == nil {
		return ""
	}
	return *g.Password
}
