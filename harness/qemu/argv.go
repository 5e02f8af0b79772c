package qemu

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxSocketPath is the greatest length of a unix socket's path, in bytes: sockaddr_un has 108 with
// the terminating zero (unix(7)).
const maxSocketPath = 107

// maxTicket is the greatest length of a ticket, in bytes. spice-protocol's
// SPICE_MAX_PASSWORD_LENGTH is 60 with the terminating zero; spice-server cuts off the rest.
const maxTicket = 59

// Files of a machine in Config.Dir.
const (
	SerialLog     = "serial.log"
	QEMULog       = "qemu.log"
	ArgvFile      = "qemu.argv"
	QMPTranscript = "qmp.ndjson"
)

// Sockets of a machine in Config.SocketDir.
const (
	qmpSocket    = "qmp.sock"
	toolSocket   = "tools.sock"
	serialSocket = "serial.sock"
)

// ticketFile is where QEMU reads the ticket: a pipe that it inherits from Start. So the ticket is
// never in a file, even if a process is killed.
const (
	ticketFD   = 4
	ticketFile = "/dev/fd/4"
)

func (c Config) socket(name string) string {
	if c.SocketDir != "" {
		return filepath.Join(c.SocketDir, name)
	}
	return filepath.Join(c.Dir, name)
}

// QMPSocket returns the path of the QMP socket for other programs. It serves one connection at a
// time; the machine's owner uses a separate connection.
func (c Config) QMPSocket() string { return c.socket(qmpSocket) }

// ToolSocket returns the path of the QMP socket for this program's own commands. Somebody who is
// connected to QMPSocket for hours must not make them wait.
func (c Config) ToolSocket() string { return c.socket(toolSocket) }

// Argv returns the command line for the machine, program first. It depends only on cfg. CommandLine
// converts it to a text for a shell. It never contains the ticket.
func Argv(cfg Config) ([]string, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	a := &argv{}
	a.add(cfg.binary())
	a.add("-name", option("guest="+escape(cfg.name()), "debug-threads=on"))
	if cfg.UUID != "" {
		a.add("-uuid", cfg.UUID)
	}
	a.add("-nodefaults", "-no-user-config", "-msg", "timestamp=on")
	a.machine(cfg)
	a.firmware(cfg)
	a.disk(cfg)
	a.kernel(cfg)
	a.display(cfg)
	a.spice(cfg)
	a.consoles(cfg)
	a.extras(cfg)
	if cfg.Paused {
		a.add("-S")
	}
	if cfg.LoadState != "" {
		a.add("-incoming", "defer")
	}
	a.add(cfg.Args...)
	return a.args, nil
}

type argv struct{ args []string }

func (a *argv) add(args ...string) { a.args = append(a.args, args...) }

func (a *argv) machine(cfg Config) {
	// vmport is VMware's backdoor. Nothing here uses it, and with it the PS/2 mouse may turn into
	// an absolute one.
	a.add("-machine", "q35,vmport=off")
	a.add("-accel", string(cfg.Accel))
	a.add("-cpu", cfg.cpu())
	a.add("-smp", strconv.Itoa(cfg.cpus()))
	a.add("-m", strconv.Itoa(cfg.memory())+"M")
	a.add("-rtc", "base=utc")
	// A guest that panics tells QEMU through this device (GUEST_PANICKED). It then stops, so that
	// its screen can still be read.
	a.add("-device", "pvpanic", "-action", "panic=pause")
}

func (a *argv) firmware(cfg Config) {
	if cfg.Firmware.Code == "" {
		return
	}
	a.add("-drive", option("if=pflash", "unit=0", "format="+formatOr(cfg.Firmware.CodeFormat), "readonly=on", "file="+escape(cfg.Firmware.Code)))
	a.add("-drive", option("if=pflash", "unit=1", "format="+formatOr(cfg.Firmware.VarsFormat), "file="+escape(cfg.Firmware.Vars)))
}

func (a *argv) disk(cfg Config) {
	if cfg.Disk == "" {
		return
	}
	// The overlay is deleted with the lane, so flushing it to the disk only costs time.
	a.add("-drive", option("if=none", "id=disk0", "format=qcow2", "cache=unsafe", "file="+escape(cfg.Disk)))
	a.add("-device", "virtio-blk-pci,drive=disk0,bootindex=0")
}

