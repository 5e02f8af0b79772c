// Package vv reads and writes virt-viewer connection files (.vv): the small INI
// files that a web console hands to a SPICE client and that say where to connect,
// with which password and whom to trust.
//
//	f, err := vv.Parse("console.vv", data)
//	if err != nil { … }          // one sentence that names file and line
//	fmt.Println(f.Host, f.TLSPort)
//
// The format is GLib's key file: groups in brackets, key=value lines, '#' comments and
// the escapes \s \n \t \r and \\ in values, so that a CA certificate in PEM fits in one line.
// Only the group [virt-viewer] is read; other groups, and keys that are not known here (there are
// many, about toolbars and hot keys), are accepted and ignored, as virt-viewer does.
//
// The package opens no connection and no file. A File holds a secret: its String and LogValue
// methods leave the password out, and no error of this package quotes a value of the
// password line.
package vv

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxSize is the largest file that Parse accepts, in bytes. Real files are below 16 KiB, nearly all
// of it the CA certificate.
const MaxSize = 1 << 20

const group = "virt-viewer"

// File is the content of one .vv file, as far as it concerns a SPICE session. The zero value of a
// field means that the file does not have it.
type File struct {
	// Type is the protocol and always "spice" in a parsed File; empty is written as "spice".
	Type string
	// Host is a host name or an IP address without brackets.
	Host string
	// Port is the plaintext port, 1 to 65535; 0 for none.
	Port int
	// TLSPort is the TLS port, 1 to 65535; 0 for none.
	TLSPort int
	// UnixPath is the path of a SPICE unix socket, used instead of Host and the ports.
	UnixPath string
	// Password is the SPICE ticket, or the token of a proxy.
	Password string
	// CA holds the certificates to trust, in PEM, with real newlines.
	CA string
	// HostSubject is the subject that the server's certificate must have, as in "O=Spicelane,CN=proxy".
	HostSubject string
	// Title is the window title; for people only.
	Title string
	// DeleteThisFile asks the reader to delete the file after reading it. Whoever opens the file
	// decides; Parse does not.
	DeleteThisFile bool
}

// Error says what is wrong with a file. Name and Line (counted from 1; 0 when it concerns the whole file)
// locate it; Problem is for a person and never contains the password.
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

