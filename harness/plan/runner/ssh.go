package runner

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The times of a connection to another host.
const (
	dialTimeout = 15 * time.Second
	// A host that does not answer for aliveInterval*aliveMisses has vanished.
	aliveInterval = 2 * time.Second
	aliveMisses   = 5
	// syncInterval is how often the files of a running attempt of at most syncBytes are copied to this
	// host, so that they are here if the other host vanishes.
	syncInterval = 2 * time.Second
	syncBytes    = 1 << 20
)

// remoteCache is a directory below the user's home on other hosts. It has programs and files by the
// hash of their content, and locks.
const remoteCache = ".cache/spicelane/cells"

// HoldCommand is the subcommand of spicelane that holds a host for one run.
const HoldCommand = "hold-host"

// An sshExecutor runs workers on other hosts over SSH. It copies this program there unless the host
// has it.
type sshExecutor struct {
	def        plan.Executor
	dir        string // the plan's directory
	executable string
	config     *ssh.ClientConfig
	hosts      []*sshHost
	places     chan *sshHost // one entry for each free place of a host

	// taking takes all hosts in the mode dedicated, once; taken is closed when that has ended. It goes
	// on when the cell that began it is cancelled, because others wait for it, too. stop ends it.
	taking sync.Once
	taken  chan struct{}
	life   context.Context
	stop   context.CancelFunc
}

type sshHost struct {
	address string
	cells   int

	mu     sync.Mutex
	ready  bool
	binary string // the program's path there

	holder *ssh.Client // the connection that holds the host in the mode dedicated
	taken  error       // why the host could not be taken; set before anything runs
}

func hostError(address string, err error, hint string) error {
	return &verdict.Error{Verdict: verdict.Host, Op: address, Err: err, Hint: hint}
}

// newSSH makes the executor. It does not connect to any host yet.
func newSSH(def plan.Executor, l *plan.Loaded, executable string) (Executor, error) {
	e := &sshExecutor{def: def, dir: l.Dir, executable: executable, taken: make(chan struct{})}
	e.life, e.stop = context.WithCancel(context.Background())
	wrong := func(err error) error { return &verdict.Error{Verdict: verdict.Harness, Op: "executor", Err: err} }
	abs := func(p string) string {
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			home, _ := os.UserHomeDir()
			return filepath.Join(home, rest)
		}
		if !filepath.IsAbs(p) {
			return filepath.Join(l.Dir, p)
		}
		return p
	}
	known := def.KnownHosts
	if known == "" {
		known = "~/.ssh/known_hosts"
	}
	check, err := knownhosts.New(abs(known))
	if err != nil {
		return nil, wrong(fmt.Errorf("known-hosts: %w", err))
	}
	name := def.User
	if name == "" {
		u, err := user.Current()
		if err != nil {
			return nil, wrong(err)
		}
		name = u.Username
	}
	var auth []ssh.AuthMethod
	if def.Identity != "" {
		b, err := os.ReadFile(abs(def.Identity))
		if err != nil {
			return nil, wrong(err)
		}
		key, err := ssh.ParsePrivateKey(b)
		if err != nil {
			return nil, wrong(fmt.Errorf("identity: %w", err))
		}
		auth = append(auth, ssh.PublicKeys(key))
	} else if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		auth = append(auth, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				return nil, err
			}
			return agent.NewClient(conn).Signers()
		}))
	}
	e.config = &ssh.ClientConfig{User: name, Auth: auth, HostKeyCallback: check, Timeout: dialTimeout}
	total := 0
	for _, h := range def.Hosts {
		host := &sshHost{address: h.Address, cells: max(h.Cells, 1)}
		if _, _, err := net.SplitHostPort(h.Address); err != nil {
			host.address = net.JoinHostPort(h.Address, "22")
		}
		e.hosts = append(e.hosts, host)
		total += host.cells
	}
	e.places = make(chan *sshHost, total)
	for i := 0; len(e.places) < total; i++ {
		for _, h := range e.hosts { // the first cells go to different hosts
			if i < h.cells {
				e.places <- h
			}
		}
	}
	return e, nil
}

