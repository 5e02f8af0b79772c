package vv_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/vv"
)

const proxied = "[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport=5900\ntls-port=5901\npassword=s3 cr\\\\et\n" +
	"ca=-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n\nhost-subject=O=Spicelane,CN=proxy\n" +
	"title=beacon-1\ndelete-this-file=1\n"

var proxiedFile = vv.File{
	Type: "spice", Host: "127.0.0.1", Port: 5900, TLSPort: 5901, Password: `s3 cr\et`,
	CA:          "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
	HostSubject: "O=Spicelane,CN=proxy", Title: "beacon-1", DeleteThisFile: true,
}

func TestAFileOfAProxyIsReadAndWrittenExactly(t *testing.T) {
	got, err := vv.Parse("console.vv", []byte(proxied))
	require.NoError(t, err)
	if diff := cmp.Diff(&proxiedFile, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	text, err := proxiedFile.MarshalText()
	require.NoError(t, err)
	if diff := cmp.Diff(proxied, string(text)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestWhatOtherProgramsWriteIsAccepted(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     vv.File
	}{
		{"CRLF, BOM, comments and other groups",
			"\ufeff# made by a web console\r\n\r\n[virt-viewer]\r\ntype=spice\r\nhost=a\r\nport=1\r\n[ovirt]\r\nport=hello\r\n",
			vv.File{Type: "spice", Host: "a", Port: 1}},
		{"keys about windows", "[virt-viewer]\ntype=spice\nhost=a\nport=1\nfullscreen=0\nsecure-attention=Ctrl+Alt+Ins\nx-ours=1\n",
			vv.File{Type: "spice", Host: "a", Port: 1}},
		{"blanks around the equals sign", "[virt-viewer]\n  type =\tspice\nhost= a\nport = 1 \n",
			vv.File{Type: "spice", Host: "a", Port: 1}},
		{"-1 for no port", "[virt-viewer]\ntype=spice\nhost=a\nport=-1\ntls-port=2\n",
			vv.File{Type: "spice", Host: "a", TLSPort: 2}},
		{"the last of two lines counts", "[virt-viewer]\ntype=spice\nhost=a\nhost=b\nport=1\n",
			vv.File{Type: "spice", Host: "b", Port: 1}},
		{"a unix socket needs no host", "[virt-viewer]\ntype=spice\nunix-path=/run/s\n",
			vv.File{Type: "spice", UnixPath: "/run/s"}},
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

func TestAMalformedFileIsNamedWithItsLine(t *testing.T) {
	const head = "[virt-viewer]\ntype=spice\n"
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", "vv: x.vv: has no [virt-viewer] group; is this a .vv file?"},
		{"a PNG", "\x89PNG\r\n\x1a\n", "vv: x.vv:1: comes before any group; a .vv file starts with [virt-viewer]"},
		{"broken header", "[virt-viewer\n", "vv: x.vv:1: is not a group header; expected [virt-viewer]"},
		{"text after a header", "[virt-viewer] x\n", "vv: x.vv:1: is not a group header; expected [virt-viewer]"},
		{"no equals sign", head + "host\n", "vv: x.vv:3: is neither key=value, a [group], a # comment nor empty"},
		{"no key", head + "=x\n", "vv: x.vv:3: has a value without a key"},
		{"no type", "[virt-viewer]\nhost=a\n", "vv: x.vv: has no type; expected a line type=spice"},
		{"vnc", "[virt-viewer]\ntype=vnc\nhost=a\nport=1\n", `vv: x.vv:2: type is "vnc"; only spice can be opened`},
		{"no host", head + "port=1\n", "vv: x.vv: has no host to connect to; expected a line host=NAME, or unix-path=PATH"},
		{"no port", head + "host=a\n", "vv: x.vv: has neither port nor tls-port, so there is nothing to connect to"},
		{"port is a word", head + "host=a\nport=spice\n", `vv: x.vv:4: port is "spice"; expected a port number from 1 to 65535`},
		{"port too large", head + "host=a\ntls-port=65536\n", `vv: x.vv:4: tls-port is "65536"; expected a port number from 1 to 65535`},
		{"long value", head + "host=a\nport=" + strings.Repeat("1", 99) + "\n",
			`vv: x.vv:4: port is "` + strings.Repeat("1", 40) + `…"; expected a port number from 1 to 65535`},
		{"a CA that is cut", head + "host=a\nport=1\nca=x\\\n", `vv: x.vv:5: ca: value ends in a single backslash; write \\ for a backslash`},
		{"a host subject that is not UTF-8", head + "host=a\nport=1\nhost-subject=CN=M\xfcller\n", "vv: x.vv:5: host-subject: value is not UTF-8"},
		{"secure channels that are not UTF-8", head + "host=a\nport=1\nsecure-channels=\xff\n", "vv: x.vv:5: secure-channels: value is not UTF-8"},
		{"too large", strings.Repeat("#", vv.MaxSize+1), "vv: x.vv: has 1048577 bytes, more than a .vv file may have (1048576); is this the right file?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := vv.Parse("x.vv", []byte(tc.in))
			require.EqualError(t, err, tc.want)
			var typed *vv.Error
			require.ErrorAs(t, err, &typed)
		})
	}
}

func TestThePasswordIsNeverPrinted(t *testing.T) {
	const secret = "hunter2"
	f := vv.File{Host: "a", Port: 1, Password: secret}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, f), secret)
		require.NotContains(t, fmt.Sprintf(format, &f), secret)
	}
	require.NotContains(t, f.LogValue().String(), secret)
	for _, broken := range []string{secret + `\`, secret + `\q`, secret + "\xff"} {
		_, err := vv.Parse("x.vv", []byte("[virt-viewer]\ntype=spice\npassword="+broken+"\n"))
		require.Error(t, err)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestEveryValueSurvivesWritingAndReading(t *testing.T) {
	for _, s := range []string{" x", "\tx", "x ", "\\", `\n`, "a\r\nb", "#x", "[x]", "=", "ü"} {
		in := vv.File{Type: "spice", Host: "h", Port: 1, Password: s, Title: s}
		text, err := in.MarshalText()
		require.NoError(t, err)
		got, err := vv.Parse("x.vv", text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, &in, got)
	}
	_, err := vv.File{Host: "\xff"}.MarshalText()
	require.EqualError(t, err, "vv: host is not UTF-8")
}
