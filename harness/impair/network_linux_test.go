package impair_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/spicelane/spicelane/harness/impair"
)

// The namespaces, the path through them and their end are tested with queueing disciplines that
// more kernels have than netem: a token bucket (tbf) for the rate, and a short queue (pfifo) for
// loss. If netem is available, it is tested itself.

func init() {
	if os.Getenv(partEnv) != "" {
		part = holdRelay
		return
	}
	if impair.MayMakeNamespaces() == nil {
		places["in kernel"] = func(*testing.T) impair.Config { return inKernel(impair.Config{}) }
	}
}

// requireNamespaces is for tests that not every user may run. For other users, the relay is the one
// in process, which TestAutoTakesTheKernelWhereItCanBeHad covers.
func requireNamespaces(t *testing.T) {
	t.Helper()
	if err := impair.MayMakeNamespaces(); err != nil {
		t.Skip(err)
	}
}

// inKernel makes the kernel implement a Profile's rate, and nothing else of it.
func inKernel(cfg impair.Config) impair.Config {
	return impair.InKernelBy(cfg, func(attrs netlink.QdiscAttrs, l impair.Profile) netlink.Qdisc {
		rate := uint64(l.Rate)
		if rate == 0 {
			rate = 1 << 31
		}
		const burst = 16 << 10
		return &netlink.Tbf{QdiscAttrs: attrs, Rate: rate, Limit: 4 << 20, Buffer: netlink.Xmittime(rate, burst)}
	})
}

// shortQueue drops what does not fit. TCP's window is larger, so it always drops something.
func shortQueue(cfg impair.Config) impair.Config {
	return impair.InKernelBy(cfg, func(attrs netlink.QdiscAttrs, l impair.Profile) netlink.Qdisc {
		const rate, burst = 4 << 20, 4 << 10
		return &netlink.Tbf{QdiscAttrs: attrs, Rate: rate, Limit: 8 << 10, Buffer: netlink.Xmittime(rate, burst)}
	})
}

