package harness

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/serial"
)

// A Film says whether lanes are filmed, and which lanes keep their film.
type Film string

const (
	FilmOff      Film = "off"      // nothing is filmed
	FilmFailures Film = "failures" // every lane is filmed, and the films of those that fail are kept; the default
	FilmAlways   Film = "always"   // every lane's film is kept
)

// EnvFilm names the variable that decides if Config.Film is empty: off, failures or always.
const EnvFilm = host.EnvFilm

func (c Config) film() Film {
	return Film(or(or(string(c.Film), os.Getenv(EnvFilm)), string(FilmFailures)))
}

// filmFile returns the file to which the built-in client films; "" if it does not film.
func (b *bringUp) filmFile() string {
	if b.cfg.film() == FilmOff {
		return ""
	}
	return filepath.Join(b.dir, film.File)
}

// KindBegin is the kind of a timeline's first entry. It says which lane it is, and when the
// timeline's clock began.
const KindBegin = "begin"

// noteBegin writes the timeline's first entry.
func (b *bringUp) noteBegin() {
	s := b.State()
	fields := map[string]any{
		"wall": b.log.Start().Format(time.RFC3339Nano), "name": s.Name, "display": s.Display, "film": b.cfg.film(),
		"command": b.command(),
	}
	for k, v := range map[string]string{
		"fixture": s.Fixture, "image": s.Image, "compression": s.Compression, "test": b.cfg.test, "spicelane": ownVersion(),
	} {
		if v != "" {
			fields[k] = v
		}
	}
	b.log.AddAt(b.log.Start(), KindBegin, fields)
}

// ownVersion says which Spicelane this program has; empty if that is not known.
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const module = "github.com/spicelane/spicelane"
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	if info.Main.Path != module {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) > 12 {
			return s.Value[:12]
		}
	}
	return strings.Trim(info.Main.Version, "()")
}

// command returns the command that runs the lane again.
func (b *bringUp) command() string {
	if b.cfg.test == "" {
		return b.upCommand()
	}
	var pattern []string
	for name := range strings.SplitSeq(b.cfg.test, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(name)+"$")
	}
	pkg := "."
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasSuffix(info.Path, ".test") {
		pkg = strings.TrimSuffix(info.Path, ".test")
	}
	return shellquote.Join("go", "test", "-count=1", "-run", strings.Join(pattern, "/"), pkg)
}

// upCommand returns the command that brings up a lane of this configuration, as far as `spicelane
// up` has flags for it.
func (b *bringUp) upCommand() string {
	words := []string{"spicelane", "up"}
	for _, f := range []struct{ flag, value string }{
		{"name", b.cfg.Name}, {"server", b.cfg.Server}, {"fixture", b.cfg.Fixture}, {"image", b.cfg.Image}, {"accel", string(b.cfg.Accel)},
		{"display", string(b.cfg.Display)}, {"compression", string(b.cfg.Compression)}, {"agent", string(b.cfg.Agent)},
		{"warm", string(b.cfg.Warm)}, {"proxy", plainProgram(b.cfg.Proxy)}, {"client", plainProgram(b.cfg.Client)},
	} {
		if f.value != "" {
			words = append(words, "--"+f.flag, f.value)
		}
	}
	if b.cfg.BackendTLS {
		words = append(words, "--backend-tls")
	}
	return shellquote.Join(words...)
}

// plainProgram returns a program in the form of a flag's value; "" for the default.
func plainProgram(p Program) string {
	if p == Builtin {
		return ""
	}
	return p.String()
}

// leaveReplay makes the lane's page from the files that the lane left. It removes the film of a
// lane that did not fail, unless all films are kept. The lane must have ended. If the page cannot
// be made, the lane does not fail: its files are still there.
func (l *Lane) leaveReplay(failed bool) {
	drop := !failed && l.cfg.film() == FilmFailures
	if err := replay.Write(l.dir, replay.Options{LastPicture: drop}); err != nil {
		l.cfg.log().Error("cannot make the page of the lane", "err", err)
	}
	if !drop {
		return
	}
	if err := os.Remove(filepath.Join(l.dir, film.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.cfg.log().Error("cannot remove the film", "err", err)
	}
}

// noteWait writes a wait that failed to the timeline: how long it took, what was awaited and what
// was seen last.
func (l *Lane) noteWait(began time.Time, err error) {
	if err == nil {
		return
	}
	fields := map[string]any{"ms": time.Since(began).Milliseconds(), "error": err.Error()}
	var (
		await  *drive.AwaitError
		serial *serial.AwaitError
		boot   *qemu.BootError
	)
	switch {
	case errors.As(err, &await):
		fields["awaited"], fields["saw"] = await.Wanted, await.Last
	case errors.As(err, &boot):
		fields["awaited"], fields["saw"] = boot.Wanted, lastOf(boot.Serial)
	case errors.As(err, &serial):
		fields["awaited"], fields["saw"] = serial.Wanted, lastOf(serial.Tail)
	}
	l.log.Add("wait", fields)
}

// shortWait is the shortest successful wait that is noted. Tests that poll would otherwise fill the
// timeline.
const shortWait = 10 * time.Millisecond

// noteAwaited writes a wait that did not fail to the timeline: how long it took and what was
// awaited.
func (l *Lane) noteAwaited(began time.Time, what string) {
	if took := time.Since(began); took >= shortWait {
		l.log.Add("awaited", map[string]any{"ms": took.Milliseconds(), "awaited": what})
	}
}

// lastOf returns the last line that is not blank.
func lastOf(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if strings.TrimSpace(line) != "" {
			return line
		}
	}
	return ""
}
