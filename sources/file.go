package sources

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/spice/connect"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/wire"
)

const (
	// MaxFileSize limits a sources.yaml, in bytes: enough for some ten thousand consoles.
	MaxFileSize = 4 << 20

	// maxUnixPath is the longest path of a unix socket on Linux, in bytes
	// (sun_path of sockaddr_un without its ending zero).
	maxUnixPath = 107
)

// FieldError is one error in a sources file.
type FieldError struct {
	File  string
	Line  int    // from 1; 0 if the whole file is meant
	Field string // as in "consoles[0].ticket"; empty if none is
	Err   error
}

func (e *FieldError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	if e.Field != "" {
		at += ": " + e.Field
	}
	return at + ": " + e.Err.Error()
}

func (e *FieldError) Unwrap() error { return e.Err }

// Load reads and parses a sources file whose sources are all static.
func Load(path string) ([]Source, error) {
	declared, err := load(path, nil)
	return statics(declared), err
}

func load(path string, kinds map[string]Kind) ([]declaration, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	if info.Size() > MaxFileSize {
		return nil, &FieldError{File: path, Err: fmt.Errorf("has %d bytes, more than a sources file may have (%d)", info.Size(), MaxFileSize)}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	return parse(path, data, kinds)
}

// Parse parses the text of a sources file whose sources are all static. Errors use name, and paths
// in the file are relative to its directory. The error joins one [*FieldError] for each problem; it
// never contains a ticket.
func Parse(name string, data []byte) ([]Source, error) {
	declared, err := parse(name, data, nil)
	return statics(declared), err
}

// A Kind opens sources of one type that a sources file may have, besides static.
type Kind struct {
	// Keys are the keys that such a source needs besides source and type, and Optional those that
	// it may have. Their values are text. For ca_cert that is the PEM text, or the path of a file
	// with it.
	Keys, Optional []string
	// Open opens a source. It must not block: a source that needs a connection makes it later. If
	// the source is an io.Closer, it is closed when it leaves the catalog that opened it.
	Open func(Declared) (Source, error)
}

// Declared is a source as its file declares it.
type Declared struct {
	Name   string
	Values map[string]string // by key, those that the file has; ca_cert is PEM text

	// Report must be called when the source has a problem that no query has shown, and with nil
	// when that is over. The catalog counts and logs it.
	Report func(error)
}

// declaration is one entry of a sources file, with valid text.
type declaration struct {
	file   string
	line   int
	name   string
	kind   string // the type
	values map[string]string
	open   func(Declared) (Source, error)
	static *Static // instead of open
}

// same reports whether a source that was opened for one declaration can be used for another.
func (d declaration) same(other declaration) bool {
	return d.static == nil && other.static == nil && d.name == other.name && d.kind == other.kind && maps.Equal(d.values, other.values)
}

// make makes the source.
func (d declaration) make(report func(error)) (Source, error) {
	if d.static != nil {
		return d.static, nil
	}
	s, err := d.open(Declared{Name: d.name, Values: maps.Clone(d.values), Report: report})
	if err != nil {
		return nil, &FieldError{File: d.file, Line: d.line, Err: err}
	}
	return s, nil
}

func statics(declared []declaration) []Source {
	var list []Source
	for _, d := range declared {
		list = append(list, d.static)
	}
	return list
}

func parse(name string, data []byte, kinds map[string]Kind) ([]declaration, error) {
	p := &parser{file: name, kinds: kinds}
	declared := p.parse(data)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return declared, nil
}

// parser collects all errors, so that one error text is enough to fix the whole file. It walks YAML
// nodes instead of decoding into structs, because only nodes know their lines.
type parser struct {
	file  string
	errs  []error
	kinds map[string]Kind
}

func (p *parser) fail(node *yaml.Node, field, format string, args ...any) {
	line := 0
	if node != nil {
		line = node.Line
	}
	p.errs = append(p.errs, &FieldError{File: p.file, Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// yaml.v3 counts the lines of these errors, its parser's, from 0.
	yamlParser = regexp.MustCompile(`^did not find expected ('-' indicator|key|node content|',' or|<)`)
	yamlAnchor = regexp.MustCompile(`anchor '.*'`)
)

func (p *parser) parse(data []byte) []declaration {
	if len(data) > MaxFileSize {
		p.fail(nil, "", "has %d bytes, more than a sources file may have (%d)", len(data), MaxFileSize)
		return nil
	}
	var doc, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(data))
	err := in.Decode(&doc)
	if err == nil {
		if err = in.Decode(&more); err == nil {
			p.fail(&more, "", "is a second YAML document: one file is one list of sources")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		text := err.Error()
		var line int
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1])
			text = text[len(m[0]):]
			if line > 0 && yamlParser.MatchString(text) {
				line++
			}
		}
		// YAML reads an unquoted ticket that begins with an asterisk as an alias, and yaml.v3
		// repeats it in the error.
		text = yamlAnchor.ReplaceAllString(text, "anchor (put text that begins with * into quotes)")
		p.errs = append(p.errs, &FieldError{File: p.file, Line: line, Err: errors.New(text)})
		return nil
	}
	if doc.Kind == 0 || isNull(doc.Content[0]) {
		// A reader also sees this while an editor rewrites the file.
		p.fail(nil, "", "is empty: write [] if there are no sources")
		return nil
	}
	list := doc.Content[0]
	if list.Kind != yaml.SequenceNode {
		p.fail(list, "", "is no list of sources: begin each with \"- source: NAME\"")
		return nil
	}
	var declared []declaration
	lines := map[string]int{}
	for _, node := range list.Content {
		d, name := p.source(node)
		if name == nil {
			continue
		}
		if first, twice := lines[name.Value]; twice {
			p.fail(name, "source", "%q is used twice, first in line %d", name.Value, first)
			continue
		}
		lines[name.Value] = name.Line
		d.file, d.line, d.name = p.file, node.Line, name.Value
		declared = append(declared, d)
	}
	return declared
}