func (a *argv) kernel(cfg Config) {
	if cfg.Kernel == "" {
		return
	}
	a.add("-kernel", cfg.Kernel)
	if cfg.Initrd != "" {
		a.add("-initrd", cfg.Initrd)
	}
	if cfg.Append != "" {
		a.add("-append", cfg.Append)
	}
}

func (a *argv) display(cfg Config) {
	if cfg.DBusDisplay {
		a.add("-display", "dbus,p2p=yes")
	} else {
		a.add("-display", "none")
	}
	switch cfg.display() {
	case QXL:
		a.add("-device", "qxl-vga,id=video0")
	case Virtio:
		a.add("-device", "virtio-vga,id=video0")
	case Std:
		a.add("-device", "VGA,id=video0")
	}
}

func (a *argv) spice(cfg Config) {
	s := cfg.Spice
	if !s.enabled() {
		return
	}
	var opts []string
	if s.Unix != "" {
		opts = append(opts, "unix=on", "addr="+escape(s.Unix))
	} else {
		opts = append(opts, "addr="+s.addr())
		if s.Port != 0 {
			opts = append(opts, "port="+strconv.Itoa(s.Port))
		}
		if s.TLSPort != 0 {
			opts = append(opts, "tls-port="+strconv.Itoa(s.TLSPort), "x509-dir="+escape(s.X509Dir))
			for _, ch := range s.TLSChannels {
				opts = append(opts, "tls-channel="+ch)
			}
		}
	}
	if s.Ticket != "" {
		a.add("-object", option("secret", "id=ticket", "file="+ticketFile))
		opts = append(opts, "password-secret=ticket")
	} else {
		opts = append(opts, "disable-ticketing=on")
	}
	if s.Compression != "" {
		opts = append(opts, "image-compression="+string(s.Compression))
	}
	if s.Streaming != "" {
		opts = append(opts, "streaming-video="+s.Streaming)
	}
	a.add("-spice", option(opts...))
}

// consoles adds the serial console and QMP. QEMU itself writes the console into the log, so nothing
// is lost if another process dies.
func (a *argv) consoles(cfg Config) {
	a.add("-chardev", option("socket", "id=com1", "path="+escape(cfg.socket(serialSocket)), "server=on", "wait=off",
		"logfile="+escape(filepath.Join(cfg.Dir, SerialLog)), "logappend=on"))
	a.add("-serial", "chardev:com1")
	for _, monitor := range []struct{ id, path string }{{"qmp", cfg.QMPSocket()}, {"tools", cfg.ToolSocket()}} {
		a.add("-chardev", option("socket", "id="+monitor.id, "path="+escape(monitor.path), "server=on", "wait=off"))
		a.add("-mon", "chardev="+monitor.id+",mode=control")
	}
}

func (a *argv) extras(cfg Config) {
	if cfg.Agent {
		a.add("-device", "virtio-serial-pci,id=vserial0")
		a.add("-chardev", "spicevmc,id=agent,name=vdagent")
		a.add("-device", "virtserialport,chardev=agent,name=com.redhat.spice.0")
	}
	if cfg.Audio {
		backend := "none"
		if cfg.Spice.enabled() {
			backend = "spice"
		}
		a.add("-audiodev", backend+",id=audio0")
		a.add("-device", "ich9-intel-hda,id=sound0")
		a.add("-device", "hda-duplex,audiodev=audio0,bus=sound0.0")
	}
	if cfg.Tablet {
		a.add("-device", "qemu-xhci,id=usb0")
		a.add("-device", "usb-tablet,bus=usb0.0")
	}
	for i, nic := range cfg.NICs {
		model, backend := nic.Model, nic.Backend
		if model == "" {
			model = "virtio-net-pci"
		}
		if backend == "" {
			backend = "user,restrict=on"
		}
		id := "net" + strconv.Itoa(i)
		a.add("-netdev", option(backend, "id="+id))
		a.add("-device", option(model, "netdev="+id, "romfile="))
	}
	for _, d := range cfg.Devices {
		a.add("-device", d)
	}
}

func option(parts ...string) string { return strings.Join(parts, ",") }

