package hostport_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spicelane/spicelane/internal/hostport"
)

func TestAnIPv6AddressMayHaveBracketsOrNot(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"::1":            "[::1]:5900",
		"[::1]":          "[::1]:5900",
		"[fe80::1%eth0]": "[fe80::1%eth0]:5900",
		"127.0.0.1":      "127.0.0.1:5900",
		"kvm.example":    "kvm.example:5900",
		"":               ":5900",
	} {
		assert.Equal(t, want, hostport.Join(host, 5900), "%q", host)
	}
	for _, host := range []string{"[", "[]", "[::1", "::1]", "[127.0.0.1]", "[host]", "[::1]:5900"} {
		assert.Equal(t, host, hostport.Bare(host))
	}
}

func TestAllInterfacesMeansThisMachine(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"} {
		got, ok := hostport.Loopback(host)
		assert.True(t, ok, "%q", host)
		assert.Equal(t, want, got, "%q", host)
	}
	for _, host := range []string{"127.0.0.1", "0.0.0.1", "::1", "kvm.example"} {
		_, ok := hostport.Loopback(host)
		assert.False(t, ok, "%q", host)
	}
}