func (e *sshExecutor) Capacity() int { return cap(e.places) }

func (e *sshExecutor) Close() error {
	e.stop()
	e.taking.Do(func() { close(e.taken) })
	<-e.taken // wait until nothing is being taken
	for _, h := range e.hosts {
		if h.holder != nil {
			_ = h.holder.Close()
		}
	}
	return nil
}

// dial connects to a host and checks its key.
func (e *sshExecutor) dial(ctx context.Context, h *sshHost) (*ssh.Client, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", h.address)
	if err != nil {
		return nil, hostError(h.address, err, "is the host up, and does it run sshd?")
	}
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	c, chans, reqs, err := ssh.NewClientConn(conn, h.address, e.config)
	if err != nil {
		_ = conn.Close()
		var key *knownhosts.KeyError
		switch {
		case errors.As(err, &key) && len(key.Want) > 0:
			return nil, hostError(h.address, err, "the host has another key than the one in known-hosts: it may be another host")
		case errors.As(err, &key):
			return nil, hostError(h.address, err, "the host's key is not in known-hosts: add it with ssh-keyscan, and compare it")
		}
		return nil, hostError(h.address, err, "")
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, chans, reqs), nil
}

// command runs a command on another host and returns its output.
func command(c *ssh.Client, line string) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	var out, stderr bytes.Buffer
	s.Stdout, s.Stderr = &out, &stderr
	if err := s.Run(line); err != nil {
		said := strings.TrimSpace(stderr.String())
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		return out.String(), fmt.Errorf("%w: %s", err, said)
	}
	return out.String(), nil
}

// prepare copies this program to a host and runs spicelane doctor there, once per run.
func (e *sshExecutor) prepare(h *sshHost, c *ssh.Client, files *sftp.Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready {
		return nil
	}
	home, err := files.Getwd()
	if err != nil {
		return hostError(h.address, err, "")
	}
	cache := path.Join(home, remoteCache)
	if h.binary, err = putByContent(files, e.executable, cache); err != nil {
		return hostError(h.address, err, "this program could not be copied there")
	}
	if e.def.Doctor != "off" {
		if out, err := command(c, shellquote.Join(h.binary, "doctor")); err != nil {
			lines := strings.Split(strings.TrimSpace(out), "\n")
			return hostError(h.address, fmt.Errorf("spicelane doctor: %w", err), strings.Join(lines[max(0, len(lines)-3):], "; "))
		}
	}
	h.ready = true
	return nil
}

// takeAll takes all hosts for this run alone. Every run takes them in the order of their addresses;
// otherwise two runs could each hold a host that the other one waits for. A host that cannot be
// taken in its turn is not used.
func (e *sshExecutor) takeAll(ctx context.Context) {
	hosts := slices.SortedFunc(slices.Values(e.hosts), func(a, b *sshHost) int { return strings.Compare(a.address, b.address) })
	for _, h := range hosts {
		h.taken = func() error {
			c, err := e.dial(ctx, h)
			if err != nil {
				return err
			}
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			files, err := sftp.NewClient(c)
			if err != nil {
				return hostError(h.address, err, "does its sshd offer sftp?")
			}
			defer files.Close()
			if err := e.prepare(h, c, files); err != nil {
				return err
			}
			h.holder, err = e.hold(ctx, h)
			return err
		}()
	}
}

// hold waits until no other run uses a host and takes it for this run alone. Closing the connection
// that it returns releases the host.
func (e *sshExecutor) hold(ctx context.Context, h *sshHost) (*ssh.Client, error) {
	c, err := e.dial(ctx, h)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	s, err := c.NewSession()
	if err == nil {
		var in io.WriteCloser
		var out io.Reader
		if in, err = s.StdinPipe(); err == nil {
			out, err = s.StdoutPipe()
		}
		if err == nil {
			err = s.Start(shellquote.Join(h.binary, HoldCommand))
		}
		if err == nil {
			err = awaitHeld(bufio.NewReader(out))
		}
		_ = in // it stays open as long as the connection
	}
	if err != nil {
		_ = c.Close()
		return nil, hostError(h.address, fmt.Errorf("take the host: %w", err), "")
	}
	return c, nil
}