// Parse reads a file; name is used in errors only. Every error is an *Error.
//
// A File that Parse returns can be connected to: it has type spice and either a unix path or a
// host with at least one port.
func Parse(name string, data []byte) (*File, error) {
	p := parser{name: name, lines: map[string]int{}}
	if len(data) > MaxSize {
		return nil, p.errorf(0, "has %d bytes, more than a .vv file may have (%d); is this the right file?", len(data), MaxSize)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	inGroup, seenGroup, anyGroup := false, false, false
	for i, line := range strings.Split(string(data), "\n") {
		no := i + 1
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimLeft(line, " \t")
		switch {
		case trimmed == "" || trimmed[0] == '#':
			continue
		case trimmed[0] == '[':
			end := strings.IndexByte(trimmed, ']')
			if end < 0 || strings.TrimRight(trimmed[end+1:], " \t") != "" {
				return nil, p.errorf(no, "is not a group header; expected [virt-viewer]")
			}
			anyGroup = true
			inGroup = trimmed[1:end] == group
			seenGroup = seenGroup || inGroup
			continue
		case !anyGroup:
			return nil, p.errorf(no, "comes before any group; a .vv file starts with [virt-viewer]")
		case !inGroup:
			continue
		}
		key, raw, ok := strings.Cut(trimmed, "=")
		if !ok {
			return nil, p.errorf(no, "is neither key=value, a [group], a # comment nor empty")
		}
		key = strings.TrimRight(key, " \t")
		if key == "" {
			return nil, p.errorf(no, "has a value without a key")
		}
		if err := p.set(no, key, strings.TrimLeft(raw, " \t")); err != nil {
			return nil, err
		}
	}
	if !seenGroup {
		return nil, p.errorf(0, "has no [virt-viewer] group; is this a .vv file?")
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return &p.file, nil
}

type parser struct {
	name  string
	file  File
	lines map[string]int // the line of each known key that was set
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return &Error{Name: p.name, Line: line, Problem: fmt.Sprintf(format, args...)}
}

// set takes one line of the group. As with GLib, the last of several lines with one key counts.
func (p *parser) set(line int, key, raw string) error {
	var text *string
	var port *int
	switch key {
	case "type":
		text = &p.file.Type
	case "host":
		text = &p.file.Host
	case "unix-path":
		text = &p.file.UnixPath
	case "password":
		text = &p.file.Password
	case "ca":
		text = &p.file.CA
	case "host-subject":
		text = &p.file.HostSubject
	case "title":
		text = &p.file.Title
	case "port":
		port = &p.file.Port
	case "tls-port":
		port = &p.file.TLSPort
	case "delete-this-file":
	default:
		return nil
	}
	p.lines[key] = line
	value, err := unescape(raw)
	if err != nil {
		return p.errorf(line, "%s: %v", key, err)
	}
	switch {
	case text != nil:
		*text = value
	case port != nil:
		value = strings.TrimRight(value, " \t")
		n, err := strconv.Atoi(value)
		// Some web consoles write -1 for "no such port".
		if err != nil || n < -1 || n > 65535 {
			return p.errorf(line, "%s is %s; expected a port number from 1 to 65535", key, quote(value))
		}
		*port = max(n, 0)
	default:
		switch value = strings.TrimRight(value, " \t"); value {
		case "0", "false":
			p.file.DeleteThisFile = false
		case "1", "true":
			p.file.DeleteThisFile = true
		default:
			return p.errorf(line, "%s is %s; expected 0 or 1", key, quote(value))
		}
	}
	return nil
}

func (p *parser) check() error {
	f := &p.file
	switch {
	case f.Type == "" && p.lines["type"] == 0:
		return p.errorf(0, "has no type; expected a line type=spice")
	case f.Type != "spice":
		return p.errorf(p.lines["type"], "type is %s; only spice can be opened", quote(f.Type))
	case f.UnixPath != "":
		return nil
	case f.Host == "":
		return p.errorf(p.lines["host"], "has no host to connect to; expected a line host=NAME, or unix-path=PATH")
	case f.Port == 0 && f.TLSPort == 0:
		return p.errorf(0, "has neither port nor tls-port, so there is nothing to connect to")
	}
	return nil
}

// quote shortens what goes into an error: a .vv file is foreign data.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// unescape undoes GLib's key file escapes. Its errors do not quote the value, which may be a secret.
func unescape(raw string) (string, error) {
	if !utf8.ValidString(raw) {
		return "", fmt.Errorf("value is not UTF-8")
	}
	if !strings.Contains(raw, `\`) {
		return raw, nil
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
			return "", fmt.Errorf(`value ends in a single backslash; write \\ for a backslash`)
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
			return "", fmt.Errorf(`value has an unknown escape after a backslash; known are \s \n \t \r and \\`)
		}
	}
	return b.String(), nil
}

// escape is the inverse of unescape. A leading blank would be lost and is written as \s.
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

// AppendText appends the file in .vv form, password included, to b. Parse of the result gives the same
// File. It fails only for values that no .vv file can hold: text that is not UTF-8.
func (f File) AppendText(b []byte) ([]byte, error) {
	b = append(b, "[virt-viewer]\ntype="...)
	b = append(b, escape(cmp.Or(f.Type, "spice"))...)
	b = append(b, '\n')
	for _, kv := range []struct{ key, value string }{
		{"host", f.Host},
		{"port", number(f.Port)},
		{"tls-port", number(f.TLSPort)},
		{"unix-path", f.UnixPath},
		{"password", f.Password},
		{"ca", f.CA},
		{"host-subject", f.HostSubject},
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

// MarshalText is AppendText into a new slice.
func (f File) MarshalText() ([]byte, error) { return f.AppendText(nil) }

// String describes where the file leads, without the password.
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
	return s
}

// GoString is String: %#v must not print the password either.
func (f File) GoString() string { return "vv.File{" + f.String() + "}" }

// LogValue is String, for log/slog.
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
