package vv_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/vv"
)

// These files are of consoles that people use. remote-viewer opens each of them.
func TestWhatRemoteViewerOpensIsOpened(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     vv.File
	}{
		// https://github.com/cockpit-project/cockpit/issues/9244: cockpit-machines wrote the
		// port of a guest without a plaintext port as null, and the header of a group that is
		// made of dots.
		{"port=null beside a TLS port",
			"[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=null\ntls-port=5931\ndelete-this-file=1\nfullscreen=0\n\n[...............................GraphicsConsole]\n",
			vv.File{Type: "spice", Host: "127.0.0.1", TLSPort: 5931, DeleteThisFile: true, Warnings: []string{
				`x.vv:4: port is "null"; expected a port number from 1 to 65535`}}},
		{"an empty TLS port", "[virt-viewer]\ntype=spice\nhost=a\nport=5930\ntls-port=\n",
			vv.File{Type: "spice", Host: "a", Port: 5930}},
		{"0 for no port", "[virt-viewer]\ntype=spice\nhost=a\nport=0\ntls-port=5931\n",
			vv.File{Type: "spice", Host: "a", TLSPort: 5931}},
		{"a TLS port that is out of range", "[virt-viewer]\ntype=spice\nhost=a\nport=5930\ntls-port=99999\n",
			vv.File{Type: "spice", Host: "a", Port: 5930, Warnings: []string{
				`x.vv:5: tls-port is "99999"; expected a port number from 1 to 65535`}}},
		{"a port with a note", "[virt-viewer]\ntype=spice\nhost=a\nport=5930 ; plain\n",
			vv.File{Type: "spice", Host: "a", Port: 5930, Warnings: []string{
				`x.vv:4: port is "5930 ; plain"; what follows the number is ignored`}}},
		{"a title with an unknown escape", "[virt-viewer]\ntype=spice\nhost=a\nport=1\ntitle=win\\x - %d\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Title: `win\x - %d`, Warnings: []string{
				`x.vv:5: title: has an unknown escape after a backslash, and is taken as it stands; known are \s \n \t \r and \\`}}},
		{"a title that ends in a backslash", "[virt-viewer]\ntype=spice\nhost=a\nport=1\ntitle=C:\\\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				`x.vv:5: title: value ends in a single backslash; write \\ for a backslash; it is left out`}}},
		{"a title in Latin-1", "[virt-viewer]\ntype=spice\nhost=a\nport=1\ntitle=M\xfcnchen\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				"x.vv:5: title: value is not UTF-8; it is left out"}}},
		{"a password with a backslash", "[virt-viewer]\ntype=spice\nhost=a\nport=1\npassword=pa\\$$\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Password: `pa\$$`, Warnings: []string{
				`x.vv:5: password: has an unknown escape after a backslash, and is taken as it stands; known are \s \n \t \r and \\`}}},
		{"the type in capitals", "[virt-viewer]\ntype=SPICE\nhost=a\nport=1\n",
			vv.File{Type: "spice", Host: "a", Port: 1}},
		{"delete-this-file=yes, which is no to virt-viewer", "[virt-viewer]\ntype=spice\nhost=a\nport=1\ndelete-this-file=yes\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				`x.vv:5: delete-this-file is "yes"; expected 0 or 1, and taken as 0`}}},
		{"delete-this-file=2, which is yes to virt-viewer", "[virt-viewer]\ntype=spice\nhost=a\nport=1\ndelete-this-file=2\n",
			vv.File{Type: "spice", Host: "a", Port: 1, DeleteThisFile: true, Warnings: []string{
				`x.vv:5: delete-this-file is "2"; expected 0 or 1, and taken as 1`}}},
		{"unknown and unsupported keys", "[virt-viewer]\ntype=spice\nhost=a\nport=1\nusername=root\nfoo bar=1\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				"x.vv:5: username is not supported here and is ignored",
				`x.vv:6: "foo bar" is not a key that virt-viewer knows; it is ignored`}}},
		{"another group's broken line", "[virt-viewer]\ntype=spice\nhost=a\nport=1\n[ovirt]\nno equals sign\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				"x.vv:6: is neither key=value, a [group], a # comment nor empty; virt-viewer refuses such a file"}}},
		{"blanks after the host", "[virt-viewer]\ntype=spice\nhost=a \t\nport=1\n",
			vv.File{Type: "spice", Host: "a", Port: 1, Warnings: []string{
				"x.vv:3: host has blanks around it, which are left out"}}},
		{"an IPv6 host in brackets", "[virt-viewer]\ntype=spice\nhost=[::1]\nport=1\n",
			vv.File{Type: "spice", Host: "::1", Port: 1}},
		{"only the last of two lines is judged", "[virt-viewer]\ntype=spice\nhost=a\nport=null\nport=1\n",
			vv.File{Type: "spice", Host: "a", Port: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := vv.Parse("x.vv", []byte(tc.in))
			require.NoError(t, err)
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// https://github.com/OpenNebula/one/issues/5393 and
// https://github.com/joshpatten/PVE-VDIClient/issues/79: Proxmox hands out a host name that only
// its HTTP proxy understands. A reader that ignores the proxy ends in a DNS error.
func TestTheHTTPProxyOfAFileIsRead(t *testing.T) {
	const file = "[virt-viewer]\ntype=spice\nhost=pvespiceproxy:65418c61:1006:pve::00\ntls-port=61000\n" +
		"proxy=http://user:pa%20ss@127.0.0.1:3128\n"
	got, err := vv.Parse("x.vv", []byte(file))
	require.NoError(t, err)
	require.Equal(t, "http://user:pa%20ss@127.0.0.1:3128", got.Proxy)
	require.Equal(t, "pvespiceproxy:65418c61:1006:pve::00", got.Host)
	require.Empty(t, got.Warnings)
	require.Equal(t, "spice://pvespiceproxy:65418c61:1006:pve::00 tls-port 61000 through an HTTP proxy", got.String())
}

// https://github.com/avocado-framework/avocado-vt/issues/967: libvirt's guests may have a mixture of
// secure and plain channels.
func TestSecureChannelsAreRead(t *testing.T) {
	const head = "[virt-viewer]\ntype=spice\nhost=a\nport=5930\ntls-port=5931\nsecure-channels="
	for in, want := range map[string][]string{
		"":                nil,
		";":               nil,
		"main":            {"main"},
		"main;inputs":     {"main", "inputs"},
		"main; inputs ; ": {"main", "inputs"},
		"all;":            {"all"},
	} {
		got, err := vv.Parse("x.vv", []byte(head+in+"\n"))
		require.NoError(t, err, "%q", in)
		require.Equal(t, want, got.SecureChannels, "%q", in)
		require.Empty(t, got.Warnings, "%q", in)
	}
	got, err := vv.Parse("x.vv", []byte(head+"main;input\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"main"}, got.SecureChannels)
	require.Equal(t, []string{`x.vv:6: secure-channels: "input" is no channel's name and is ignored; known are ` +
		"all, main, display, inputs, cursor, playback, record, tunnel, smartcard, usbredir, port, webdav"}, got.Warnings)
}

func TestWarningsAreBoundedAndQuoteNoSecret(t *testing.T) {
	const secret = "hunter2"
	got, err := vv.Parse("x.vv", []byte("[virt-viewer]\ntype=spice\nhost=a\nport=1\n"+
		"password="+secret+"\\q\nproxy=http://u:"+secret+"@h\\q\n"+
		strings.Repeat("x", 99)+"=1\n"))
	require.NoError(t, err)
	require.Len(t, got.Warnings, 3)
	for _, w := range got.Warnings {
		require.NotContains(t, w, secret)
		require.Less(t, len(w), 200)
	}
	var many strings.Builder
	many.WriteString("[virt-viewer]\ntype=spice\nhost=a\nport=1\n[x]\n")
	many.WriteString(strings.Repeat("odd\n", 1000))
	got, err = vv.Parse("x.vv", []byte(many.String()))
	require.NoError(t, err)
	require.Len(t, got.Warnings, 21)
	require.Equal(t, "x.vv: and 980 more of the kind", got.Warnings[20])
}
