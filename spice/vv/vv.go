// Package vv parses and writes virt-viewer connection files (.vv). A web console hands such a small
// INI file to a SPICE client. It says where to connect, with which password, and whom to trust.
//
//	f, err := vv.Parse("console.vv", data)
//	if err != nil { … }          // one sentence that names file and line
//	fmt.Println(f.Host, f.TLSPort, f.Warnings)
//
// The format is GLib's key file: groups in brackets, key=value lines, '#' comments, and the escapes
// \s \n \t \r and \\ in values, so that a CA certificate in PEM fits into one line. Only the group
// [virt-viewer] is read.
//
// Parse accepts what remote-viewer opens. File.Warnings lists oddities and how they were treated: a
// port that is not a number, a title that is not UTF-8, an unknown escape or key. Parse refuses a
// file without an address. It also refuses an unreadable value that decides whom to trust;
// remote-viewer would ignore such a value.
//
// The package opens no connections. A File contains secrets: its methods String and LogValue omit
// the password, and no error or warning of this package quotes a value of the password or proxy
// line.
package vv

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spicelane/spicelane/internal/hostport"
)

// MaxSize is the largest file that Parse accepts, in bytes. Real files are below 16 KiB, most of it
// the CA certificate.
const MaxSize = 1 << 20

const group = "virt-viewer"

// File is the content of a .vv file, as far as it concerns a SPICE session. A zero field means that
// the file does not have it.
type File struct {
	// Type is the protocol, always "spice" in a parsed File; empty is written as "spice".
	Type string
	// Host is a host name or an IP address without brackets. With Proxy it may be a name that only
	// the proxy can resolve.
	Host string
	// Port is the plaintext port, 1 to 65535; 0 for none.
	Port int
	// TLSPort is the TLS port, 1 to 65535; 0 for none.
	TLSPort int
	// UnixPath is the path of a SPICE unix socket, used instead of Host and the ports.
	UnixPath string
	// Password is the SPICE ticket, or the token of a proxy.
	Password string
	// CA has the trusted certificates in PEM form, with real newlines.
	CA string
	// SecureChannels names the channels that use TLSPort if the file also has a Port, such as
	// "main"; "all" means every channel. The others use Port. Empty means that the file has no such
	// key.
	SecureChannels []string
	// Proxy is the URL of an HTTP proxy through which to reach Host by CONNECT. It may contain a
	// password.
	Proxy string
	// HostSubject is the required subject of the server's certificate, such as
	// "O=Spicelane,CN=proxy".
	HostSubject string
	// Title is the window title; for people only.
	Title string
	// DeleteThisFile asks the reader to delete the file after reading it. Parse does not; the
	// caller decides.
	DeleteThisFile bool

	// Warnings lists oddities of the parsed file and how they were treated, one sentence each, with
	// file and line. AppendText does not write them.
	Warnings []string
}

// maxWarnings limits File.Warnings: a file may have a hundred thousand odd lines.
const maxWarnings = 20

// Error says what is wrong with a file. Name and Line (counted from 1; 0 for the whole file) say
// where. Problem is for people and never contains the password.
type Error struct {
	Name    string
	Line    int
	Problem string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("vv: %s: %s", e.Name, e.Problem)
	}
	return fmt.Sprintf("vv: %s:%d: %s", e.Name, e.Line, e.Problem)
}

// Parse parses a file; name is used only in errors and warnings. Every error is an *Error.
//
// A File that Parse returns can be dialled: it has type spice, and either a unix path or a host
// with at least one port.
func Parse(name string, data []byte) (*File, error) {
	p := parser{name: name, pairs: map[string]pair{}}
	if len(data) > MaxSize {
		return nil, p.errorf(0, "has %d bytes, more than a .vv file may have (%d); is this the right file?", len(data), MaxSize)
	}
	if err := p.split(data); err != nil {
		return nil, err
	}
	if err := p.interpret(); err != nil {
		return nil, err
	}
	if p.more > 0 {
		p.file.Warnings = append(p.file.Warnings, fmt.Sprintf("%s: and %d more of the kind", name, p.more))
	}
	return &p.file, nil
}

type parser struct {
	name  string
	pairs map[string]pair // of the group; the last of several lines with one key counts
	file  File
	more  int // warnings beyond maxWarnings
}