// escape doubles commas, which end a value in QEMU's options.
func escape(v string) string { return strings.ReplaceAll(v, ",", ",,") }

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// check returns an error for what QEMU would refuse late or misunderstand.
func (c Config) check() error {
	bad := func(hint, format string, args ...any) error {
		return &ConfigError{What: fmt.Sprintf(format, args...), Hint: hint}
	}
	if c.Dir == "" {
		return bad("", "the machine has no directory for its logs")
	}
	if c.UUID != "" && !uuidForm.MatchString(c.UUID) {
		return bad("", "the machine's UUID %q is not a UUID", c.UUID)
	}
	switch c.Accel {
	case KVM, TCG:
	case AccelAuto, "":
		return bad("choose with ChooseAccel", "the accelerator is still to be chosen")
	default:
		return bad("use auto, kvm or tcg", "there is no accelerator %q", c.Accel)
	}
	switch c.display() {
	case QXL, Virtio, Std, NoDisplay:
	default:
		return bad("use qxl, virtio or std", "there is no display device %q", c.Display)
	}
	if (c.Firmware.Code == "") != (c.Firmware.Vars == "") {
		return bad("give both", "UEFI firmware needs its code and its variables")
	}
	if c.MemoryMiB < 0 || c.CPUs < 0 {
		return bad("", "memory of %d MiB and %d processors cannot be", c.MemoryMiB, c.CPUs)
	}
	if c.Kernel == "" && (c.Initrd != "" || c.Append != "") {
		return bad("", "an initrd or a kernel command line is given without a kernel")
	}
	if c.Agent && !c.Spice.enabled() {
		return bad("", "the agent's port needs a SPICE server")
	}
	if err := c.Spice.check(); err != nil {
		return err
	}
	for _, path := range []string{c.QMPSocket(), c.ToolSocket(), c.socket(serialSocket), c.Spice.Unix} {
		if len(path) > maxSocketPath {
			return bad("use a directory with a shorter name", "the path of a unix socket may have %d bytes, this one has %d: %s", maxSocketPath, len(path), path)
		}
	}
	return nil
}

func (s Spice) check() error {
	bad := func(hint, format string, args ...any) error {
		return &ConfigError{What: fmt.Sprintf(format, args...), Hint: hint}
	}
	if s.Unix != "" && (s.Port != 0 || s.TLSPort != 0) {
		return bad("choose one", "SPICE can listen on a unix socket or on TCP ports, not both")
	}
	if s.Addr != "" {
		if _, err := netip.ParseAddr(s.Addr); err != nil {
			return bad("", "SPICE's address %q is not an IP address", s.Addr)
		}
	}
	for _, port := range []int{s.Port, s.TLSPort} {
		if port == AnyPort {
			return bad("Start picks it", "SPICE's port is still to be chosen")
		}
		if port < 0 || port > 65535 {
			return bad("", "SPICE's port %d is not between 1 and 65535", port)
		}
	}
	if s.TLSPort != 0 && s.X509Dir == "" {
		return bad("", "SPICE's TLS port needs a directory with certificates")
	}
	if len(s.Ticket) > maxTicket {
		return bad("", "the SPICE ticket has %d bytes, and spice-server keeps only the first %d of one, so that no client's would match", len(s.Ticket), maxTicket)
	}
	switch s.Compression {
	case "", CompressionOff, CompressionAutoGLZ, CompressionAutoLZ, CompressionQUIC, CompressionGLZ, CompressionLZ:
	default:
		return bad(fmt.Sprintf("use one of %v", Compressions()), "there is no image compression %q", s.Compression)
	}
	switch s.Streaming {
	case "", "off", "all", "filter":
	default:
		return bad("use off, all or filter", "there is no video streaming %q", s.Streaming)
	}
	return nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// CommandLine returns a command line for a POSIX shell, one option with its values per line. If
// QEMU reads a ticket, the command line passes it the word "ticket" instead.
func CommandLine(args []string) string {
	var b strings.Builder
	asksTicket := slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, "file="+ticketFile) })
	if asksTicket {
		b.WriteString("printf ticket | ")
	}
	for i, arg := range args {
		if i > 0 {
			if strings.HasPrefix(arg, "-") {
				b.WriteString(" \\\n  ")
			} else {
				b.WriteByte(' ')
			}
		}
		if plain.MatchString(arg) {
			b.WriteString(arg)
		} else {
			b.WriteString("'" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
		}
	}
	if asksTicket {
		b.WriteString(fmt.Sprintf(" %d<&0", ticketFD))
	}
	return b.String()
}