// strace has shown that tc(8) makes the same messages from the arguments beside them. An exception
// is the last bit of a loss, which tc(8) rounds.
func TestWhatNetemIsTold(t *testing.T) {
	requireClock(t)
	attrs := netlink.QdiscAttrs{LinkIndex: 2, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	const unlimited = 12_500_000_000
	for _, c := range []struct {
		link impair.Profile
		tc   string // the same as arguments of tc(8)
		want netlink.Netem
	}{
		{impair.Profile{}, "netem limit 100000 rate 100gbit",
			netlink.Netem{Limit: 100_000, Rate64: unlimited}},
		{impair.Profile{Delay: 40 * time.Millisecond}, "netem limit 100000 delay 40ms rate 100gbit",
			netlink.Netem{Limit: 100_000, Latency: 625_000, Rate64: unlimited}},
		{impair.Profile{Delay: 40 * time.Millisecond, Jitter: 10 * time.Millisecond}, "netem limit 100000 delay 40ms 10ms rate 100gbit",
			netlink.Netem{Limit: 100_000, Latency: 625_000, Jitter: 156_250, Rate64: unlimited}},
		{impair.Profile{Loss: 0.01}, "netem limit 100000 loss 1% rate 100gbit",
			netlink.Netem{Limit: 100_000, Loss: 42_949_672, Rate64: unlimited}},
		{impair.Profile{Loss: 1}, "netem limit 100000 loss 100% rate 100gbit",
			netlink.Netem{Limit: 100_000, Loss: 4_294_967_295, Rate64: unlimited}},
		{impair.Profile{Rate: 125_000}, "netem limit 100 rate 1mbit",
			netlink.Netem{Limit: 100, Rate64: 125_000}},
		{impair.Profile{Delay: time.Second, Rate: 1_500_000}, "netem limit 2000 delay 1s rate 12mbit",
			netlink.Netem{Limit: 2000, Latency: 15_625_000, Rate64: 1_500_000}},
		{impair.Profile{Delay: time.Minute, Rate: 1 << 40}, "netem limit 100000 delay 60s rate 8796093022208bit",
			netlink.Netem{Limit: 100_000, Latency: 937_500_000, Rate64: 1 << 40}},
	} {
		c.want.QdiscAttrs = attrs
		if diff := cmp.Diff(&c.want, impair.Netem(attrs, c.link)); diff != "" {
			t.Errorf("%v, tc qdisc add dev leg root handle 1: %s (-want +got):\n%s", c.link, c.tc, diff)
		}
	}
}

// requireClock requires the tick that Linux has had since 2.6: 64 ns.
func requireClock(t *testing.T) {
	t.Helper()
	require.Equal(t, 15.625, netlink.TickInUsec(), "ticks of the kernel's packet scheduler in a microsecond")
}

func TestTheKernelsWayKeepsEveryByteInOrder(t *testing.T) {
	requireNamespaces(t)
	r, c, _ := startIn(t, inKernel(impair.Config{}))
	requireEchoed(t, c)
	bytes, _, err := r.Passed()
	require.NoError(t, err)
	require.Greater(t, bytes, uint64(1<<20), "it went through the kernel's queue")
}

func TestTheKernelBoundsWhatPasses(t *testing.T) {
	requireNamespaces(t)
	r, c, _ := startIn(t, inKernel(impair.Config{}))
	require.NoError(t, r.Set(impair.Profile{Rate: 1 << 20}))
	began := time.Now()
	go func() {
		_, _ = c.Write(make([]byte, 512<<10))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	n, err := io.Copy(io.Discard, c)
	require.NoError(t, err)
	require.EqualValues(t, 512<<10, n)
	require.GreaterOrEqual(t, time.Since(began), 450*time.Millisecond)
	require.Equal(t, int64(1<<20), r.Profile().Rate)
}

// The kernel sends dropped packets again, and no byte is missing.
func TestWhatTheKernelLosesIsSentAgain(t *testing.T) {
	requireNamespaces(t)
	r, c, _ := startIn(t, shortQueue(impair.Config{}))
	requireEchoed(t, c)
	_, drops, err := r.Passed()
	require.NoError(t, err)
	require.NotZero(t, drops)
	t.Logf("%d packets were lost", drops)
}

// A packet that is lost is one segment. The kernel would give a device more than that at once.
func TestPacketsOnTheKernelsWayHaveOneSegment(t *testing.T) {
	requireNamespaces(t)
	r, c, _ := startIn(t, inKernel(impair.Config{}))
	requireEchoed(t, c)
	var devices []netlink.Link
	require.NoError(t, r.InsideNear(func() (err error) {
		devices, err = netlink.LinkList()
		return err
	}))
	i := slices.IndexFunc(devices, func(l netlink.Link) bool { return l.Type() == "veth" })
	require.GreaterOrEqual(t, i, 0)
	a := devices[i].Attrs()
	require.Equal(t, 1500, a.MTU)
	require.EqualValues(t, 1, a.GSOMaxSegs)
	require.NotZero(t, a.Statistics.TxPackets)
	require.LessOrEqual(t, a.Statistics.TxBytes/a.Statistics.TxPackets, uint64(1514))
	require.Greater(t, a.Statistics.TxPackets, uint64((1<<20)/1460))
}

func TestWhoMadeANamespaceIsNotInIt(t *testing.T) {
	requireNamespaces(t)
	home, err := impair.ThreadNamespace()
	require.NoError(t, err)
	r, c, _ := startIn(t, inKernel(impair.Config{}))
	roundTrip(t, c)
	var inside string
	require.NoError(t, r.InsideNear(func() (err error) {
		inside, err = impair.ThreadNamespace()
		return err
	}))
	require.NotEqual(t, home, inside)
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	require.NoError(t, err)
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil { // a thread may have just ended
			require.Equal(t, home, ns, task)
		}
	}
}

// holders returns the processes, threads and open files that keep one of the namespaces alive.
func holders(ids []string) (found []string) {
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if to, err := os.Readlink(f); err == nil && slices.Contains(ids, to) {
				found = append(found, f+" → "+to)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, id := range ids {
		if strings.Contains(string(mounts), id) {
			found = append(found, id+" is mounted")
		}
	}
	return found
}

func TestAClosedRelaysNamespacesAreLetGoOf(t *testing.T) {
	requireNamespaces(t)
	addr, _ := echoServer(t)
	r, err := impair.Start(t.Context(), inKernel(impair.Config{Network: "tcp", Addr: addr}))
	require.NoError(t, err)
	c, err := net.Dial("tcp", r.Addr())
	require.NoError(t, err)
	defer c.Close()
	roundTrip(t, c)
	ids := r.Namespaces()
	require.NotEmpty(t, holders(ids))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Empty(t, holders(ids))
}

// partEnv makes the test binary hold a relay instead of running tests.
const partEnv = "IMPAIR_TEST_PART"

func holdRelay() {
	if err := hold(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func hold() error {
	r, err := impair.Start(context.Background(), inKernel(impair.Config{Network: "tcp", Addr: os.Getenv(partEnv)}))
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		return err
	}
	if _, err = c.Write([]byte{'x'}); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(r.Namespaces(), " "))
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, r.Close())
}

func TestAKilledProcessLeavesNoNamespace(t *testing.T) {
	requireNamespaces(t)
	addr, ended := echoServer(t)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), partEnv+"="+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	ids := strings.Fields(line)
	require.Len(t, ids, 2)
	require.NotEmpty(t, holders(ids))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait(), "it was killed")
	require.Empty(t, holders(ids))
	<-ended
}

// The effects of netem itself, on a kernel that has it.
func TestNetemDelaysAndLoses(t *testing.T) {
	requireNamespaces(t)
	if err := impair.Probe(); err != nil {
		t.Skip(err)
	}
	r, c, _ := startIn(t, impair.Config{In: impair.InKernel, Profile: impair.Profile{Delay: 50 * time.Millisecond}})
	require.GreaterOrEqual(t, roundTrip(t, c), 100*time.Millisecond)
	require.NoError(t, r.Set(impair.Profile{Loss: 0.05}))
	for roundTrip(t, c) >= 100*time.Millisecond {
		require.NoError(t, t.Context().Err())
	}
	requireEchoed(t, c)
	_, drops, err := r.Passed()
	require.NoError(t, err)
	require.NotZero(t, drops)
}
