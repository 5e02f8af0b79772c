package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// closeLanes ends the lanes, the last one first. A lane that ended earlier fails the attempt,
// unless its guest powered off.
func (w *worker) closeLanes() {
	for _, l := range slices.Backward(w.lanes) {
		end := l.Err()
		if end != nil && l.State().EndedBy != registry.EndedByGuest {
			w.fail(fmt.Errorf("the lane %s ended: %w", l.name, end))
		}
		if w.end.Outcome == result.Failure {
			l.NoteFailure(&verdict.Error{Verdict: w.end.Verdict, Hop: w.end.Hop, Err: errors.New(w.end.Reason)})
		}
		if err := l.Close(); err != nil && w.end.Outcome == result.Success {
			w.fail(fmt.Errorf("the lane %s did not end well: %w", l.name, err))
		}
	}
}

// collect copies the artifacts out of the work directory.
func (w *worker) collect() error {
	for _, a := range w.task.Artifacts {
		to := filepath.Join(w.task.Out, ArtifactsDir, a.Name)
		for _, pattern := range a.Path {
			// NB: the work directory is no pattern, whatever characters its own path has.
			matches, err := fs.Glob(os.DirFS(w.work), filepath.ToSlash(filepath.Clean(pattern)))
			if err != nil {
				return &verdict.Error{Verdict: verdict.Harness, Op: "artifact " + a.Name, Err: err}
			}
			for _, m := range matches {
				rel := filepath.FromSlash(m)
				if err := copyTree(filepath.Join(w.work, rel), filepath.Join(to, rel)); err != nil {
					return verdict.Classify("artifact "+a.Name, err)
				}
			}
		}
		// A link and an empty directory match, too, and leave no file.
		copied, err := ListEvidence(to)
		if err != nil {
			return verdict.Classify("artifact "+a.Name, err)
		}
		if len(copied) == 0 && a.Missing != "ignore" {
			return &verdict.Error{Verdict: verdict.Product, Op: "artifact " + a.Name,
				Err: fmt.Errorf("no step has left a file like %s in $SPICELANE_WORK", strings.Join(a.Path, ", "))}
		}
	}
	return nil
}

// finish removes the work directory of an attempt that has not failed, masks secrets in all files,
// and lists the evidence.
func (w *worker) finish() {
	// The work directory of a failed attempt is evidence.
	if w.end.Outcome != result.Failure {
		if err := removeAll(w.work); err != nil {
			w.fail(verdict.Classify("remove the work directory", err))
		}
	}
	if _, err := w.mask.Clean(w.task.Out); err != nil {
		// NB: evidence that may contain a secret must not stay.
		w.fail(verdict.Classify("", errors.Join(err, os.RemoveAll(w.task.Out))))
	}
	evidence, err := ListEvidence(w.task.Out)
	if err != nil {
		w.fail(verdict.Classify("list the evidence", err))
	}
	w.end.Evidence = evidence
	for k, v := range w.end.Identity {
		w.end.Identity[k] = w.mask.String(v)
	}
}

// removeAll removes a directory, also if it has directories that nobody may write to, such as a
// cache of Go modules.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // if that fails, the second attempt says why
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// ListEvidence returns the files of an attempt's directory, with paths relative to it. If there is
// no such directory, it returns none.
func ListEvidence(dir string) ([]result.Evidence, error) {
	var all []result.Evidence
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := result.Evidence{Path: filepath.ToSlash(rel), Bytes: info.Size(), Kind: result.KindLog, Executable: info.Mode()&0o100 != 0}
		switch parts := strings.Split(e.Path, "/"); {
		case parts[0] == LaneDir && len(parts) > 2:
			e.Kind, e.Name = result.KindLane, parts[1]
		case parts[0] == ArtifactsDir && len(parts) > 2:
			e.Kind, e.Name = result.KindArtifact, parts[1]
		}
		all = append(all, e)
		return nil
	})
	return all, err
}

