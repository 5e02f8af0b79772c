package console_test

import (
	"fmt"
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
