package recording

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// A recording is one text file per channel: a first line, headers, an empty line, and messages. A
// message is a line with its sender, the seconds since the recording began, number, name, size and
// serial (and the offset of the sub-list, if it has one), then its body in hex, 32 bytes a line. "*
// N" stands for N more lines like the one before it:
//
//	spicelane conversation 1
//	channel: display:0
//	connection-id: 1804289383
//	client-common: 0000000b
//	client-caps: 00000212
//	server-common: 0000000b
//	server-caps: 00001362
//
//	client 0.012345 101 display.init size=14 serial=1
//	0100004001000000000200008000
//	server 0.015002 314 display.surface_create size=20 serial=1
//	0000000000040000000300002000000001000000
const firstLine = "spicelane conversation 1"

// lineBytes is how many bytes of a body are in one line of a recording.
const lineBytes = 32

// maxRecordedBody limits the size of a body in a recording. Everything that a FrameReader accepts
// can be recorded.
const maxRecordedBody = wire.DefaultMaxBody

// Message is one message of a recording.
type Message struct {
	From   wire.Direction
	At     time.Duration // since the recording began
	Header wire.Header
	Body   []byte
}

// Channel is the recording of one channel.
type Channel struct {
	Link     wire.LinkInfo
	Comments []string // of "comment:" headers
	Messages []Message
}

// appendHeader appends the lines before the messages.
func appendHeader(b []byte, link wire.LinkInfo, comments []string) []byte {
	b = append(b, firstLine...)
	b = fmt.Appendf(b, "\nchannel: %s\nconnection-id: %d\n", link.Channel, link.ConnectionID)
	for _, set := range []struct {
		name string
		caps wire.Caps
	}{
		{"client-common", link.Client.Common}, {"client-caps", link.Client.Channel},
		{"server-common", link.Server.Common}, {"server-caps", link.Server.Channel},
	} {
		b = append(b, set.name...)
		b = append(b, ':')
		for _, word := range set.caps {
			b = fmt.Appendf(b, " %08x", word)
		}
		b = append(b, '\n')
	}
	for _, c := range comments {
		b = fmt.Appendf(b, "comment: %s\n", c)
	}
	return append(b, '\n')
}

// appendMessage appends one message.
func appendMessage(b []byte, channel wire.ChannelType, m Message) []byte {
	b = fmt.Appendf(b, "%s %.6f %d %s size=%d serial=%d", m.From, m.At.Seconds(), m.Header.Type,
		wire.MessageName(channel, m.From, m.Header.Type), len(m.Body), m.Header.Serial)
	if m.Header.SubList != 0 {
		b = fmt.Appendf(b, " sublist=%d", m.Header.SubList)
	}
	b = append(b, '\n')
	var last []byte
	same := 0
	flush := func() {
		if same > 0 {
			b = fmt.Appendf(b, "* %d\n", same)
		}
		same = 0
	}
	for line := range slices.Chunk(m.Body, lineBytes) {
		if bytes.Equal(line, last) {
			same++
			continue
		}
		flush()
		b = hex.AppendEncode(b, line)
		b = append(b, '\n')
		last = line
	}
	flush()
	return b
}

// Append appends the recording as text.
func (r *Channel) Append(b []byte) []byte {
	b = appendHeader(b, r.Link, r.Comments)
	for _, m := range r.Messages {
		b = appendMessage(b, r.Link.Channel.Type, m)
	}
	return b
}

// Parse parses the recording of one channel.
func Parse(in io.Reader) (*Channel, error) {
	p := parser{lines: bufio.NewScanner(in)}
	p.lines.Buffer(nil, 1<<16)
	r, err := p.recording()
	if broken := p.lines.Err(); broken != nil {
		err = broken // the lines end there, so what p misses is not what is wrong
	}
	if err != nil {
		return nil, fmt.Errorf("recording: line %d: %w", p.number, err)
	}
	return r, nil
}

type parser struct {
	lines  *bufio.Scanner
	number int
}

func (p *parser) next() (string, bool) {
	p.number++
	if !p.lines.Scan() {
		return "", false
	}
	return p.lines.Text(), true
}

func (p *parser) recording() (*Channel, error) {
	if line, _ := p.next(); line != firstLine {
		return nil, fmt.Errorf("got %q, want %q", line, firstLine)
	}
	r := &Channel{}
	if err := p.headers(r); err != nil {
		return nil, err
	}
	line, ok := p.next()
	for ok {
		m, size, err := parseMessageLine(line)
		if err != nil {
			return nil, err
		}
		if line, ok, err = p.body(&m, size); err != nil {
			return nil, err
		}
		r.Messages = append(r.Messages, m)
	}
	return r, nil
}

