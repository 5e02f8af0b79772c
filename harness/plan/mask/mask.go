// Package mask removes secrets from output.
//
//	m := mask.New(map[string]string{"API_TOKEN": token})
//	w := m.Writer(os.Stdout)
//	io.Copy(w, output)
//	w.Close()
//
// The package finds a secret in the forms in which programs print it: as it is, in base64 (also
// within a longer text), in hexadecimal, and escaped as in a URL, in JSON or in Go. It finds a
// secret that is split over several chunks or lines, too. It replaces each one with ***.
//
// The package does not find a secret in other forms, such as encrypted or spelled backwards.
// [Masker.Clean] also searches the content of files that gzip or zstd has compressed, and of
// recordings. It does not look into other formats.
package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// MinLength is the least length of a secret, in characters. A shorter word would be found in many
// places where it is no secret, and masking it there would reveal it.
const MinLength = 4

// Mask replaces a secret in the output.
const Mask = "***"

// Check returns an error if a secret is too short to be masked.
func Check(secret string) error {
	switch n := utf8.RuneCountInString(strings.NewReplacer("\n", "", "\r", "").Replace(strings.TrimSpace(secret))); {
	case n == 0:
		return errors.New("the secret is empty")
	case n == 1:
		return errors.New("the secret is a single character, which cannot be masked: it is in every output")
	case n < MinLength:
		return fmt.Errorf("the secret has %d characters, and one of less than %d cannot be masked", n, MinLength)
	}
	return nil
}

// A Masker finds and masks secrets. Several goroutines may use it. A nil Masker masks nothing.
type Masker struct {
	nodes []node
	root  [256]int32
	any   bool
}

// A node is a state of an Aho-Corasick automaton. It has a list of edges, mostly of one: long
// secrets have many forms, and a table of 256 edges per byte would take hundreds of megabytes.
type node struct {
	edges []edge
	fail  int32 // the state for the longest proper suffix of this one that begins a pattern
	depth int32 // how many bytes of a pattern have been read
	match int32 // length of the longest pattern that ends here; 0 for none
}

type edge struct {
	c  byte
	to int32
}

// child returns the state that follows at for the byte c within a pattern; 0 if there is none.
func (m *Masker) child(at int32, c byte) int32 {
	if at == 0 {
		return m.root[c]
	}
	for _, e := range m.nodes[at].edges {
		if e.c == c {
			return e.to
		}
	}
	return 0
}

// step returns the state that follows at for the byte c, with the fail links.
func (m *Masker) step(at int32, c byte) int32 {
	for {
		if to := m.child(at, c); to != 0 || at == 0 {
			return to
		}
		at = m.nodes[at].fail
	}
}

// New returns a Masker for secrets, by name. It ignores secrets that Check rejects.
func New(secrets map[string]string) *Masker {
	forms := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		s := secrets[name]
		if Check(s) != nil {
			continue
		}
		for _, f := range Forms(s) {
			forms[f] = true
		}
	}
	return build(slices.Sorted(maps.Keys(forms)))
}

// Forms returns the forms of a secret that a Masker looks for, sorted.
func Forms(secret string) []string {
	set := map[string]bool{}
	add := func(s string) {
		if len(s) >= MinLength {
			set[s] = true
		}
	}
	whole := []string{secret, strings.TrimSpace(secret)}
	if lines := strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		// A program may print one line of a key with its own text around it.
		for _, l := range lines {
			if len(l) >= 16 && !strings.HasPrefix(l, "-----") {
				whole = append(whole, l)
			}
		}
	}
	for _, s := range whole {
		add(s)
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			add(strings.TrimRight(enc.EncodeToString([]byte(s)), "="))
			// Within a longer text, the secret begins at one of three positions in a group of three bytes.
			// The characters that also depend on neighbouring bytes are left out.
			for shift := range 3 {
				padded := append(make([]byte, shift), s...)
				whole := len(padded) / 3 * 4
				first := (shift*8 + 5) / 6
				if text := enc.EncodeToString(padded)[:whole]; first < whole && whole-first >= 6 {
					add(text[first:])
				}
			}
		}
		h := hex.EncodeToString([]byte(s))
		add(h)
		add(strings.ToUpper(h))
		for _, escaped := range []string{url.QueryEscape(s), url.PathEscape(s), everyByte(s)} {
			add(escaped)
			add(lowerEscapes(escaped))
		}
		if b, err := json.Marshal(s); err == nil {
			add(string(b[1 : len(b)-1]))
		}
		quoted := fmt.Sprintf("%q", s)
		add(quoted[1 : len(quoted)-1])
	}
	return slices.Sorted(maps.Keys(set))
}