// awaitHeld reads the lines of a program until it says that it has what it waited for. A login shell
// may print a greeting first.
func awaitHeld(out *bufio.Reader) error {
	for {
		line, err := out.ReadString('\n')
		if line == held {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// putByContent copies a file into the cache of a host, unless the cache has it, and returns its
// path there. The cache has files by their content, and by whether the owner may execute them.
func putByContent(files *sftp.Client, file, cache string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	name := hex.EncodeToString(hash.Sum(nil))
	if info.Mode()&0o100 != 0 { // a file that was executable only later is another one
		name += "-x"
	}
	dir := path.Join(cache, name)
	to := path.Join(dir, filepath.Base(file))
	if there, err := files.Stat(to); err == nil && there.Size() == info.Size() {
		return to, nil
	}
	if err := files.MkdirAll(dir); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	// The file gets its name when it is complete, because another run may look for it at the same
	// time.
	tmp := to + "." + token()
	out, err := files.Create(tmp)
	if err != nil {
		return "", err
	}
	_, err = out.ReadFrom(f)
	err = errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close())
	if err == nil {
		err = files.PosixRename(tmp, to)
	}
	if err != nil {
		_ = files.Remove(tmp)
		return "", err
	}
	return to, nil
}

func token() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Start implements Executor.
func (e *sshExecutor) Start(ctx context.Context, t *plan.Task) (_ *Worker, err error) {
	var h *sshHost
	select {
	case h = <-e.places:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var undo []func()
	defer func() {
		if err != nil {
			for i := range undo {
				undo[len(undo)-1-i]()
			}
		}
	}()
	undo = append(undo, func() { e.places <- h })
	if e.def.Mode == "dedicated" {
		e.taking.Do(func() {
			go func() {
				defer close(e.taken)
				e.takeAll(e.life)
			}()
		})
		select {
		case <-e.taken:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if h.taken != nil {
			return nil, h.taken
		}
	}
	c, err := e.dial(ctx, h)
	if err != nil {
		return nil, err
	}
	// NB: only watchAlive ends a request that the host does not answer, so it runs until Release.
	alive, gone := context.WithCancel(context.Background())
	var watcher sync.WaitGroup
	watcher.Go(func() { watchAlive(alive, c) })
	undo = append(undo, func() { gone(); watcher.Wait() }, func() { _ = c.Close() })
	stopDial := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stopDial()
	files, err := sftp.NewClient(c)
	if err != nil {
		return nil, hostError(h.address, err, "does its sshd offer sftp?")
	}
	undo = append(undo, func() { _ = files.Close() })
	if err := e.prepare(h, c, files); err != nil {
		return nil, err
	}
	t.Heartbeat = aliveInterval
	local := t.Out
	base := "/tmp/spicelane-cell-" + token()
	undo = append(undo, func() { _ = files.RemoveAll(base) })
	if err := e.send(c, files, base, t); err != nil {
		return nil, hostError(h.address, err, "the cell's files could not be copied there")
	}
	s, err := c.NewSession()
	if err != nil {
		return nil, hostError(h.address, err, "")
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, hostError(h.address, err, "")
	}
	pipe, err := s.StdoutPipe()
	if err != nil {
		return nil, hostError(h.address, err, "")
	}
	out := bufio.NewReader(pipe)
	said := &tail{}
	s.Stderr = said
	argv := []string{h.binary, WorkerCommand}
	if e.def.Mode != "dedicated" {
		argv = append(argv, "--slots", strconv.Itoa(h.cells))
	}
	if err := s.Start("cd " + shellquote.Join(t.Dir) + " && exec " + shellquote.Join(argv...)); err != nil {
		return nil, hostError(h.address, err, "")
	}
	if e.def.Mode != "dedicated" {
		// The worker reads nothing while it waits for a place of the host, so a cancellation ends it here.
		// The connection stays for now, because the cell's files are still to be removed there.
		stopDial()
		waited := make(chan error, 1)
		go func() { waited <- awaitHeld(out) }()
		select {
		case err = <-waited:
		case <-ctx.Done():
			_ = s.Signal(ssh.SIGTERM) // the end of the connection alone does not end it
			return nil, context.Cause(ctx)
		}
		if err != nil {
			_ = s.Wait() // then said is complete
			return nil, hostError(h.address, fmt.Errorf("wait for a place of the host: %w: %s", err, strings.TrimSpace(string(said.b))), "")
		}
	}
	running, ended := context.WithCancel(alive)
	var fetcher sync.WaitGroup
	fetcher.Go(func() { keepFetching(running, files, t.Out, local) })
	return &Worker{
		In: &sshInput{to: in}, Out: out, Host: h.address,
		Wait: func() error {
			err := s.Wait()
			ended()
			fetcher.Wait()
			var exit *ssh.ExitError
			switch {
			case err == nil:
				return nil
			case errors.As(err, &exit):
				return hostError(h.address, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(said.b))), "")
			}
			return hostError(h.address, fmt.Errorf("the host has vanished: %w", err), "what it had sent until then is kept")
		},
		Kill: func() { _ = c.Close() },
		Fetch: func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			if err := fetch(files, t.Out, local, false); err != nil {
				return hostError(h.address, fmt.Errorf("bring the evidence here: %w", err), "")
			}
			_ = files.RemoveAll(base)
			return nil
		},
		Release: func() {
			gone()
			_ = files.Close()
			_ = c.Close()
			watcher.Wait()
			fetcher.Wait()
			e.places <- h
		},
	}, nil
}

// sshInput is the standard input of a program on another host. Unlike that of the ssh package, it may
// be closed while a Write waits for a program that reads nothing; then the end of the Write closes it.
type sshInput struct {
	to io.WriteCloser

	mu      sync.Mutex
	writing bool
	closed  bool
}

func (in *sshInput) Write(p []byte) (int, error) {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	in.writing = true
	in.mu.Unlock()
	n, err := in.to.Write(p)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.writing = false
	if in.closed {
		err = errors.Join(err, in.to.Close())
	}
	return n, err
}

func (in *sshInput) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	if in.writing {
		return nil
	}
	return in.to.Close()
}