// source parses one entry of the list. It also returns the node of the name; nil if that is
// missing.
func (p *parser) source(node *yaml.Node) (declaration, *yaml.Node) {
	if name, kind, ok := p.kindOf(node); ok {
		return p.other(node, name, kind)
	}
	m, ok := p.mapping(node, "", "source", "type", "consoles", "ca_cert")
	if !ok {
		return declaration{}, nil
	}
	name := m.name()
	kind := m.text("type", true)
	if kind != "" && kind != "static" {
		p.fail(m.nodes["type"], "type", "%q is not a known kind of source: use %s", kind, strings.Join(append([]string{"static"}, slices.Sorted(maps.Keys(p.kinds))...), ", "))
	}
	caCert := m.caCert("ca_cert", nil)
	var consoles []Console
	if list := m.nodes["consoles"]; list == nil {
		p.fail(node, "consoles", "is missing")
	} else if list.Kind != yaml.SequenceNode {
		p.fail(list, "consoles", "is no list of consoles")
	} else {
		lines := map[string]int{}
		for i, entry := range list.Content {
			c, ok := p.console(entry, fmt.Sprintf("consoles[%d]", i), caCert)
			if !ok || c.UUID == "" {
				continue
			}
			c.UUID = console.CanonicalUUID(c.UUID)
			if first, twice := lines[c.UUID]; twice {
				p.fail(entry, fmt.Sprintf("consoles[%d].uuid", i), "%q is used twice, first in line %d", c.UUID, first)
				continue
			}
			lines[c.UUID] = entry.Line
			consoles = append(consoles, c)
		}
	}
	if name == "" || len(p.errs) > 0 {
		return declaration{}, m.nodes["source"]
	}
	s, err := NewStatic(name, consoles...)
	if err != nil {
		p.fail(node, "", "%v", err)
	}
	return declaration{kind: kind, static: s}, m.nodes["source"]
}

// kindOf returns the kind that an entry names, if it is one of the given ones.
func (p *parser) kindOf(node *yaml.Node) (string, Kind, bool) {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == "type" {
				name := node.Content[i+1].Value
				kind, ok := p.kinds[name]
				return name, kind, ok
			}
		}
	}
	return "", Kind{}, false
}