// pair is one key=value line.
type pair struct {
	line int
	raw  string // without the blanks before it
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return &Error{Name: p.name, Line: line, Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) warnf(line int, format string, args ...any) {
	if len(p.file.Warnings) == maxWarnings {
		p.more++
		return
	}
	e := Error{Name: p.name, Line: line, Problem: fmt.Sprintf(format, args...)}
	p.file.Warnings = append(p.file.Warnings, strings.TrimPrefix(e.Error(), "vv: "))
}

// blanks are the characters that GLib skips before keys and values, and after keys.
const blanks = " \t\f\r"

// split finds the key=value lines of the group.
func (p *parser) split(data []byte) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	inGroup, seenGroup, anyGroup := false, false, false
	for i, line := range strings.Split(string(data), "\n") {
		no := i + 1
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\r"), "\x00") // GLib reads C strings
		line = strings.TrimLeft(line, blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		if name, ok := groupHeader(line); ok {
			anyGroup, inGroup = true, name == group
			seenGroup = seenGroup || inGroup
			continue
		}
		key, raw, ok := strings.Cut(line, "=")
		key = strings.TrimRight(key, blanks)
		switch {
		case line[0] == '[' && !ok:
			return p.errorf(no, "is not a group header; expected [virt-viewer]")
		case !anyGroup:
			return p.errorf(no, "comes before any group; a .vv file starts with [virt-viewer]")
		case !inGroup && !ok:
			p.warnf(no, "is neither key=value, a [group], a # comment nor empty; virt-viewer refuses such a file")
		case !ok:
			return p.errorf(no, "is neither key=value, a [group], a # comment nor empty")
		case inGroup && key == "":
			return p.errorf(no, "has a value without a key")
		case inGroup:
			p.pairs[key] = pair{no, strings.TrimLeft(raw, blanks)}
		}
	}
	if !seenGroup {
		return p.errorf(0, "has no [virt-viewer] group; is this a .vv file?")
	}
	return nil
}

// groupHeader returns the name in a line such as "[virt-viewer]".
func groupHeader(line string) (name string, ok bool) {
	if line[0] != '[' {
		return "", false
	}
	name, rest, ok := strings.Cut(line[1:], "]")
	return name, ok && strings.Trim(rest, blanks) == ""
}

// interpret makes a File of the lines. It goes through the keys in this order, so that the warnings
// about them come in the same order.
func (p *parser) interpret() error {
	f := &p.file
	for _, text := range []struct {
		key  string
		to   *string
		need bool // without it the file would mean something else
	}{
		{"type", &f.Type, true},
		{"host", &f.Host, true},
		{"unix-path", &f.UnixPath, true},
		{"password", &f.Password, true},
		{"ca", &f.CA, true},
		{"host-subject", &f.HostSubject, true},
		{"proxy", &f.Proxy, true},
		{"title", &f.Title, false},
	} {
		var err error
		if *text.to, err = p.text(text.key, text.need); err != nil {
			return err
		}
	}
	if host := strings.Trim(f.Host, blanks); host != f.Host {
		p.warnf(p.pairs["host"].line, "host has blanks around it, which are left out")
		f.Host = host
	}
	f.Host = hostport.Bare(f.Host)
	channels, err := p.channels("secure-channels")
	if err != nil {
		return err
	}
	f.SecureChannels = channels
	if err := p.lead(); err != nil {
		return err
	}
	p.deleteThisFile()
	p.ignored()
	return nil
}

// lead parses the type and the ports, and refuses a file without an address.
func (p *parser) lead() error {
	f := &p.file
	switch typ, ok := p.pairs["type"]; {
	case !ok:
		return p.errorf(0, "has no type; expected a line type=spice")
	case !strings.EqualFold(f.Type, "spice"):
		return p.errorf(typ.line, "type is %s; only spice can be opened", quote(f.Type))
	}
	f.Type = "spice"

	var odd []*Error
	for _, port := range []struct {
		key string
		to  *int
	}{{"port", &f.Port}, {"tls-port", &f.TLSPort}} {
		n, problem := p.port(port.key)
		*port.to = n
		if problem != "" {
			odd = append(odd, &Error{Name: p.name, Line: p.pairs[port.key].line, Problem: problem})
		}
	}
	switch {
	case f.UnixPath != "":
	case f.Host == "":
		return p.errorf(p.pairs["host"].line, "has no host to connect to; expected a line host=NAME, or unix-path=PATH")
	case f.Port == 0 && f.TLSPort == 0 && len(odd) > 0:
		return odd[0]
	case f.Port == 0 && f.TLSPort == 0:
		return p.errorf(0, "has neither port nor tls-port, so there is nothing to connect to")
	}
	for _, e := range odd {
		p.warnf(e.Line, "%s", e.Problem)
	}
	return nil
}

// text returns a value with its escapes decoded; empty if there is none. If need is set, an
// unreadable value is an error; otherwise it counts as absent.
func (p *parser) text(key string, need bool) (string, error) {
	pair := p.pairs[key]
	value, unknown, err := unescape(pair.raw)
	switch {
	case err != nil && need:
		return "", p.errorf(pair.line, "%s: %v", key, err)
	case err != nil:
		p.warnf(pair.line, "%s: %v; it is left out", key, err)
		return "", nil
	case unknown:
		p.warnf(pair.line, `%s: has an unknown escape after a backslash, and is taken as it stands; known are \s \n \t \r and \\`, key)
	}
	return value, nil
}

// channels returns the channels' names in a value separated by semicolons.
func (p *parser) channels(key string) ([]string, error) {
	pair := p.pairs[key]
	var out []string
	for _, element := range listElement.FindAllString(pair.raw, -1) {
		value, _, err := unescape(element)
		if err != nil {
			return nil, p.errorf(pair.line, "%s: %v", key, err)
		}
		name := strings.Trim(value, blanks)
		switch {
		case name == "":
		case slices.Contains(channelNames, name):
			out = append(out, name)
		default:
			p.warnf(pair.line, "%s: %s is no channel's name and is ignored; known are %s", key, quote(name), strings.Join(channelNames, ", "))
		}
	}
	return out, nil
}

// listElement matches the text between semicolons; a backslash escapes a semicolon.
var listElement = regexp.MustCompile(`(?s)(?:[^;\\]|\\.|\\$)+`)

// channelNames are the names that secure-channels may contain.
var channelNames = []string{"all", "main", "display", "inputs", "cursor", "playback", "record", "tunnel", "smartcard", "usbredir", "port", "webdav"}

// port returns the number of a port line, 0 for none, and what is wrong with the line. Web consoles
// write an empty value, 0 or -1 for "no such port"; that causes no warning.
func (p *parser) port(key string) (port int, problem string) {
	pair := p.pairs[key]
	if strings.Trim(pair.raw, blanks) == "" {
		return 0, ""
	}
	n, rest, ok := leadingNumber(pair.raw)
	switch {
	case !ok || n < -1 || n > 65535:
		return 0, fmt.Sprintf("%s is %s; expected a port number from 1 to 65535", key, quote(strings.Trim(pair.raw, blanks)))
	case rest != "":
		p.warnf(pair.line, "%s is %s; what follows the number is ignored", key, quote(pair.raw))
	}
	return max(n, 0), ""
}

// deleteThisFile parses a number, as virt-viewer does: any number except 0 means yes, anything else
// no.
func (p *parser) deleteThisFile() {
	const key = "delete-this-file"
	pair, ok := p.pairs[key]
	n, rest, number := leadingNumber(pair.raw)
	p.file.DeleteThisFile = number && n != 0
	switch {
	case !ok || number && (n == 0 || n == 1) && rest == "":
	case p.file.DeleteThisFile:
		p.warnf(pair.line, "%s is %s; expected 0 or 1, and taken as 1", key, quote(pair.raw))
	default:
		p.warnf(pair.line, "%s is %s; expected 0 or 1, and taken as 0", key, quote(pair.raw))
	}
}

// leadingNumber parses an integer as GLib does: it ends at the first blank, and rest is what
// follows. GLib's integers have 32 bits.
func leadingNumber(raw string) (n int, rest string, ok bool) {
	word := strings.TrimLeft(raw, blanks+"\v")
	if end := strings.IndexAny(word, blanks); end >= 0 {
		word, rest = word[:end], strings.Trim(word[end:], blanks)
	}
	n64, err := strconv.ParseInt(word, 10, 32)
	return int(n64), rest, err == nil
}

// virt-viewer's keys that do not concern the connection, and those that do but are not supported
// here.
var (
	harmlessKeys = []string{
		"type", "host", "unix-path", "password", "ca", "host-subject", "proxy", "title",
		"secure-channels", "port", "tls-port", "delete-this-file",
		"color-depth", "disable-channels", "disable-effects", "enable-smartcard",
		"enable-usb-autoshare", "enable-usbredir", "fullscreen", "newer-version-url",
		"release-cursor", "secure-attention", "smartcard-insert", "smartcard-remove",
		"toggle-fullscreen", "usb-device-reset", "usb-filter", "version", "versions",
		"zoom-in", "zoom-out", "zoom-reset",
	}
	unsupportedKeys = []string{"tls-ciphers", "username"}
)

// ignored warns about the keys that have no effect, in the order of their lines.
func (p *parser) ignored() {
	var odd []string
	for key := range p.pairs {
		if !slices.Contains(harmlessKeys, key) && !strings.HasPrefix(key, "x-") {
			odd = append(odd, key)
		}
	}
	slices.SortFunc(odd, func(a, b string) int { return cmp.Compare(p.pairs[a].line, p.pairs[b].line) })
	for _, key := range odd {
		if slices.Contains(unsupportedKeys, key) {
			p.warnf(p.pairs[key].line, "%s is not supported here and is ignored", key)
		} else {
			p.warnf(p.pairs[key].line, "%s is not a key that virt-viewer knows; it is ignored", quote(key))
		}
	}
}

// quote shortens a value for an error, because a .vv file may contain anything.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// unescape decodes GLib's key file escapes. Like GLib, it leaves an unknown escape as it is;
// unknown reports whether there is one. Its errors do not quote the value, which may be a secret.
func unescape(raw string) (value string, unknown bool, err error) {
	if !utf8.ValidString(raw) {
		return "", false, fmt.Errorf("value is not UTF-8")
	}
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b.WriteByte(raw[i])
			continue
		}
		i++
		if i == len(raw) {
			// Versions of GLib treat it differently.
			return "", false, fmt.Errorf(`value ends in a single backslash; write \\ for a backslash`)
		}
		switch raw[i] {
		case 's':
			b.WriteByte(' ')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '\\':
			b.WriteByte('\\')
		default:
			unknown = true
			b.WriteString(raw[i-1 : i+1])
		}
	}
	return b.String(), unknown, nil
}

