package libvirt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/sources/libvirt"
	"github.com/spicelane/spicelane/spice/console"
)

const uuidA = "6f4e2c1a-0000-0000-0000-00000000000a"

// running returns the XML of a running domain with that in its devices.
func running(devices string) string {
	return "<domain type='qemu' id='3'><name>guest-a</name><uuid>" + uuidA + "</uuid><devices>" + devices + "</devices></domain>"
}

func TestADomainsXMLSaysHowToReachItsConsole(t *testing.T) {
	base := console.Console{Source: "kvm7", UUID: uuidA, Name: "guest-a", Hypervisor: "kvm7.example", HypervisorIP: "127.0.0.1"}
	with := func(change func(*console.Console)) console.Console {
		c := base
		change(&c)
		return c
	}
	plain := with(func(c *console.Console) { c.InsecurePort = 5900 })
	secure := with(func(c *console.Console) {
		c.SecurePort, c.CACert, c.HostSubject = 5901, []byte("the CA"), "CN=kvm7"
	})
	both := func(channels ...string) console.Console {
		c := secure
		c.InsecurePort, c.SecureChannels = 5900, channels
		return c
	}
	at := func(address string) console.Console {
		return with(func(c *console.Console) { c.InsecurePort, c.HypervisorIP = 5900, address })
	}
	for name, tc := range map[string]struct {
		xml  string
		want console.Console
	}{
		"a plain port":            {`<graphics type='spice' port='5900' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>`, plain},
		"the older spelling":      {`<graphics type='spice' port='5900' tlsPort='-1' listen='127.0.0.1'/>`, plain},
		"beside VNC":              {`<graphics type='vnc' port='5999'/><graphics type='spice' port='5900' listen='127.0.0.1'/>`, plain},
		"a TLS port":              {`<graphics type='spice' port='-1' tlsPort='5901' listen='127.0.0.1'/>`, secure},
		"both ports":              {`<graphics type='spice' port='5900' tlsPort='5901' listen='127.0.0.1'/>`, both("all")},
		"both, and any is secure": {`<graphics type='spice' port='5900' tlsPort='5901' listen='127.0.0.1' defaultMode='insecure'><channel name='main' mode='secure'/><channel name='inputs' mode='any'/></graphics>`, both("main", "inputs")},
		"both, one is insecure": {`<graphics type='spice' port='5900' tlsPort='5901' listen='127.0.0.1'><channel name='display' mode='insecure'/></graphics>`,
			both("main", "inputs", "cursor", "playback", "record", "tunnel", "smartcard", "usbredir", "port", "webdav")},
		"both, none is secure": {`<graphics type='spice' port='5900' tlsPort='5901' listen='127.0.0.1' defaultMode='insecure'/>`, plain},
		"a network's address":  {`<graphics type='spice' port='5900'><listen type='network' network='lab' address='192.0.2.7'/></graphics>`, at("192.0.2.7")},
		"IPv6":                 {`<graphics type='spice' port='5900'><listen type='address' address='fd00::7'/></graphics>`, at("fd00::7")},
		"all interfaces":       {`<graphics type='spice' port='5900'><listen type='address' address='0.0.0.0'/></graphics>`, at("127.0.0.1")},
		"all of IPv6":          {`<graphics type='spice' port='5900' listen='::'/>`, at("::1")},
		"no address at all":    {`<graphics type='spice' port='5900'><listen type='address'/></graphics>`, plain},
		"a socket": {`<graphics type='spice'><listen type='socket' socket='/run/a.sock'/></graphics>`, with(func(c *console.Console) {
			c.Unix, c.HypervisorIP = "/run/a.sock", ""
		})},
		"what a later libvirt adds": {`<graphics type='spice' port='5900' listen='127.0.0.1' new='x'><gl enable='no'/><new/></graphics>`, plain},
	} {
		t.Run(name, func(t *testing.T) {
			got, why, err := libvirt.ConsoleOf(running(tc.xml), "kvm7.example", "")
			require.NoError(t, err)
			assert.Empty(t, why)
			assert.Equal(t, tc.want, got)
		})
	}
	got, _, err := libvirt.ConsoleOf(running(`<graphics type='spice' port='5900' listen='0.0.0.0'/>`), "kvm7.example", "192.0.2.9")
	require.NoError(t, err)
	assert.Equal(t, at("192.0.2.9"), got, "hypervisor_ip is for those that listen on all interfaces")
}