// everyByte escapes every byte as in a URL.
func everyByte(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// lowerEscapes returns s with the digits of its URL escapes in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// skipped reports whether the search ignores a byte: newlines, because lines may be wrapped
// anywhere.
func skipped(c byte) bool { return c == '\n' || c == '\r' }

func build(patterns []string) *Masker {
	m := &Masker{nodes: make([]node, 1), any: len(patterns) > 0}
	for _, p := range patterns {
		at, n := int32(0), int32(0)
		for i := range len(p) {
			c := p[i]
			if skipped(c) {
				continue
			}
			n++
			to := m.child(at, c)
			if to == 0 {
				to = int32(len(m.nodes))
				m.nodes = append(m.nodes, node{depth: n})
				if at == 0 {
					m.root[c] = to
				} else {
					m.nodes[at].edges = append(m.nodes[at].edges, edge{c, to})
				}
			}
			at = to
		}
		m.nodes[at].match = n
	}
	var queue []int32
	for _, to := range m.root {
		if to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		at := &m.nodes[queue[0]]
		queue = queue[1:]
		at.match = max(at.match, m.nodes[at.fail].match)
		for _, e := range at.edges {
			m.nodes[e.to].fail = m.step(at.fail, e.c)
			queue = append(queue, e.to)
		}
	}
	return m
}

// String returns s with its secrets masked.
func (m *Masker) String(s string) string {
	if m == nil || !m.any {
		return s
	}
	var b strings.Builder
	w := m.Writer(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// Contains reads r to its end, or up to a secret, and reports whether it has one.
func (m *Masker) Contains(r io.Reader) (bool, error) {
	if m == nil || !m.any {
		return false, nil
	}
	state := int32(0)
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			if skipped(c) {
				continue
			}
			state = m.step(state, c)
			if m.nodes[state].match > 0 {
				return true, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// A Writer masks secrets in what is written to it. It holds back bytes that may be the beginning of
// a secret until it knows, so Close must be called.
type Writer struct {
	m     *Masker
	w     io.Writer
	state int32
	// held are the bytes that are not written yet.
	held []heldByte
	// masked is set if a mask was written last. Adjacent secrets share one mask, even if they come in
	// different chunks.
	masked bool
	err    error
}

type heldByte struct {
	c      byte
	secret bool
}

// Writer returns a Writer that writes to w.
func (m *Masker) Writer(w io.Writer) *Writer {
	if m == nil {
		m = &Masker{}
	}
	return &Writer{m: m, w: w}
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if !w.m.any {
		n, err := w.w.Write(p)
		w.err = err
		return n, err
	}
	for _, c := range p {
		w.held = append(w.held, heldByte{c: c})
		if skipped(c) {
			continue
		}
		w.state = w.m.step(w.state, c)
		if n := w.m.nodes[w.state].match; n > 0 {
			for i := len(w.held) - 1; i >= 0 && n > 0; i-- {
				w.held[i].secret = true
				if !skipped(w.held[i].c) {
					n--
				}
			}
		}
	}
	// Bytes that cannot be part of an unfinished match can be written.
	keep := len(w.held)
	for depth := w.m.nodes[w.state].depth; keep > 0 && depth > 0; {
		if keep--; !skipped(w.held[keep].c) {
			depth--
		}
	}
	return len(p), w.flush(keep)
}

// flush writes the first n held bytes.
func (w *Writer) flush(n int) error {
	if n == 0 || w.err != nil {
		return w.err
	}
	out := make([]byte, 0, n)
	for i := 0; i < n; i++ {
		if !w.held[i].secret {
			out = append(out, w.held[i].c)
			w.masked = false
			continue
		}
		if !w.masked {
			out = append(out, Mask...)
		}
		w.masked = true
		for ; i < n && w.held[i].secret; i++ {
			if w.held[i].c == '\n' {
				out = append(out, '\n') // keeps the number of lines
			}
		}
		i--
	}
	w.held = append(w.held[:0], w.held[n:]...)
	_, w.err = w.w.Write(out)
	return w.err
}

// Close writes the bytes that are still held back. It does not close the underlying writer.
func (w *Writer) Close() error { return w.flush(len(w.held)) }