// other parses an entry of a given kind.
func (p *parser) other(node *yaml.Node, name string, kind Kind) (declaration, *yaml.Node) {
	m, ok := p.mapping(node, "", slices.Concat([]string{"source", "type"}, kind.Keys, kind.Optional)...)
	if !ok {
		return declaration{}, nil
	}
	m.name()
	m.text("type", true)
	values := map[string]string{}
	for _, key := range slices.Concat(kind.Keys, kind.Optional) {
		var value string
		if key == "ca_cert" {
			value = string(m.caCert(key, nil))
		} else {
			value = m.text(key, slices.Contains(kind.Keys, key))
		}
		if value != "" {
			values[key] = value
		}
	}
	return declaration{kind: name, values: values, open: kind.Open}, m.nodes["source"]
}

// name returns the name of a source; "" if it has no valid one.
func (m *mapping) name() string {
	name := m.text("source", true)
	if strings.Contains(name, "/") {
		m.fail(m.nodes["source"], "source", "%q has a slash, and the name is part of URLs", name)
	}
	return name
}

func (p *parser) console(node *yaml.Node, at string, caCert []byte) (Console, bool) {
	m, ok := p.mapping(node, at, "uuid", "name", "hypervisor", "hypervisor_ip", "insecure_port",
		"ticket", "secure_port", "secure_channels", "host_subject", "unix", "ca_cert", "proxy")
	if !ok {
		return Console{}, false
	}
	unix := m.text("unix", false)
	needHost := m.nodes["unix"] == nil
	c := Console{
		UUID:         m.text("uuid", true),
		Name:         m.text("name", true),
		Hypervisor:   m.text("hypervisor", needHost),
		HypervisorIP: m.text("hypervisor_ip", needHost),
		InsecurePort: m.port("insecure_port"),
		SecurePort:   m.port("secure_port"),
		Unix:         unix,
		CACert:       m.caCert("ca_cert", caCert),
		HostSubject:  m.text("host_subject", false),
		Proxy:        m.text("proxy", false),
		Ticket:       m.ticket("ticket"),

		SecureChannels: m.channels("secure_channels"),
	}
	if node := m.nodes["secure_channels"]; node != nil && (m.nodes["insecure_port"] == nil || m.nodes["secure_port"] == nil) {
		p.fail(node, m.field("secure_channels"), "needs insecure_port and secure_port beside it: it says which channels use which")
	}
	if strings.Contains(c.UUID, "/") {
		p.fail(m.nodes["uuid"], m.field("uuid"), "%q has a slash, and the uuid is part of URLs", c.UUID)
	}
	if c.Proxy != "" {
		if err := connect.CheckProxy(c.Proxy); err != nil {
			p.fail(m.nodes["proxy"], m.field("proxy"), "%w", err)
		}
		if c.SecurePort == 0 || c.HostSubject == "" {
			p.fail(m.nodes["proxy"], m.field("proxy"), "needs secure_port and host_subject beside it: nothing else says who is behind an HTTP proxy")
		}
	}
	ports := cmp.Or(m.nodes["secure_port"], m.nodes["insecure_port"])
	switch {
	case needHost && ports == nil:
		p.fail(node, m.field("insecure_port"), "is missing, and so is secure_port: one is needed")
	case !needHost && ports != nil:
		p.fail(m.nodes["unix"], m.field("unix"), "stands beside a port: a console has one or the other")
	}
	if len(c.Unix) > maxUnixPath {
		p.fail(m.nodes["unix"], m.field("unix"), "has %d bytes, and socket paths are limited to %d: use a shorter directory", len(c.Unix), maxUnixPath)
	}
	if c.HostSubject != "" {
		if err := pki.ValidHostSubject(c.HostSubject); err != nil {
			p.fail(m.nodes["host_subject"], m.field("host_subject"), "%w", errors.Unwrap(err))
		}
	}
	return c, true
}

// mapping is a YAML mapping with known and unique keys. As in kerbside's files, a null value counts
// as absent.
type mapping struct {
	*parser
	node  *yaml.Node
	at    string
	nodes map[string]*yaml.Node
}