func TestAConsoleThatNobodyCanBeLedToSaysWhy(t *testing.T) {
	for name, tc := range map[string]struct{ xml, why string }{
		"no SPICE":         {`<graphics type='vnc' port='5900'/>`, "it has no SPICE graphics"},
		"no port yet":      {`<graphics type='spice' port='-1' tlsPort='-1' autoport='yes'/>`, "its SPICE server has no port: "},
		"no port":          {`<graphics type='spice' autoport='no'/>`, "its SPICE server has no port: "},
		"port zero":        {`<graphics type='spice' port='0'/>`, "its SPICE server has no port: "},
		"no number":        {`<graphics type='spice' port='59oo'/>`, `its SPICE port cannot be used: "59oo" is not a port`},
		"no such port":     {`<graphics type='spice' port='5900' tlsPort='65536'/>`, `its SPICE port cannot be used: "65536" is not a port`},
		"listens nowhere":  {`<graphics type='spice'><listen type='none'/></graphics>`, "its SPICE server listens nowhere"},
		"socket to come":   {`<graphics type='spice'><listen type='socket'/></graphics>`, "its SPICE server has no socket path yet"},
		"another's socket": {`<graphics type='vnc'><listen type='socket' socket='/s'/></graphics>`, "it has no SPICE graphics"},
	} {
		t.Run(name, func(t *testing.T) {
			_, why, err := libvirt.ConsoleOf(running(tc.xml), "kvm7.example", "")
			require.NoError(t, err)
			assert.Contains(t, why, tc.why)
		})
	}
}

func TestXMLThatCannotBeReadIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"no XML":          "domain",
		"half":            running("<graphics type='spice'")[:60],
		"no uuid":         strings.Replace(running(""), "uuid>", "id>", 2),
		"no name":         "<domain><uuid>" + uuidA + "</uuid></domain>",
		"another root":    "<network><name>a</name></network>",
		"an entity":       `<!DOCTYPE d [<!ENTITY a "b">]>` + strings.Replace(running(""), "guest-a", "&a;", 1),
		"another charset": `<?xml version="1.0" encoding="utf-16"?>` + running(""),
	} {
		_, _, err := libvirt.ConsoleOf(text, "kvm7.example", "")
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "s3cret", name)
	}
}

func TestAPasswordThatLetsNobodyInSaysWhy(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ attributes, ticket, why string }{
		{``, "", ""},
		{`passwd='s3cret'`, "s3cret", ""},
		{`passwd='a &lt;b&gt; &quot;c&quot;'`, `a <b> "c"`, ""},
		{`passwd='s3cret' passwdValidTo='2026-11-27T12:00:01'`, "s3cret", ""},
		{`passwd='s3cret' passwdValidTo='2026-11-27T12:00:00'`, "s3cret", "its SPICE password was valid until 2026-11-27T12:00:00 UTC: "},
		{`passwd='s3cret' passwdValidTo='tomorrow'`, "s3cret", `cannot be read: passwdValidTo="tomorrow"`},
		{`passwd=''`, "", "its SPICE password is empty, and lets nobody in: "},
		{`passwd='` + strings.Repeat("s3cret", 10) + `'`, strings.Repeat("s3cret", 10), "its SPICE password cannot be used: the ticket has 60 bytes"},
		// Without a password there is nothing that could expire.
		{`passwdValidTo='2020-01-01T00:00:00'`, "", ""},
	} {
		ticket, why, err := libvirt.TicketOf(running(`<graphics type='spice' port='5900' `+tc.attributes+`/>`), now)
		require.NoError(t, err)
		assert.Equal(t, tc.ticket, ticket, tc.attributes)
		if tc.why == "" {
			assert.Empty(t, why, tc.attributes)
		}
		assert.Contains(t, why, tc.why, tc.attributes)
		assert.NotContains(t, why, "s3cret")
	}
}

func FuzzDomain(f *testing.F) {
	for _, s := range []string{"", running(""), running(`<graphics type='spice' port='5900' tlsPort='5901' passwd='x'><listen type='socket' socket='/s'/><channel name='main' mode='secure'/></graphics>`)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, why, err := libvirt.ConsoleOf(text, "kvm7.example", "")
		if err != nil || why != "" {
			return
		}
		network, address := c.Address()
		assert.NotEmpty(t, network)
		assert.NotEmpty(t, address)
		assert.NotEmpty(t, c.UUID)
		assert.NotEmpty(t, c.Name)
	})
}