// watchAlive closes the connection if the host does not answer for aliveInterval*aliveMisses.
func watchAlive(ctx context.Context, c *ssh.Client) {
	tick := time.NewTicker(aliveInterval)
	defer tick.Stop()
	answers := make(chan error, 1)
	misses, asked := 0, false
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-answers:
			if err != nil {
				_ = c.Close()
				return
			}
			misses, asked = 0, false
		case <-tick.C:
			if misses++; misses > aliveMisses {
				_ = c.Close() // this also ends the request that is not answered
				return
			}
			if !asked {
				asked = true
				go func() {
					_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
					answers <- err
				}()
			}
		}
	}
}

// send makes the directories of a cell on a host, copies the files that the cell needs, and changes
// the paths in the task to those on the host.
func (e *sshExecutor) send(c *ssh.Client, files *sftp.Client, base string, t *plan.Task) error {
	if err := files.Mkdir(base); err != nil {
		return err
	}
	if err := files.Chmod(base, 0o700); err != nil {
		return err
	}
	home, err := files.Getwd()
	if err != nil {
		return err
	}
	// The stage has links into the cache. The steps get copies, because they may write to the files.
	cache, stage := path.Join(home, remoteCache), path.Join(base, "stage")
	for _, d := range []string{path.Join(stage, "plan"), path.Join(base, "out")} {
		if err := files.MkdirAll(d); err != nil {
			return err
		}
	}
	needs := append([]string{}, t.Files...)
	for i := range t.Steps {
		if l := t.Steps[i].Lane; l != nil {
			needs = append(needs, plan.LaneFiles(e.dir, l)...)
		}
	}
	for _, f := range needs {
		if !filepath.IsAbs(f) {
			f = filepath.Join(e.dir, f)
		}
		rel, err := filepath.Rel(e.dir, f)
		if err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("%s is not below the plan's directory, and only that is copied to other hosts", f)
		}
		if err := putTree(files, f, path.Join(stage, "plan", filepath.ToSlash(rel)), cache); err != nil {
			return err
		}
	}
	for i := range t.Restore {
		to := path.Join("restore", strconv.Itoa(i))
		if err := putTree(files, t.Restore[i].From, path.Join(stage, to), cache); err != nil {
			return err
		}
		t.Restore[i].From = path.Join(base, to)
	}
	if _, err := command(c, shellquote.Join("cp", "-rL", stage+"/.", base)); err != nil {
		return err
	}
	t.Dir, t.Out = path.Join(base, "plan"), path.Join(base, "out")
	return nil
}