func (p *parser) headers(r *Channel) error {
	for {
		line, ok := p.next()
		if !ok || line == "" {
			if r.Link.Channel.Type == 0 {
				return errors.New("no channel header")
			}
			return nil
		}
		key, value, found := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !found {
			return fmt.Errorf("%q is not a header", line)
		}
		var err error
		switch key {
		case "channel":
			r.Link.Channel, err = wire.ParseChannelID(value)
		case "connection-id":
			var id uint64
			id, err = strconv.ParseUint(value, 10, 32)
			r.Link.ConnectionID = uint32(id)
		case "client-common":
			r.Link.Client.Common, err = parseCaps(value)
		case "client-caps":
			r.Link.Client.Channel, err = parseCaps(value)
		case "server-common":
			r.Link.Server.Common, err = parseCaps(value)
		case "server-caps":
			r.Link.Server.Channel, err = parseCaps(value)
		case "comment":
			r.Comments = append(r.Comments, value)
		default:
			err = errors.New("unknown header")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
}

func parseCaps(value string) (wire.Caps, error) {
	var caps wire.Caps
	for _, field := range strings.Fields(value) {
		word, err := strconv.ParseUint(field, 16, 32)
		if err != nil {
			return nil, err
		}
		if caps = append(caps, uint32(word)); len(caps) > wire.MaxCapWords {
			return nil, fmt.Errorf("more than %d words", wire.MaxCapWords)
		}
	}
	return caps, nil
}

// parseMessageLine parses the line before a body, and returns the body's length. The name is only
// for readers; the number decides.
func parseMessageLine(line string) (m Message, size int, err error) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return m, 0, fmt.Errorf("%q is not a message: want who, when, number, name and size", line)
	}
	switch fields[0] {
	case wire.FromServer.String():
		m.From = wire.FromServer
	case wire.FromClient.String():
		m.From = wire.FromClient
	default:
		return m, 0, fmt.Errorf("message from %q, want server or client", fields[0])
	}
	seconds, err := strconv.ParseFloat(fields[1], 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) {
		return m, 0, fmt.Errorf("message at %q, want seconds", fields[1])
	}
	m.At = time.Duration(seconds*1e6+0.5) * time.Microsecond
	number, err := strconv.ParseUint(fields[2], 10, 16)
	if err != nil {
		return m, 0, fmt.Errorf("message number %q: %w", fields[2], err)
	}
	m.Header.Type = uint16(number)
	for _, field := range fields[4:] {
		key, value, _ := strings.Cut(field, "=")
		bits := 32
		if key == "serial" {
			bits = 64
		}
		n, err := strconv.ParseUint(value, 10, bits)
		switch {
		case err != nil:
			return m, 0, fmt.Errorf("%s: %w", field, err)
		case key == "size" && n <= maxRecordedBody:
			m.Header.Size, size = uint32(n), int(n)
		case key == "size":
			return m, 0, fmt.Errorf("%s: the limit is %d", field, maxRecordedBody)
		case key == "serial":
			m.Header.Serial = n
		case key == "sublist":
			m.Header.SubList = uint32(n)
		default:
			return m, 0, fmt.Errorf("%s: unknown field", field)
		}
	}
	return m, size, nil
}

// body reads a body of size bytes, and the line after it.
func (p *parser) body(m *Message, size int) (line string, ok bool, err error) {
	var last []byte
	for line, ok = p.next(); ok; line, ok = p.next() {
		if repeat, found := strings.CutPrefix(line, "* "); found {
			n, err := strconv.ParseUint(repeat, 10, 32)
			if err != nil {
				return "", false, fmt.Errorf("repeat %q: %w", repeat, err)
			}
			if len(last) == 0 || n > uint64(size-len(m.Body))/uint64(len(last)) {
				return "", false, fmt.Errorf("repeat %d times goes beyond the size of %d bytes", n, size)
			}
			for range n {
				m.Body = append(m.Body, last...)
			}
			continue
		}
		if len(m.Body) == size {
			break
		}
		if last, err = hex.DecodeString(line); err != nil {
			return "", false, fmt.Errorf("%d of %d bytes of the body, then %w", len(m.Body), size, err)
		}
		if len(last) == 0 || len(m.Body)+len(last) > size {
			return "", false, fmt.Errorf("%d bytes of the body, then %d more, want %d", len(m.Body), len(last), size)
		}
		m.Body = append(m.Body, last...)
	}
	if len(m.Body) != size {
		return "", false, fmt.Errorf("%d bytes of the body, want %d", len(m.Body), size)
	}
	return line, ok, nil
}

// Load loads the recording of a session: main first, then by channel. name is a file that [Pack]
// has written, or a directory, whose files *.txt and *.txt.gz are loaded. If a channel was
// connected twice, it returns an error, because a client that plays the recording would not do so.
func Load(name string) ([]*Channel, error) {
	channels, err := load(name)
	if err != nil {
		return nil, fmt.Errorf("recording: load %s: %w", name, err)
	}
	return channels, nil
}

func load(name string) ([]*Channel, error) {
	files := os.DirFS(name)
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		packed, err := zip.OpenReader(name)
		if err != nil {
			return nil, err
		}
		defer packed.Close()
		files = packed
	}
	names, err := fs.Glob(files, "*.txt*")
	if err != nil {
		return nil, err
	}
	var channels []*Channel
	for _, name := range names {
		c, err := loadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		channels = append(channels, c)
	}
	if len(channels) == 0 {
		return nil, errors.New("no recording there")
	}
	order := func(a, b *Channel) int {
		x, y := a.Link.Channel, b.Link.Channel
		return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.ID, y.ID))
	}
	slices.SortFunc(channels, order)
	for i, c := range channels[1:] {
		if order(channels[i], c) == 0 {
			return nil, fmt.Errorf("two recordings of %s: a session that can be played has one connection a channel",
				c.Link.Channel)
		}
	}
	return channels, nil
}

func loadFile(files fs.FS, name string) (*Channel, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	return Parse(in)
}
