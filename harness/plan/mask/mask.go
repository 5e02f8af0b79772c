// Package mask removes secrets from output.
//
//	m := mask.New(map[string]string{"API_TOKEN": token})
//	w := m.Writer(os.Stdout)
//	io.Copy(w, output)
//	w.Close()
//
// A secret is found in the forms in which programs print it: as it is, in base64 (also within a
// longer text), in hexadecimal, escaped as in a URL and as in JSON. It is found wherever chunks and
// lines end, also if a program wraps it over several lines. What is found is replaced by ***.
//
// The package does not find a secret in other forms: encrypted, or spelled backwards. In files that a
// run leaves and that gzip or zstd has compressed, [Masker.Clean] looks for it, too; not in others.
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

// MinLength is the least length of a secret. A shorter word would be found in many places where it
// is none, and what is replaced there would betray it.
const MinLength = 4

// Mask is what stands in the place of a secret.
const Mask = "***"

// Check returns an error if a secret cannot be masked.
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

// A Masker finds secrets. It may be used by several goroutines.
type Masker struct {
	nodes []node
	root  [256]int32
	any   bool
}

// A node is a state of an Aho-Corasick automaton. Most have one edge: long secrets have many forms,
// and a table for each byte of them would take hundreds of megabytes.
type node struct {
	edges []edge
	fail  int32 // the state for the longest end of what was read that begins a pattern
	depth int32 // how many bytes of a pattern have been read
	match int32 // length of the longest pattern that ends here; 0 for none
}

type edge struct {
	c  byte
	to int32
}

// child returns the state after at and c within a pattern; 0 if no pattern goes on so.
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

// step returns the state after at and c.
func (m *Masker) step(at int32, c byte) int32 {
	for {
		if to := m.child(at, c); to != 0 || at == 0 {
			return to
		}
		at = m.nodes[at].fail
	}
}

// New returns a Masker for secrets, by name. It ignores those that Check refuses.
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

// Forms returns the forms of a secret that are looked for.
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
			// Within a longer text the secret begins at one of three places of a group of three bytes. The
			// characters that also depend on its neighbours are left out.
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

// everyByte escapes each byte as in a URL.
func everyByte(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// lowerEscapes writes the digits of URL escapes in small letters.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// skipped tells whether a byte is ignored when secrets are looked for: lines may be wrapped anywhere.
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

// String returns s without secrets.
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

// Contains tells whether r has a secret.
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

// A Writer writes what it is given without secrets. It holds back what may be the beginning of a
// secret until it is known, so that Close must be called.
type Writer struct {
	m     *Masker
	w     io.Writer
	state int32
	// held are the bytes that are not written yet.
	held []heldByte
	// masked is set while what was written last is a mask: neighbours share one, in whatever chunks
	// they come.
	masked bool
	err    error
}

type heldByte struct {
	c      byte
	secret bool
}

// Writer returns a Writer to w.
func (m *Masker) Writer(w io.Writer) *Writer {
	if m == nil {
		m = &Masker{}
	}
	return &Writer{m: m, w: w}
}

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
	// What is in no pattern that is still possible can go.
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
				out = append(out, '\n') // the number of lines stays
			}
		}
		i--
	}
	w.held = append(w.held[:0], w.held[n:]...)
	_, w.err = w.w.Write(out)
	return w.err
}

// Close writes the rest. It does not close the underlying writer.
func (w *Writer) Close() error { return w.flush(len(w.held)) }