// putTree copies a file or a directory to a host. It sends equal files once, into the cache, and
// makes links to them.
func putTree(files *sftp.Client, from, to, cache string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dest := path.Join(to, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			return files.MkdirAll(dest)
		case !d.Type().IsRegular():
			return nil
		}
		if err := files.MkdirAll(path.Dir(dest)); err != nil {
			return err
		}
		cached, err := putByContent(files, p, cache)
		if err != nil {
			return err
		}
		_ = files.Remove(dest) // it is there if two steps need the file
		return files.Symlink(cached, dest)
	})
}

// keepFetching copies the small files of a running attempt to this host every syncInterval, until
// ctx ends.
func keepFetching(ctx context.Context, files *sftp.Client, from, to string) {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if fetch(files, from, to, true) != nil {
				return // the end of the attempt reports it
			}
		}
	}
}

// fetch copies the files of an attempt to this host, except the log, which the runner writes here.
// With small, it leaves out files larger than syncBytes, and files whose size has not changed.
// Otherwise it also removes the files that the worker has removed from its work directory.
func fetch(files *sftp.Client, from, to string, small bool) error {
	there := map[string]bool{}
	for w := files.Walk(from); w.Step(); {
		if err := w.Err(); err != nil {
			if small && errors.Is(err, fs.ErrNotExist) {
				continue // it was removed meanwhile
			}
			return err
		}
		info := w.Stat()
		rel, err := filepath.Rel(from, w.Path())
		if err != nil || rel == LogFile || !info.Mode().IsRegular() || !filepath.IsLocal(rel) {
			continue
		}
		dest := filepath.Join(to, rel)
		there[rel] = true
		if small {
			if here, err := os.Stat(dest); info.Size() > syncBytes || err == nil && here.Size() == info.Size() {
				continue
			}
		}
		if err := get(files, w.Path(), dest, info.Mode().Perm()); err != nil {
			if small && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
	}
	if small {
		return nil
	}
	return keepWork(to, there)
}

// keepWork removes the files of the work directory below out that are not in keep, and the
// directories that are then empty. Keys are relative to out. The worker removes only its work
// directory; other files may be here that never were there, such as reused artifacts.
func keepWork(out string, keep map[string]bool) error {
	var dirs []string
	work := filepath.Join(out, worker.WorkDir)
	err := filepath.WalkDir(work, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == work {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
			return nil
		}
		rel, err := filepath.Rel(out, p)
		if err != nil || keep[rel] {
			return err
		}
		return os.Remove(p)
	})
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d) // it fails if there is something in it
	}
	return err
}

func get(files *sftp.Client, from, to string, mode fs.FileMode) error {
	in, err := files.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode|0o600)
	if err != nil {
		return err
	}
	_, err = in.WriteTo(out)
	return errors.Join(err, out.Close())
}
