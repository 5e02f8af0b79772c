package qemu

import (
	"log/slog"

	"github.com/spicelane/spicelane/internal/hostport"
)

// Accel is the accelerator, which executes the guest's instructions.
type Accel string

const (
	AccelAuto Accel = "auto" // KVM where it is proven to work, else TCG
	KVM       Accel = "kvm"
	TCG       Accel = "tcg"
)

// Display is the kind of graphics device.
type Display string

const (
	QXL    Display = "qxl" // the default
	Virtio Display = "virtio"
	Std    Display = "std"
	// NoDisplay means no graphics device; SPICE then offers only inputs.
	NoDisplay Display = "none"
)

// Compression is SPICE's image-compression.
type Compression string

const (
	CompressionOff     Compression = "off"
	CompressionAutoGLZ Compression = "auto_glz" // QEMU's own default
	CompressionAutoLZ  Compression = "auto_lz"
	CompressionQUIC    Compression = "quic"
	CompressionGLZ     Compression = "glz"
	CompressionLZ      Compression = "lz"
)

// Compressions lists every Compression.
func Compressions() []Compression {
	return []Compression{CompressionOff, CompressionAutoGLZ, CompressionAutoLZ, CompressionQUIC, CompressionGLZ, CompressionLZ}
}

// Config describes a machine. Start requires Dir; everything else has a default. Prepare fills in
// what depends on files or on the host.
type Config struct {
	// Name is the machine's name in QEMU and in errors; "" means "machine".
	Name string

	// UUID is the machine's SMBIOS UUID; "" leaves it to QEMU (zeros).
	UUID string

	// Dir is the directory of serial.log, qemu.log, qemu.argv and qmp.ndjson. It is created if
	// missing. Existing files are appended to.
	Dir string

	// SocketDir is the directory of the QMP and serial sockets; "" means Dir. It must be short: a
	// socket path has at most 107 bytes.
	SocketDir string

	// Binary is QEMU's program; "" means FindQEMU's.
	Binary string

	// Firmware is the UEFI firmware. Zero means QEMU's built-in BIOS; Prepare
	// fills in FindOVMF's unless BIOS is set.
	Firmware Firmware

	// BIOS stops Prepare from looking for UEFI firmware.
	BIOS bool

	// Image is the guest's disk image. Prepare puts a qcow2 overlay above it and sets Disk; Argv
	// and Start use only Disk.
	Image string

	// Disk is the writable qcow2 image that the machine uses; "" means none.
	Disk string

	// Kernel, Initrd and Append boot a Linux kernel directly.
	Kernel, Initrd, Append string

	// MemoryMiB is the guest's memory in MiB; 0 means 256.
	MemoryMiB int

	// CPUs is the number of processors; 0 means 1.
	CPUs int

	// CPU is the processor model; "" means "host" under KVM, "max" under TCG.
	CPU string

	// Accel is the accelerator; "" means auto. Argv accepts only a decided one.
	Accel Accel

	// Display is the graphics device; "" means QXL.
	Display Display

	// DBusDisplay makes Machine.Screen read the picture from QEMU's D-Bus display. Start sets it if
	// this QEMU supports it and there is a graphics device.
	DBusDisplay bool

	// Spice configures the SPICE server. Zero means none.
	Spice Spice

	// Agent adds the virtio port that SPICE's guest agent uses.
	Agent bool

	// Audio adds a sound card connected to SPICE's playback and record
	// channels, or to nothing without SPICE.
	Audio bool

	// Tablet adds a USB tablet: absolute pointer positions.
	Tablet bool

	// NICs are network cards, without option ROMs: iPXE costs about 5 s per card at boot.
	NICs []NIC

	// Devices are values for further -device options.
	Devices []string

	// Args are further arguments, put last.
	Args []string

	// Paused starts the machine with its processors stopped.
	Paused bool

	// LoadState is a file with state from Machine.SaveState, which Start restores instead of
	// booting; "" boots. The rest of the configuration must be that of the saved machine. Disk and
	// Firmware.Vars must be copies made while it was paused after saving.
	LoadState string

	// Said is what the guest had printed on its console when LoadState was saved. The machine's
	// console begins with it, so that it looks like the console of a guest that has booted. Without
	// LoadState it is ignored.
	Said []byte

	// LoopResets is how many resets by the guest itself count as a loop, which ends the machine.
	// Each must come within 15 s of the previous one, and all together must take at least 2 s. 0
	// means 10, negative means no limit.
	LoopResets int

	// OnReset is called for each reset of the machine. It must not block.
	OnReset func(Reset)

	// Logger gets the machine's events. Nil discards them.
	Logger *slog.Logger
}

// Spice configures QEMU's SPICE server. It listens on a unix socket or on
// TCP, not both.
type Spice struct {
	// Unix is the path of a unix socket; "" means TCP.
	Unix string

	// Addr is the IP address to listen on; "" means 127.0.0.1.
	Addr string

	// Port and TLSPort are TCP ports, 1 to 65535. 0 means none. With AnyPort, Start picks a free
	// port, and another one if that is taken meanwhile; Machine.Spice says which.
	Port, TLSPort int

	// X509Dir contains ca-cert.pem, server-cert.pem and server-key.pem. Required with TLSPort.
	X509Dir string

	// TLSChannels names the channels that are allowed only over TLS, such as "main" or "inputs";
	// "default" means all.
	TLSChannels []string

	// Ticket is the clients' password, at most 59 bytes; "" means none. It reaches QEMU through a
	// pipe.
	Ticket string

	// Compression is the image compression; "" leaves it to QEMU.
	Compression Compression

	// SingleClient keeps the server's own rule that a new client disconnects the previous one. By
	// default several may be connected, so that a person's viewer does not end a test. An
	// environment variable tells the server to allow that.
	SingleClient bool

	// Streaming is streaming-video: "off", "all" or "filter"; "" leaves it
	// to QEMU (off).
	Streaming string
}

// AnyPort tells Start to pick a free TCP port.
const AnyPort = -1

// manyClients is the environment variable that lets spice-server serve more
// than one client at a time.
const manyClients = "SPICE_DEBUG_ALLOW_MC=1"

// env returns what the server needs in QEMU's environment.
func (s Spice) env() []string {
	if s.enabled() && !s.SingleClient {
		return []string{manyClients}
	}
	return nil
}

// enabled reports whether there is a SPICE server at all.
func (s Spice) enabled() bool { return s.Unix != "" || s.Port != 0 || s.TLSPort != 0 }

func (s Spice) addr() string {
	if s.Addr == "" {
		return "127.0.0.1"
	}
	return hostport.Bare(s.Addr)
}

// NIC is a network card.
type NIC struct {
	Model   string // "" means virtio-net-pci
	Backend string // a -netdev value without its id, such as "user,restrict=on"; "" means that
}

func (c Config) name() string {
	if c.Name == "" {
		return "machine"
	}
	return c.Name
}

func (c Config) binary() string {
	if c.Binary == "" {
		return defaultBinary
	}
	return c.Binary
}

func (c Config) memory() int {
	if c.MemoryMiB == 0 {
		return 256
	}
	return c.MemoryMiB
}

func (c Config) cpus() int {
	if c.CPUs == 0 {
		return 1
	}
	return c.CPUs
}

func (c Config) cpu() string {
	switch {
	case c.CPU != "":
		return c.CPU
	case c.Accel == KVM:
		return "host"
	default:
		return "max"
	}
}

func (c Config) display() Display {
	if c.Display == "" {
		return QXL
	}
	return c.Display
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}
