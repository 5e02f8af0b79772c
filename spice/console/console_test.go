package console_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spicelane/spicelane/spice/console"
)

func TestAConsoleIsPrintedWithoutItsTicket(t *testing.T) {
	const ticket = "the-ticket"
	c := console.Console{Source: "s", UUID: "u", Name: "n", HypervisorIP: "::1", SecurePort: 5911, InsecurePort: 5910, Ticket: ticket}
	assert.Equal(t, "n (s/u at tls:[::1]:5911)", c.String())
	for _, text := range []string{fmt.Sprintf("%#v", c), fmt.Sprintf("%+v", c), c.LogValue().String(), c.Endpoint()} {
		assert.NotContains(t, text, ticket)
		assert.Contains(t, text, "tls:[::1]:5911")
	}
	c.SecurePort = 0
	assert.Equal(t, "tcp:[::1]:5910", c.Endpoint())
	c.Unix = "/run/s"
	assert.Equal(t, "unix:/run/s", c.Endpoint())
}

func TestWhatIsDialledAndWhatIsCheckedAreTwoThings(t *testing.T) {
	c := console.Console{Hypervisor: "node7", HypervisorIP: "192.0.2.7", SecurePort: 5911}
	network, address := c.Address()
	assert.Equal(t, []string{"tcp", "192.0.2.7:5911", "node7"}, []string{network, address, c.ServerName()})
	assert.True(t, c.TLS())
	c.HypervisorIP = ""
	assert.Equal(t, "node7", c.Host())
	c.Hypervisor, c.HypervisorIP = "", "192.0.2.7"
	assert.Equal(t, "192.0.2.7", c.ServerName())
	c.Unix = "/run/s"
	assert.False(t, c.TLS(), "a unix socket is never TLS")
}

func TestAnIPv6AddressMayHaveBrackets(t *testing.T) {
	c := console.Console{Hypervisor: "[::1]", InsecurePort: 5910}
	assert.Equal(t, "tcp:[::1]:5910", c.Endpoint())
	assert.Equal(t, "::1", c.ServerName())
	c.HypervisorIP = "[fe80::1%eth0]"
	assert.Equal(t, "fe80::1%eth0", c.Host())
}

func TestAUUIDsCanonicalFormHasSmallLetters(t *testing.T) {
	assert.Equal(t, "6f4e2c1a-00ab-4000-8000-0000000000ff", console.CanonicalUUID("6F4E2C1A-00AB-4000-8000-0000000000FF"))
	for _, other := range []string{"", "Desktop", "6F4E2C1A-00AB-4000-8000-0000000000F", "X6F4E2C1A-00AB-4000-8000-0000000000FF"} {
		assert.Equal(t, other, console.CanonicalUUID(other))
	}
}

func TestEachTypeOfChannelHasOneOfTheTwoPorts(t *testing.T) {
	for _, tc := range []struct {
		secure []string
		want   string
	}{
		{nil, "tls:kvm:5911"},
		{[]string{"all"}, "tls:kvm:5911"},
		{[]string{"inputs", "main"}, "tls:kvm:5911"},
		{[]string{"inputs"}, "tcp:kvm:5910"},
	} {
		c := console.Console{Hypervisor: "kvm", InsecurePort: 5910, SecurePort: 5911, SecureChannels: tc.secure}
		assert.Equal(t, tc.want, c.ForChannel("main").Endpoint(), tc.secure)
	}
	// With one way in, there is nothing to choose.
	for _, c := range []console.Console{{InsecurePort: 1}, {SecurePort: 1}, {Unix: "/s", InsecurePort: 1, SecurePort: 2}} {
		c.SecureChannels = []string{"inputs"}
		assert.Equal(t, c, c.ForChannel("main"))
	}
}

func TestSourcesThatFailAreNamedAndFound(t *testing.T) {
	down := errors.New("libvirtd is down")
	err := error(&console.PartialError{Failed: []*console.SourceError{{Source: "a", Err: down}, {Source: "b", Err: io.EOF}}})
	assert.EqualError(t, err, "a: libvirtd is down; b: EOF")
	assert.ErrorIs(t, err, down)
	assert.ErrorIs(t, err, io.EOF)
	var one *console.SourceError
	assert.ErrorAs(t, err, &one)
	assert.Equal(t, "a", one.Source)
}
