package qemu_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/spicelane/spicelane/harness/qemu"
)

// full returns a configuration with all options that fit together.
func full() qemu.Config {
	return qemu.Config{
		Name:      "lane, the first",
		UUID:      "6f4e2c1a-0000-4000-8000-000000000001",
		Dir:       "/lane/logs",
		SocketDir: "/run/l1",
		Binary:    "/usr/bin/qemu-system-x86_64",
		Firmware:  qemu.Firmware{Code: "/fw/CODE.fd", Vars: "/lane/vars.fd"},
		Disk:      "/lane/a,b/disk.qcow2",
		Kernel:    "/boot/vmlinuz", Initrd: "/boot/initrd.img", Append: "console=ttyS0 quiet",
		MemoryMiB: 512,
		CPUs:      2,
		Accel:     qemu.KVM,
		Display:   qemu.Virtio,
		Spice: qemu.Spice{
			Addr: "::1", Port: 5930, TLSPort: 5931, X509Dir: "/lane/x509", TLSChannels: []string{"main", "inputs"},
			Ticket: "secret", Compression: qemu.CompressionGLZ, Streaming: "all",
		},
		Agent: true, Audio: true, Tablet: true,
		NICs:      []qemu.NIC{{}, {Model: "e1000e", Backend: "socket,listen=:1234"}},
		Devices:   []string{"virtio-rng-pci"},
		Args:      []string{"-global", "PIIX4_PM.disable_s3=1"},
		Paused:    true,
		LoadState: "/lane/state",
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	smallest := qemu.Config{Dir: "/lane", Accel: qemu.TCG}
	beacon := qemu.Config{
		Name: "beacon", Dir: "/lane", Accel: qemu.TCG, Disk: "/lane/disk.qcow2",
		Firmware: qemu.Firmware{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/lane/vars.fd"},
		Spice:    qemu.Spice{Unix: "/lane/spice.sock", Ticket: "secret", Compression: qemu.CompressionAutoGLZ},
	}
	for name, cfg := range map[string]qemu.Config{"smallest": smallest, "beacon": beacon, "full": full()} {
		t.Run(name, func(t *testing.T) {
			args, err := qemu.Argv(cfg)
			require.NoError(t, err)
			got := qemu.CommandLine(args) + "\n"
			file := filepath.Join("testdata", "argv", name+".golden")
			if os.Getenv("SPICELANE_UPDATE") != "" {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "SPICELANE_UPDATE=1 writes it")
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s differs (-want +got), SPICELANE_UPDATE=1 writes it:\n%s", file, diff)
			}
		})
	}
}

func TestTheTicketIsNeverInArgv(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := full()
		cfg.Spice.Ticket = rapid.StringMatching(`T[A-Z0-9]{8,40}`).Draw(t, "ticket")
		args, err := qemu.Argv(cfg)
		require.NoError(t, err)
		assert.NotContains(t, strings.Join(args, " "), cfg.Spice.Ticket)
		assert.NotContains(t, qemu.CommandLine(args), cfg.Spice.Ticket)
		assert.NotContains(t, strings.Join(args, " "), "disable-ticketing")
	})
}

func TestArgvRefusesWhatQEMUWouldMisunderstand(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("d", 99)
	tests := []struct {
		name   string
		change func(*qemu.Config)
		want   string
	}{
		{"no directory", func(c *qemu.Config) { c.Dir = "" }, "no directory"},
		{"accelerator open", func(c *qemu.Config) { c.Accel = qemu.AccelAuto }, "still to be chosen"},
		{"unknown accelerator", func(c *qemu.Config) { c.Accel = "hax" }, `no accelerator "hax"`},
		{"unknown display", func(c *qemu.Config) { c.Display = "cirrus" }, `no display device "cirrus"`},
		{"not a UUID", func(c *qemu.Config) { c.UUID = "beacon" }, "not a UUID"},
		{"firmware without variables", func(c *qemu.Config) { c.Firmware.Vars = "" }, "code and its variables"},
		{"negative memory", func(c *qemu.Config) { c.MemoryMiB = -1 }, "cannot be"},
		{"initrd without kernel", func(c *qemu.Config) { c.Kernel = "" }, "without a kernel"},
		{"agent without SPICE", func(c *qemu.Config) { c.Spice = qemu.Spice{} }, "needs a SPICE server"},
		{"socket and port", func(c *qemu.Config) { c.Spice.Unix = "/run/s" }, "not both"},
		{"port still open", func(c *qemu.Config) { c.Spice.Port = qemu.AnyPort }, "still to be chosen"},
		{"port out of range", func(c *qemu.Config) { c.Spice.Port = 65536 }, "not between 1 and 65535"},
		{"name for an address", func(c *qemu.Config) { c.Spice.Addr = "localhost" }, "not an IP address"},
		{"TLS without certificates", func(c *qemu.Config) { c.Spice.X509Dir = "" }, "needs a directory with certificates"},
		{"ticket too long", func(c *qemu.Config) { c.Spice.Ticket = strings.Repeat("x", 60) }, "keeps only the first 59"},
		{"unknown compression", func(c *qemu.Config) { c.Spice.Compression = "zstd" }, `no image compression "zstd"`},
		{"unknown streaming", func(c *qemu.Config) { c.Spice.Streaming = "some" }, `no video streaming "some"`},
		{"long socket path", func(c *qemu.Config) { c.SocketDir = long }, "107 bytes, this one has 109"},
		{"long SPICE socket path", func(c *qemu.Config) { c.Spice = qemu.Spice{Unix: long + long} }, "107 bytes, this one has 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := full()
			tt.change(&cfg)
			_, err := qemu.Argv(cfg)
			var conf *qemu.ConfigError
			require.ErrorAs(t, err, &conf)
			assert.Contains(t, err.Error(), tt.want)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestTheLongestSocketPathIsTaken(t *testing.T) {
	t.Parallel()
	cfg := full()
	cfg.SocketDir = "/" + strings.Repeat("d", 107-len("/serial.sock")-1)
	_, err := qemu.Argv(cfg)
	require.NoError(t, err)
}

// A shell must read back exactly the arguments that were written for it.
func TestACommandLineSurvivesTheShell(t *testing.T) {
	t.Parallel()
	args := []string{"printf", `%s\n`, "-plain", "a b", "it's", `"quoted"`, "$HOME", "new\nline", "*", "", "a,,b=c"}
	out, err := exec.Command("sh", "-c", qemu.CommandLine(args)).Output()
	require.NoError(t, err)
	assert.Equal(t, strings.Join(args[2:], "\n")+"\n", string(out))
}

func TestACommandLineThatNeedsATicketGetsOne(t *testing.T) {
	t.Parallel()
	args := []string{"sh", "-c", "cat /dev/fd/4; echo; echo $1", "-object", "secret,id=ticket,file=/dev/fd/4"}
	out, err := exec.Command("sh", "-c", qemu.CommandLine(args)).Output()
	require.NoError(t, err)
	assert.Equal(t, "ticket\nsecret,id=ticket,file=/dev/fd/4\n", string(out))
}
