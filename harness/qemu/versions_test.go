package qemu_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
)

// A recordedQEMU is what a version of QEMU reports about itself, from testdata/versions. Its lists
// are sorted by the option that asks for them: "--version", "-display", "-spice", "-help",
// "-device".
type recordedQEMU map[string][]string

func readQEMU(t *testing.T, path string) recordedQEMU {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	r := make(recordedQEMU)
	for _, section := range strings.Split(string(b), "# qemu-system-x86_64 ")[1:] {
		title, words, _ := strings.Cut(section, "\n")
		asked := strings.FieldsFunc(title, func(c rune) bool { return c == ' ' || c == ':' })[0]
		r[asked] = strings.Fields(words)
		require.NotEmpty(t, r[asked], "%s: %s", path, title)
	}
	require.Len(t, r, 5, path)
	return r
}

// program writes a QEMU that answers like the recorded one.
func (r recordedQEMU) program(t *testing.T) string {
	return program(t, `case "$1" in
--version) echo "`+strings.Join(r["--version"], " ")+`" ;;
-display) printf '%s\n' `+strings.Join(r["-display"], " ")+` ;;
-spice) printf '  %s=<str>\n' `+strings.Join(r["-spice"], " ")+` ;;
esac`)
}

// unknown returns the options, devices, displays and SPICE options in args that this QEMU does not
// have.
func (r recordedQEMU) unknown(args []string) []string {
	var unknown []string
	see := func(list, word string) {
		if !slices.Contains(r[list], word) {
			unknown = append(unknown, list+" "+word)
		}
	}
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		see("-help", arg)
		switch arg {
		case "-device", "-display":
			name, _, _ := strings.Cut(args[i+1], ",")
			if name != "none" {
				see(arg, name)
			}
		case "-spice":
			for _, option := range strings.Split(args[i+1], ",") {
				name, _, _ := strings.Cut(option, "=")
				see(arg, name)
			}
		}
	}
	return unknown
}

// The golden files are what lanes run with each version of QEMU that they are tested with. They are
// for a lane of Beacon with each display device, and a machine with all options that fit together.
func TestTheArgvForEachSupportedQEMUIsGoldenAndOfWordsThatItKnows(t *testing.T) {
	t.Parallel()
	recordings, err := filepath.Glob("testdata/versions/*.txt")
	require.NoError(t, err)
	require.Len(t, recordings, 3)
	for _, recording := range recordings {
		version := strings.TrimSuffix(filepath.Base(recording), ".txt")
		t.Run(version, func(t *testing.T) {
			r := readQEMU(t, recording)
			binary := r.program(t)
			said, err := qemu.Version(t.Context(), binary)
			require.NoError(t, err)
			require.Contains(t, said, " "+version+".")
			require.NoError(t, qemu.CheckVersion(said))
			require.NoError(t, qemu.HasSPICE(t.Context(), binary))
			all := full()
			cfgs := []qemu.Config{all}
			for _, display := range []qemu.Display{qemu.QXL, qemu.Virtio, qemu.Std} {
				cfgs = append(cfgs, qemu.Config{
					Name: "beacon", Dir: "/lane", Accel: qemu.TCG, Disk: "/lane/disk.qcow2", Display: display,
					Firmware: qemu.Firmware{Code: "/fw/CODE.fd", Vars: "/lane/vars.fd"},
					Spice:    qemu.Spice{Unix: "/lane/spice.sock", Ticket: "secret", Compression: qemu.CompressionAutoGLZ},
				})
			}
			var got strings.Builder
			for _, cfg := range cfgs {
				cfg.Binary = "/usr/bin/qemu-system-x86_64"
				cfg.DBusDisplay = qemu.HasDBusDisplay(t.Context(), binary)
				args, err := qemu.Argv(cfg)
				require.NoError(t, err)
				assert.Empty(t, r.unknown(args))
				got.WriteString(qemu.CommandLine(args) + "\n\n")
			}
			file := filepath.Join("testdata", "argv", "qemu-"+version+".golden")
			if os.Getenv("SPICELANE_UPDATE") != "" {
				require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "SPICELANE_UPDATE=1 writes it")
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s differs (-want +got), SPICELANE_UPDATE=1 writes it:\n%s", file, diff)
			}
		})
	}
}

func TestAWordThatAQEMUDoesNotKnowIsSeen(t *testing.T) {
	t.Parallel()
	r := recordedQEMU{"-help": {"-device", "-display", "-spice"}, "-device": {"VGA"}, "-display": {"dbus"}, "-spice": {"addr"}}
	require.Empty(t, r.unknown([]string{"qemu", "-device", "VGA,id=video0", "-display", "none", "-display", "dbus,p2p=yes", "-spice", "addr=::1"}))
	require.Equal(t, []string{"-device qxl", "-display gtk", "-spice port", "-help -new"},
		r.unknown([]string{"qemu", "-device", "qxl", "-display", "gtk", "-spice", "addr=::1,port=1", "-new", "x"}))
}

func TestAnOldQEMUIsNamedWithTheOldestThatLanesAreTestedWith(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]string{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)": "",
		"QEMU emulator version 7.10.0":                                   "",
		"QEMU emulator version 8.0.0":                                    "",
		"QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)":  "",
		"QEMU emulator version 7.1.0 (qemu-7.1.0-3.fc37)":                "QEMU 7.1 is older than 7.2",
		"QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.26)":    "QEMU 6.2 is older than 7.2",
		"QEMU, a version of its own":                                     "does not tell its version",
	} {
		err := qemu.CheckVersion(version)
		if old == "" {
			require.NoError(t, err)
			continue
		}
		requireHostError(t, err, old, "set SPICELANE_QEMU to a newer one")
	}
}
