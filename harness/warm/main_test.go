package warm_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/warm"
)

// envAct turns the test binary into another process that works on a cache. It takes what the word
// says, prints so, and holds it until it is killed or its standard input ends.
const envAct = "WARM_TEST_ACT"

func TestMain(m *testing.M) {
	if act := os.Getenv(envAct); act != "" {
		if err := play(act, os.Args[1]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// play is the other process. Its cache's directory is dir, and its machine is machineIn(dir).
func play(act, dir string) error {
	cache := &warm.Cache{Dir: filepath.Join(dir, "warm"), MaxBytes: 1 << 30}
	id, err := cache.Identify(context.Background(), machineIn(dir))
	if err != nil {
		return err
	}
	hold := func() error {
		fmt.Println("ready")
		_, err := os.Stdin.Read(make([]byte, 1))
		_ = err // the end of the input
		return nil
	}
	switch act {
	case "claim", "draft":
		c, err := cache.Claim(id)
		if err != nil {
			return err
		}
		defer c.Close()
		if act == "draft" {
			d, err := c.Draft()
			if err != nil {
				return err
			}
			if err := os.WriteFile(d.Path(warm.StatePart), make([]byte, 1<<16), 0o600); err != nil {
				return err
			}
		}
		return hold()
	case "open":
		e, err := cache.Open(id)
		if err != nil {
			return err
		}
		defer e.Close()
		return hold()
	case "verify":
		e, err := cache.Open(id)
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Verify(context.Background())
	case "publish-for-ever":
		fmt.Println("ready")
		for {
			c, err := cache.Claim(id)
			if err != nil {
				return err
			}
			d, err := c.Draft()
			if err != nil {
				return err
			}
			if err := os.WriteFile(d.Path(warm.StatePart), bytes.Repeat([]byte("state"), 1<<14), 0o600); err != nil {
				return err
			}
			if _, err := d.Publish(context.Background(), warm.Saved{}); err != nil {
				return err
			}
			if err := c.Close(); err != nil {
				return err
			}
			e, err := cache.Open(id)
			if err != nil {
				return err
			}
			if err := e.Discard(); err != nil {
				return err
			}
			if err := e.Close(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("what is %q?", act)
}

// another starts the other process and waits until it holds what it was told to hold. end kills it,
// because nothing else is certain to end it.
func another(t *testing.T, act, dir string) (end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), envAct+"="+act)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = in.Close()
		}
	}
	t.Cleanup(end)
	word := make([]byte, 200)
	n, err := out.Read(word)
	require.NoError(t, err)
	require.Equal(t, "ready", strings.TrimSpace(string(word[:n])))
	return end
}

// machineIn describes a machine whose parts are small files in dir, created on first use. It is
// never started.
func machineIn(dir string) qemu.Config {
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
				panic(err)
			}
		}
		return path
	}
	return qemu.Config{
		Name: "lane-1", UUID: "6f4e2c1a-0000-0000-0000-000000000001",
		Dir: filepath.Join(dir, "lane-1"), SocketDir: filepath.Join(dir, "run-1"),
		Binary:   file("qemu", "the emulator"),
		Firmware: qemu.Firmware{Code: file("code.fd", "firmware"), Vars: file("vars.fd", "variables")},
		Image:    file("image.raw", "a disk without a partition"),
		Accel:    qemu.TCG,
		Agent:    true,
		Spice:    qemu.Spice{Unix: filepath.Join(dir, "run-1", "spice.sock"), Ticket: "secret one"},
	}
}

// newCache returns a cache in its own directory, with the machine of machineIn.
func newCache(t *testing.T) (cache *warm.Cache, dir string, machine qemu.Config) {
	t.Helper()
	dir = t.TempDir()
	return &warm.Cache{Dir: filepath.Join(dir, "warm"), MaxBytes: 1 << 30}, dir, machineIn(dir)
}

func identify(t *testing.T, cache *warm.Cache, machine qemu.Config) warm.Identity {
	t.Helper()
	id, err := cache.Identify(context.Background(), machine)
	require.NoError(t, err)
	return id
}

// The files that a test saves. The disk is an image that QEMU would accept.
func parts(t *testing.T) map[string][]byte {
	t.Helper()
	disk, err := os.ReadFile("../../fixtures/images/beacon.qcow2")
	require.NoError(t, err)
	return map[string][]byte{
		warm.StatePart: bytes.Repeat([]byte("QEVM state "), 300_000), // more than one read
		warm.DiskPart:  disk,
		warm.VarsPart:  []byte("variables, written to"),
		warm.SaidPart:  []byte("BdsDxe: starting\r\nHello\r\n"),
	}
}

// save saves files for the identity.
func save(t *testing.T, cache *warm.Cache, id warm.Identity, files map[string][]byte) {
	t.Helper()
	require.NoError(t, trySave(cache, id, files))
}

func trySave(cache *warm.Cache, id warm.Identity, files map[string][]byte) error {
	claim, err := cache.Claim(id)
	if err != nil {
		return err
	}
	defer claim.Close()
	draft, err := claim.Draft()
	if err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(draft.Path(name), b, 0o600); err != nil {
			return err
		}
	}
	_, err = draft.Publish(context.Background(), warm.Saved{QEMU: "7.2.22", At: time.Unix(1700000000, 0).UTC()})
	return err
}

// open opens an entry for the duration of the test.
func open(t *testing.T, cache *warm.Cache, id warm.Identity) *warm.Entry {
	t.Helper()
	e, err := cache.Open(id)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// entries returns the names of the entries in the cache, without other files.
func entries(t *testing.T, cache *warm.Cache) (keys, leftovers []string) {
	t.Helper()
	list, err := os.ReadDir(cache.Dir)
	require.NoError(t, err)
	for _, e := range list {
		switch b, err := hex.DecodeString(e.Name()); {
		case err == nil && len(b) == 32:
			keys = append(keys, e.Name())
		case strings.HasPrefix(e.Name(), ".tmp-"):
			leftovers = append(leftovers, e.Name())
		}
	}
	return keys, leftovers
}
