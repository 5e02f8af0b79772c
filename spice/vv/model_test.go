package vv_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/vv"
)

// What follows is a slow, plain model of the reader that a .vv file is made for: GLib's key files
// and the calls that virt-viewer and spice-gtk make of them. Its figures were compared with GLib
// 2.74.6 itself, over the seeds of FuzzParse and 200,000 mutations of them.

// A keyFile is the lines of [virt-viewer]; nil if GLib refuses the file.
type keyFile map[string]string

const space = " \t\f\r" // g_ascii_isspace, less the newline

var (
	groupLine = regexp.MustCompile(`^\[([^\]]*)\][ \t]*$`)
	groupName = regexp.MustCompile(`^[^\[\]\x00-\x1f\x7f]+$`)
	// A key may have blanks inside and a locale behind it.
	keyName = regexp.MustCompile(`^[^=\[\] ]([^=\[\]]*[^=\[\] ])?(\[[\pL\pN_.@-]*\])?$`)
)

func glibLoad(data string) keyFile {
	k, group, first, seen := keyFile{}, "", "", false
	for _, line := range strings.Split(data, "\n") {
		// Ours alone: a file that ends in a carriage return loses that, too.
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\r"), "\x00")
		line = strings.TrimLeft(line, space)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if m := groupLine.FindStringSubmatch(line); m != nil {
			if !groupName.MatchString(m[1]) {
				return nil
			}
			group = m[1]
			if first == "" {
				first = group
			}
			seen = seen || group == "virt-viewer"
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimRight(key, space)
		if !ok || group == "" || !keyName.MatchString(key) {
			return nil
		}
		value = strings.TrimLeft(value, space)
		if key == "Encoding" && group == first && !strings.EqualFold(value, "UTF-8") {
			return nil
		}
		if group == "virt-viewer" {
			k[key] = value
		}
	}
	if !seen {
		return nil
	}
	return k
}

// str is g_key_file_get_string; null for NULL, odd for an escape that ends the line,
// of which GLib's versions make different things.
func (k keyFile) str(key string) (value string, null, odd bool) {
	raw := k[key]
	if !utf8.ValidString(raw) {
		return "", true, false
	}
	for raw != "" {
		switch c := raw[0]; {
		case c != '\\':
			value, raw = value+raw[:1], raw[1:]
		case len(raw) == 1:
			return value, false, true
		default:
			to, known := map[byte]string{'s': " ", 'n': "\n", 't': "\t", 'r': "\r", '\\': "\\"}[raw[1]]
			if !known {
				to = raw[:2]
			}
			value, raw = value+to, raw[2:]
		}
	}
	return value, false, false
}

var integer = regexp.MustCompile(`^[ \t\f\r\v]*([+-]?[0-9]+)([ \t\f\r].*)?$`)

// integer is g_key_file_get_integer, which is 0 for what is no number.
func (k keyFile) integer(key string) int {
	m := integer.FindStringSubmatch(k[key])
	if m == nil {
		return 0
	}
	digits := strings.TrimLeft(strings.TrimLeft(m[1], "+-"), "0")
	if len(digits) > 10 {
		return 0
	}
	n := 0
	for _, d := range digits {
		n = 10*n + int(d-'0')
	}
	if strings.HasPrefix(m[1], "-") {
		n = -n
	}
	if n != int(int32(n)) {
		return 0
	}
	return n
}

// usable returns a port that spice-gtk connects to.
func usable(n int) int {
	if n < 1 || n > 65535 {
		return 0
	}
	return n
}

// remoteViewerOpens returns what remote-viewer makes of a file, nil if it does not open it. sure is
// false where a value cannot be read that decides where the file leads and whom it trusts: the
// reader may refuse it, and should.
func remoteViewerOpens(data string) (f *vv.File, sure bool) {
	k := glibLoad(data)
	if k == nil {
		return nil, true
	}
	sure = true
	need := func(key string) string {
		v, null, odd := k.str(key)
		sure = sure && !null && !odd
		return v
	}
	f = &vv.File{
		Type: need("type"), Host: need("host"), UnixPath: need("unix-path"), Password: need("password"),
		CA: need("ca"), HostSubject: need("host-subject"), Proxy: need("proxy"),
		Port: usable(k.integer("port")), TLSPort: usable(k.integer("tls-port")),
		DeleteThisFile: k.integer("delete-this-file") != 0,
	}
	if title, null, odd := k.str("title"); !null && !odd {
		f.Title = title
	}
	for _, name := range strings.Split(need("secure-channels"), ";") {
		if name = strings.Trim(name, space); slices.Contains(channels, name) {
			f.SecureChannels = append(f.SecureChannels, name)
		}
	}
	if !strings.EqualFold(f.Type, "spice") {
		return nil, sure
	}
	f.Type = "spice"
	// Ours alone: blanks around the host, and brackets.
	f.Host = hostport.Bare(strings.Trim(f.Host, space))
	if f.UnixPath == "" && (f.Host == "" || f.Port == 0 && f.TLSPort == 0) {
		return nil, sure
	}
	return f, sure
}

// channels are spice-gtk's names, and "all".
var channels = strings.Fields("all main display inputs cursor playback record tunnel smartcard usbredir port webdav")

// FuzzParse checks that what remote-viewer opens is opened and read alike, and that what is
// read can be written.
func FuzzParse(f *testing.F) {
	const head = "[virt-viewer]\ntype=spice\nhost=a\nport=1\n"
	for _, s := range []string{
		"", proxied, "[virt-viewer]\r\ntype=spice\r\nunix-path=/x\r\n", head + "title=\\", head + "password=\xff\n",
		head + "port=null\ntls-port=2\n", head + "tls-port=\n", head + "port=5930 x\n", head + "port=+7\n", head + "port=0x10\n",
		head + "port=4294967297\ntls-port=3\n", head + "title=win\\x\n", head + "title=M\xfcnchen\n", "[virt-viewer]\ntype=SPICE\nhost=[::1]\nport=1\n",
		head + "delete-this-file=yes\n", head + "delete-this-file=2\n", head + "secure-channels=main; inputs;\n", head + "secure-channels=a\\;b\n",
		head + "proxy=http://u:p@h:3128\n", head + "[ovirt]\nfoo\n", head + "[...GraphicsConsole]\n", head + "foo[de]=1\nti tle=2\n",
		head + "[]\n", head + "a]b=1\n", "Encoding=x\n" + head, "[virt-viewer]\nEncoding=latin1\n" + head, head + "host=b\x00c\n",
		"  [virt-viewer] \t\ntype =\tspice\nhost= b \nport=\v5\n", head + "a=1\rb=2\n", "# c\n\n" + head, "\xef\xbb\xbf" + head,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > vv.MaxSize {
			return
		}
		want, sure := remoteViewerOpens(string(data))
		got, err := vv.Parse("x.vv", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "vv: x.vv:") {
				t.Errorf("an error without its place: %v", err)
			}
			if want != nil && sure {
				t.Errorf("remote-viewer opens %q as %#v: %v", data, *want, err)
			}
			return
		}
		if !sure {
			t.Errorf("%q has a value that cannot be read, and is opened", data)
		}
		if want != nil {
			same := *got
			same.Warnings = nil
			// In a list, an escape may stand before a semicolon; no channel's name has one.
			if strings.Contains(string(data), `\;`) {
				same.SecureChannels, want.SecureChannels = nil, nil
			}
			if !equal(same, *want) {
				t.Errorf("%q\n got %+v\nwant %+v", data, fields(same), fields(*want))
			}
		}
		text, err := got.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		again, err := vv.Parse("x.vv", text)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", data, text, err)
		}
		got.Warnings, again.Warnings = nil, nil
		if !equal(*got, *again) {
			t.Errorf("%q was written as %q", data, text)
		}
	})
}

func fields(f vv.File) map[string]any {
	return map[string]any{"type": f.Type, "host": f.Host, "port": f.Port, "tls-port": f.TLSPort, "unix": f.UnixPath, "password": f.Password,
		"ca": f.CA, "subject": f.HostSubject, "title": f.Title, "proxy": f.Proxy, "secure": f.SecureChannels, "delete": f.DeleteThisFile}
}

func equal(a, b vv.File) bool {
	channels := slices.Equal(a.SecureChannels, b.SecureChannels)
	x, y := fields(a), fields(b)
	delete(x, "secure")
	delete(y, "secure")
	for k := range x {
		if x[k] != y[k] {
			return false
		}
	}
	return channels
}
