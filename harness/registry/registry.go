package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// MaxName is the greatest length of a lane's name, in bytes.
const MaxName = 41

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,40}$`)

// CheckName returns an error if name cannot be a lane's name. A name has letters, digits, dots,
// underscores and dashes, at most MaxName, and begins with a letter or digit.
func CheckName(name string) error {
	if !nameRE.MatchString(name) {
		return &verdict.Error{Verdict: verdict.Harness, Op: "lane name " + strconv.Quote(name),
			Err:  errors.New("not usable as a name"),
			Hint: "use letters, digits, '.', '_' and '-', at most 41, the first a letter or digit"}
	}
	return nil
}

// A Registry has a user's lanes: one directory for each lane, with a lane.json in it. Lanes of `go
// test` are not in it.
//
// The zero Registry is that of `spicelane up`.
type Registry struct {
	// Root is the directory. Default: lanes in host.StateDir.
	Root string
}

func (r Registry) root() string {
	if r.Root != "" {
		return r.Root
	}
	return filepath.Join(host.StateDir(), "lanes")
}

// Entry returns the directory of the lane called name.
func (r Registry) Entry(name string) string { return filepath.Join(r.root(), name) }

func (r Registry) file(name string) string { return filepath.Join(r.Entry(name), "lane.json") }

// Save writes s atomically.
func (r Registry) Save(s State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.Entry(s.Name), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(r.file(s.Name), append(b, '\n'), 0o644)
}

// Load reads the state of one lane and corrects it. If the supervisor is gone without having
// recorded an end, the lane is failed, and its sockets and scratch files are removed.
func (r Registry) Load(name string) (State, error) {
	if err := CheckName(name); err != nil {
		return State{}, err
	}
	s, err := r.read(name)
	if err != nil {
		return State{}, err
	}
	if s.unended() && !s.supervised() {
		// NB: read it again. The supervisor may have recorded the end since, as the last thing it did.
		if s, err = r.read(name); err != nil {
			return State{}, err
		}
	}
	if s.unended() && !s.supervised() {
		what := "while the lane was ready"
		if s.State == StateStarting {
			what = "while the lane was starting"
		}
		s.State = StateFailed
		s.Verdict = verdict.Harness
		s.Reason = fmt.Sprintf("the supervisor (pid %d) was killed %s; QEMU, proxy and client ended with it", s.PIDs.Supervisor, what)
		host.RemoveRunDir(s.RunDir)
		// Another reader may do the same at the same moment; both write the same words.
		if err := r.Save(s); err != nil {
			return s, verdict.Classify("lane "+name, err)
		}
	}
	return s, nil
}

// read reads the recorded state of one lane.
func (r Registry) read(name string) (State, error) {
	b, err := os.ReadFile(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, &verdict.Error{Verdict: verdict.Harness, Op: "lane " + name, Err: errors.New("there is no lane of that name"), Hint: "see: spicelane status"}
	}
	if err != nil {
		return State{}, verdict.Classify("lane "+name, err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, &verdict.Error{Verdict: verdict.Harness, Op: r.file(name), Err: err, Hint: "remove that directory to forget the lane"}
	}
	return s, nil
}

// unended tells whether no end of the lane is recorded.
func (s State) unended() bool { return s.State == StateReady || s.State == StateStarting }

// List returns every lane, by name. It reports states that cannot be read together with the others.
func (r Registry) List() ([]State, error) {
	es, err := os.ReadDir(r.root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, verdict.Classify("", err)
	}
	var out []State
	var errs []error
	for _, e := range es {
		if _, err := os.Stat(r.file(e.Name())); err != nil || CheckName(e.Name()) != nil {
			continue
		}
		s, err := r.Load(e.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, errors.Join(errs...)
}