func (p *parser) mapping(node *yaml.Node, at string, known ...string) (*mapping, bool) {
	m := &mapping{parser: p, node: node, at: at, nodes: map[string]*yaml.Node{}}
	if node.Kind != yaml.MappingNode {
		p.fail(node, at, "is no \"key: value\" block")
		return nil, false
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case !slices.Contains(known, key.Value):
			p.fail(key, m.field(key.Value), "is not a known key: %s", strings.Join(known, ", "))
		case seen[key.Value]:
			p.fail(key, m.field(key.Value), "stands twice")
		default:
			seen[key.Value] = true
			// Only aliases of scalars: an aliased list can grow without end.
			if value.Kind == yaml.AliasNode && value.Alias.Kind == yaml.ScalarNode {
				target := *value.Alias
				target.Line = value.Line
				value = &target
			}
			if !isNull(value) {
				m.nodes[key.Value] = value
			}
		}
	}
	return m, true
}

func (m *mapping) field(key string) string {
	if m.at == "" {
		return key
	}
	return m.at + "." + key
}

// text returns a string. It refuses numbers and booleans, because another reader of the same file
// might see a different text.
func (m *mapping) text(key string, required bool) string {
	node := m.nodes[key]
	switch {
	case node == nil:
		if required {
			m.fail(m.node, m.field(key), "is missing")
		}
		return ""
	case node.Kind != yaml.ScalarNode || node.Tag != "!!str":
		m.fail(node, m.field(key), "is no text: put it into quotes")
		return ""
	case node.Value == "":
		m.fail(node, m.field(key), "is empty")
	}
	return node.Value
}

// ticket returns a ticket. Unlike text it accepts an empty one, for a server without ticketing.
func (m *mapping) ticket(key string) string {
	if node := m.nodes[key]; node != nil && node.Tag == "!!str" && node.Value == "" {
		return ""
	}
	ticket := m.text(key, true)
	if err := link.CheckSecret(ticket); err != nil {
		m.fail(m.nodes[key], m.field(key), "%w", err)
	}
	return ticket
}

// channels returns a list of types of channels, or "all".
func (m *mapping) channels(key string) []string {
	node := m.nodes[key]
	if node == nil {
		return nil
	}
	if node.Kind != yaml.SequenceNode || len(node.Content) == 0 {
		m.fail(node, m.field(key), "is no list of channels, as in [main, inputs] or [all]")
		return nil
	}
	var channels []string
	for _, entry := range node.Content {
		known := func(t wire.ChannelType) bool { return t.String() == entry.Value }
		if entry.Kind != yaml.ScalarNode || entry.Value != "all" && !slices.ContainsFunc(wire.ChannelTypes(), known) {
			m.fail(entry, m.field(key), "%q is not a type of channel", entry.Value)
			continue
		}
		channels = append(channels, entry.Value)
	}
	return channels
}

// port returns a port number, 0 if there is none.
func (m *mapping) port(key string) int {
	node := m.nodes[key]
	if node == nil {
		return 0
	}
	var port int
	if node.Kind != yaml.ScalarNode || node.Tag != "!!int" || node.Decode(&port) != nil {
		m.fail(node, m.field(key), "is not a port number: write it without quotes, 1 to 65535")
		return 0
	}
	if port < 1 || port > 65535 {
		m.fail(node, m.field(key), "%d is out of range: a port is 1 to 65535", port)
		return 0
	}
	return port
}

// caCert returns the certificates that a key has, as PEM text or as the path of a file with it. If
// there is no such key, it returns otherwise.
func (m *mapping) caCert(key string, otherwise []byte) []byte {
	text := m.text(key, false)
	if text == "" {
		return otherwise
	}
	data, from := []byte(text), "the text"
	if !strings.Contains(text, "-----BEGIN") {
		if from = text; !filepath.IsAbs(from) {
			from = filepath.Join(filepath.Dir(m.file), from)
		}
		var err error
		if data, err = os.ReadFile(from); err != nil {
			m.fail(m.nodes[key], m.field(key), "%w", err)
			return nil
		}
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		m.fail(m.nodes[key], m.field(key), "%s holds no certificate in PEM form", from)
		return nil
	}
	return data
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }
