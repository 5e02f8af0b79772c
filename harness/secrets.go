package harness

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
)

// secrets are a lane's tickets, tokens and private keys. No file that the lane leaves may contain
// them, because artifacts are uploaded and read by others. They are recorded when they are made,
// and searched for at the end of every lane of a test.
type secrets struct {
	mu   sync.Mutex
	what map[string]string // by secret
}

// shortestSecret is the least length of a secret in bytes; shorter words would be found everywhere.
const shortestSecret = 16

// add records a secret; what describes it in a few words.
func (s *secrets) add(what, secret string) {
	if len(secret) < shortestSecret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.what == nil {
		s.what = make(map[string]string)
	}
	s.what[secret] = what
}

// addKey records the private key in a PEM file. It omits the first line, which is nearly the same
// in every key.
func (s *secrets) addKey(what string, key []byte) {
	if block, _ := pem.Decode(key); block == nil {
		return
	}
	for i, line := range bytes.Split(key, []byte("\n")) {
		if i > 1 && !bytes.HasPrefix(line, []byte("-----")) {
			s.add(what, string(line))
		}
	}
}

// all returns the secrets and what they are.
func (s *secrets) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.what)
}

// newSecret returns a new ticket or token, which the lane searches for at its end.
func (l *Lane) newSecret(what string) string {
	secret := newSecret()
	l.secrets.add(what, secret)
	return secret
}

// canaryFile is planted with all secrets before the search, which must find each of them.
const canaryFile = ".secrets-canary"

// searchSecrets looks for the lane's secrets in everything that the lane leaves, and returns a
// Harness error that names the files. It first plants the secrets and finds them; otherwise a
// search that finds nothing would look like success.
func (l *Lane) searchSecrets() (err error) {
	what := l.secrets.all()
	if len(what) == 0 {
		return nil
	}
	canary := filepath.Join(l.dir, canaryFile)
	var planted bytes.Buffer
	for secret := range what {
		fmt.Fprintf(&planted, "some text before %s and behind\n", secret)
	}
	if err := os.WriteFile(canary, planted.Bytes(), 0o600); err != nil {
		return verdict.Classify("search for secrets", err)
	}
	found, err := findSecrets(l.dir, what)
	if err = errors.Join(err, os.Remove(canary)); err != nil {
		return verdict.Classify("search for secrets", err)
	}
	var leaks []string
	seen := 0
	for _, f := range found {
		if f.file == canaryFile {
			seen++
			continue
		}
		leaks = append(leaks, fmt.Sprintf("the %s is in %s", f.what, f.file))
	}
	switch {
	case seen != len(what):
		return &verdict.Error{Verdict: verdict.Harness, Op: "search for secrets",
			Err: fmt.Errorf("%d of %d planted secrets were found in %s: so there may be others", seen, len(what), l.dir)}
	case len(leaks) > 0:
		return &verdict.Error{Verdict: verdict.Harness, Op: "search for secrets",
			Err:  fmt.Errorf("in %s: %s", l.dir, strings.Join(leaks, ", ")),
			Hint: "do not pass these files on"}
	}
	return nil
}

// A finding is one secret in one file.
type finding struct{ file, what string }

// findSecrets looks for secrets, as bytes, in all regular files below dir. The findings are sorted,
// one for each file and secret; files are named relative to dir.
func findSecrets(dir string, what map[string]string) ([]finding, error) {
	var found []finding
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in, err := secretsIn(f, what)
		if err == nil && filepath.Base(path) == replay.File {
			in, err = secretsInPage(f, in, what)
		}
		for _, secret := range in {
			found = append(found, finding{name, what[secret]})
		}
		return err
	})
	slices.SortFunc(found, func(a, b finding) int {
		return bytes.Compare([]byte(a.file+a.what), []byte(b.file+b.what))
	})
	return found, err
}

// secretsInPage adds to in the secrets that are in the text of a lane's page, which is compressed.
func secretsInPage(f io.ReadSeeker, in []string, what map[string]string) ([]string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return in, err
	}
	text, err := replay.Text(f)
	if err != nil {
		return in, err
	}
	more, err := secretsIn(text, what)
	for _, secret := range more {
		if !slices.Contains(in, secret) {
			in = append(in, secret)
		}
	}
	return in, err
}

// secretsIn returns the secrets that r contains. It reads pieces that overlap by the longest
// secret, so that none is split.
func secretsIn(r io.Reader, what map[string]string) ([]string, error) {
	longest := 0
	left := make(map[string]bool, len(what))
	for secret := range what {
		longest = max(longest, len(secret))
		left[secret] = true
	}
	var in []string
	buf := make([]byte, 0, 1<<20+longest)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for secret := range left {
			if bytes.Contains(buf, []byte(secret)) {
				in = append(in, secret)
				delete(left, secret)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return in, nil
		}
		if err != nil {
			return in, err
		}
		keep := min(longest-1, len(buf))
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
	}
}