// copyTree copies a file or a directory. It skips symbolic links and other special files.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(dest, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		_ = os.Remove(dest) // a copy that nobody may write to may be there: two patterns can match one file
		out, err := os.OpenFile(dest, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

// identify returns the identity of what a lane tests, by the keys of package result. The error says
// which of them are unknown; these are left out. The lane itself reports why it does not start.
func identify(ctx context.Context, cfg harness.Config, program string) (map[string]string, error) {
	id := map[string]string{}
	var unknown []error
	set := func(key, value string, err error) {
		if err == nil && value != "" {
			id[key] = value
		} else {
			unknown = append(unknown, fmt.Errorf("%s: %w", key, cmp.Or(err, errNothing)))
		}
	}
	if cfg.Server == "" || cfg.Server == "qemu" {
		binary, err := qemu.FindQEMU(os.Getenv)
		version := ""
		if err == nil {
			version, err = qemu.Version(ctx, binary)
		}
		set(result.KeyQEMU, version, err)
		image, err := imageOf(ctx, cfg)
		set(result.KeyImage, image, err)
		firmware, err := qemu.FindOVMF(os.Getenv)
		sum := ""
		if err == nil {
			sum, err = hashFile(firmware.Code)
		}
		set(result.KeyFirmware, "sha256:"+sum, err)
	} else {
		id[result.KeyServer] = cfg.Server
	}
	for key, p := range map[string]harness.Program{result.KeyProxy: cfg.Proxy, result.KeyClient: cfg.Client} {
		v, err := programOf(p, program)
		set(key, v, err)
	}
	sum, err := hashConfig(cfg)
	set(result.KeyConfig, "sha256:"+sum, err)
	return id, errors.Join(unknown...)
}

// errNothing is the error of a value that is empty although there was no error.
var errNothing = errors.New("it is not known")

// imageOf returns the identity of what a lane boots: its image, kernel and initial RAM disk.
func imageOf(ctx context.Context, cfg harness.Config) (string, error) {
	id, kernel, initrd := "", cfg.Kernel, cfg.Initrd
	if cfg.Image != "" {
		sum, err := hashFile(cfg.Image)
		if err != nil {
			return "", err
		}
		id = filepath.Base(cfg.Image) + " sha256:" + sum
	} else {
		f, err := fixtures.Find(cmp.Or(cfg.Fixture, "beacon"))
		if err != nil {
			return "", err
		}
		sum := f.SHA256
		if sum == "" {
			if sum, err = f.Verify(ctx); err != nil {
				return "", err
			}
		}
		if id = f.Name; sum != "" {
			id += " sha256:" + sum
		}
		if f.Build == fixtures.BuildLinux {
			guest, err := harness.BuildLinux(ctx)
			if err != nil {
				return "", err
			}
			kernel, initrd = cmp.Or(kernel, guest.Kernel), cmp.Or(initrd, guest.Initrd)
		}
		kernel, initrd = cmp.Or(kernel, f.KernelPath()), cmp.Or(initrd, f.InitrdPath())
	}
	for _, part := range []struct{ name, file string }{{"kernel", kernel}, {"initrd", initrd}} {
		if part.file == "" {
			continue
		}
		sum, err := hashFile(part.file)
		if err != nil {
			return "", err
		}
		id += " " + part.name + " sha256:" + sum
	}
	return id, nil
}

// programOf returns the identity of a proxy or a client.
func programOf(p harness.Program, builtin string) (string, error) {
	if !p.IsCommand() {
		if p == harness.None {
			return p.String(), nil
		}
		return p.String() + " " + builtin, nil
	}
	words, err := shellquote.Split(p.String())
	if err != nil || len(words) == 0 {
		return "", err
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return "", err
	}
	sum, err := hashFile(path)
	return p.String() + " sha256:" + sum, err
}

// hashConfig returns the hash of a configuration without the fields that other keys of the identity
// cover, those that only name things or places, and those that do not change what is tested.
func hashConfig(cfg harness.Config) (string, error) {
	cfg.Name, cfg.Dir, cfg.Image, cfg.Kernel, cfg.Initrd, cfg.Fixture = "", "", "", "", "", ""
	cfg.Proxy, cfg.Client = harness.Program{}, harness.Program{}
	cfg.Warm, cfg.Accel, cfg.Film, cfg.Processes, cfg.ReleaseControl, cfg.Timeout, cfg.Needles = "", "", "", false, false, 0, ""
	b, err := json.Marshal(cfg)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// surroundings returns the class of this host: its CPU model, kernel and number of processors.
func surroundings() map[string]string {
	host := runtime.GOOS + "/" + runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				host += ", " + strings.TrimSpace(model)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		host += ", kernel " + strings.TrimSpace(string(b))
	}
	return map[string]string{result.KeyHost: host, "cpus": fmt.Sprint(runtime.NumCPU())}
}