// escape is the inverse of unescape. It writes a leading blank, which would be lost, as \s.
func escape(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 8)
	leading := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' && leading:
			b.WriteString(`\s`)
		default:
			leading = false
			b.WriteByte(c)
		}
	}
	return b.String()
}

// AppendText appends the file in .vv form, password included, to b. Parsing the result gives the
// same File. It fails only for values that no .vv file can contain: text that is not UTF-8.
func (f File) AppendText(b []byte) ([]byte, error) {
	b = append(b, "[virt-viewer]\ntype="...)
	b = append(b, escape(cmp.Or(f.Type, "spice"))...)
	b = append(b, '\n')
	for _, kv := range []struct{ key, value string }{
		{"host", hostport.Bare(f.Host)},
		{"port", number(f.Port)},
		{"tls-port", number(f.TLSPort)},
		{"unix-path", f.UnixPath},
		{"password", f.Password},
		{"ca", f.CA},
		{"host-subject", f.HostSubject},
		{"secure-channels", strings.Join(f.SecureChannels, ";")},
		{"proxy", f.Proxy},
		{"title", f.Title},
		{"delete-this-file", flag(f.DeleteThisFile)},
	} {
		if kv.value == "" {
			continue
		}
		if !utf8.ValidString(kv.value) {
			return nil, fmt.Errorf("vv: %s is not UTF-8", kv.key)
		}
		b = append(b, kv.key...)
		b = append(b, '=')
		b = append(b, escape(kv.value)...)
		b = append(b, '\n')
	}
	return b, nil
}

// MarshalText returns AppendText's result in a new slice.
func (f File) MarshalText() ([]byte, error) { return f.AppendText(nil) }

// String returns the file's address, without the password.
func (f File) String() string {
	if f.UnixPath != "" {
		return "spice+unix://" + f.UnixPath
	}
	s := "spice://" + f.Host
	if f.Port != 0 {
		s += ":" + strconv.Itoa(f.Port)
	}
	if f.TLSPort != 0 {
		s += " tls-port " + strconv.Itoa(f.TLSPort)
	}
	if f.Proxy != "" {
		s += " through an HTTP proxy"
	}
	return s
}

// GoString returns String, so that %#v does not print the password either.
func (f File) GoString() string { return "vv.File{" + f.String() + "}" }

// LogValue returns String, for log/slog.
func (f File) LogValue() slog.Value { return slog.StringValue(f.String()) }

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func flag(b bool) string {
	if !b {
		return ""
	}
	return "1"
}
