package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Does returns the sha256 of what a task does, in hex. The hash covers the steps with their
// variables, how the jobs that the task needs have ended, and the contents of files: those that the
// job names, those that describe the lanes' screens, and the restored artifacts. An earlier result
// can be reused only if its task had the same hash. The hash does not cover what is under test:
// that is the identity (see package result).
//
// Secrets are masked first, because the hash of a short secret would reveal it.
func (l *Loaded) Does(t *Task) (string, error) {
	type laneDoes struct {
		ReleaseControl, Processes bool
	}
	var does struct {
		Steps     []TaskStep
		Lanes     []laneDoes
		Needs     any
		Failed    bool
		Artifacts []Artifact
		Files     map[string]string // by path, relative to the plan's directory
		Restored  map[string]string // by path below the work directory
	}
	does.Needs, does.Failed, does.Artifacts = t.Vars["needs"], t.Failed, t.Artifacts
	does.Files, does.Restored = map[string]string{}, map[string]string{}
	files := slices.Clone(t.Files)
	for _, s := range t.Steps {
		s.Name = "" // a name does not change what the step does
		env := make(map[string]string, len(s.Env))
		for k, v := range s.Env {
			env[k] = l.Masker().String(v)
		}
		s.Env = env
		if s.Lane != nil {
			_, looks := laneFiles(t.Dir, s.Lane)
			files = append(files, looks...)
			does.Lanes = append(does.Lanes, laneDoes{s.Lane.Config.ReleaseControl, s.Lane.Config.Processes})
			s.Lane = &TaskLane{}
		}
		does.Steps = append(does.Steps, s)
	}
	for _, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(t.Dir, f)
		}
		rel, err := filepath.Rel(t.Dir, f)
		if err != nil {
			rel = f
		}
		if err := hashTree(does.Files, f, rel); err != nil {
			return "", err
		}
	}
	for _, r := range t.Restore {
		if err := hashTree(does.Restored, r.From, r.To); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(does)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// hashTree adds the hash of each file at or below root to sums. The key is name joined with the
// file's path below root. It follows links, as the steps do.
func hashTree(sums map[string]string, root, name string) error {
	return hashBelow(sums, root, name, nil)
}

// hashBelow does what hashTree does. above are the real paths of the directories that links have led
// to so far.
func hashBelow(sums map[string]string, root, name string, above []string) error {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	if slices.Contains(above, real) {
		return fmt.Errorf("%s is a link that leads to itself", root)
	}
	above = append(slices.Clone(above), real)
	return filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(real, path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path) // follows links
		if err == nil && info.IsDir() && !d.IsDir() {
			return hashBelow(sums, path, filepath.Join(name, rel), above)
		}
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		sum := hex.EncodeToString(h.Sum(nil))
		if info.Mode()&0o100 != 0 { // a file that cannot be run is a different program
			sum += " executable"
		}
		sums[filepath.ToSlash(filepath.Join(name, rel))] = sum
		return nil
	})
}
