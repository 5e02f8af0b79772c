package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/pki"
)

// machineConfig looks at the host and says what machine to start. It makes no
// files: the disk image and the firmware's variables are still those that the
// machine's own are made from.
func (l *Lane) machineConfig(ctx context.Context) (qemu.Config, error) {
	cfg := l.cfg
	mc := qemu.Config{
		Name: cfg.name(), Dir: l.dir, SocketDir: l.run.Path,
		Image: cfg.Image, Kernel: cfg.Kernel, Initrd: cfg.Initrd, Append: cfg.Append,
		MemoryMiB: cfg.MemoryMiB, CPUs: cfg.CPUs,
		Display: cmp.Or(cfg.Display, qemu.QXL),
		Args:    cfg.ExtraArgs,
		UUID:    l.uuid,
		Logger:  cfg.log(),
		OnReset: l.noteReset,
		Spice:   qemu.Spice{Compression: cfg.Compression, Ticket: l.newSecret("ticket"), SingleClient: cfg.SingleClient},
	}
	if fx := l.fixture; fx != nil {
		image, err := l.image(ctx, fx)
		if err != nil {
			return mc, verdict.Classify("fixture "+fx.Name, err)
		}
		mc.Image = image
		mc.Kernel, mc.Initrd, mc.Append = or(mc.Kernel, fx.KernelPath()), or(mc.Initrd, fx.InitrdPath()), or(mc.Append, fx.Append)
		if mc.MemoryMiB == 0 {
			mc.MemoryMiB = fx.MemoryMiB
		}
		if mc.CPUs == 0 {
			mc.CPUs = fx.CPUs
		}
		mc.Devices, mc.Audio, mc.Tablet, mc.Agent = fx.Devices, fx.Audio, fx.Tablet, fx.Agent
		mc.BIOS = fx.Firmware == fixtures.BIOS || fx.Firmware == fixtures.NoFirmware
	}
	mc.Devices = append(slices.Clip(mc.Devices), cfg.Devices...)
	switch cfg.Agent {
	case AgentOn:
		mc.Agent = true
	case AgentOff:
		mc.Agent = false
	}
	if mc.MemoryMiB == 0 {
		mc.MemoryMiB = 256
	}
	var err error
	if mc.Binary, err = qemu.FindQEMU(os.Getenv); err != nil {
		return mc, verdict.Classify("", err)
	}
	if !mc.BIOS {
		fw, err := qemu.FindOVMF(os.Getenv)
		if err != nil {
			return mc, verdict.Classify("", err)
		}
		mc.Firmware = fw
	}
	choice, err := host.ChooseAccel(ctx, mc, l.banner(), cfg.Accel)
	if err != nil {
		return mc, verdict.Classify("", err)
	}
	mc.Accel = choice.Accel
	if mc.Spice, err = l.spiceFor(mc.Spice); err != nil {
		return mc, err
	}
	l.setState(func(s *registry.State) {
		s.Accel, s.AccelReason = string(choice.Accel), choice.Reason
		s.ConsoleUUID = l.uuid
	})
	return mc, nil
}

// image is the file of a fixture's image. Where the cache cannot hold it, it is
// the lane's own.
func (l *Lane) image(ctx context.Context, fx *fixtures.Fixture) (string, error) {
	cache := filepath.Join(host.CacheDir(), "fixtures")
	if n := fx.Unread(cache); n > slowImage && l.cfg.OnBegin != nil {
		l.cfg.OnBegin(fmt.Sprintf("host (reads %d MiB of %s for its checksum)", n>>20, fx.ImagePath()))
	}
	image, err := fx.Materialize(ctx, cache)
	var damaged *fixtures.ImageError
	if err == nil || errors.As(err, &damaged) {
		return image, err
	}
	own, ownErr := fx.Materialize(ctx, l.run.Path)
	if ownErr != nil {
		return "", err
	}
	return own, nil
}

// startMachine restores the machine or boots it, as findState has decided. A machine whose
// state turns out to be of no use boots, which takes another turn.
func (l *Lane) startMachine(ctx context.Context, detail *string) error {
	own := l.ownFiles(l.guest)
	if l.warm.entry != nil {
		m, err := l.restore(ctx, own)
		if err == nil {
			l.machineIsUp(m)
			*detail = fmt.Sprintf("pid %d, restored from a state of %s", m.PID(), l.warm.entry.SavedAt().Local().Format(time.DateTime))
			return nil
		}
		var cold *warm.ColdError
		if !errors.As(err, &cold) {
			return verdict.Classify("qemu", err)
		}
		if err := l.fallBackToBoot(cold); err != nil {
			return err
		}
		l.slot.Release()
		if l.slot, err = host.TakeBootSlot(ctx, string(l.guest.Accel), l.guest.MemoryMiB); err != nil {
			return err
		}
	}
	m, err := l.boot(ctx, own, l.guest)
	if err != nil {
		return verdict.Classify("qemu", err)
	}
	l.machineIsUp(m)
	*detail = fmt.Sprintf("pid %d, cold: %s", m.PID(), l.warm.cold.Why)
	return nil
}

// ownFiles is mc with names for the machine's own disk and variables.
func (l *Lane) ownFiles(mc qemu.Config) qemu.Config {
	if mc.Image != "" {
		mc.Disk = l.run.File("disk.qcow2")
	}
	if mc.Firmware.Code != "" {
		mc.Firmware.Vars = l.run.File("vars.fd")
	}
	return mc
}

// boot makes the machine's own files from those of the template and starts it
// from nothing.
func (l *Lane) boot(ctx context.Context, mc, template qemu.Config) (*qemu.Machine, error) {
	if err := qemu.HasSPICE(ctx, mc.Binary); err != nil {
		return nil, err
	}
	if mc.Firmware.Code != "" {
		if err := qemu.CopyVars(template.Firmware.Vars, mc.Firmware.Vars); err != nil {
			return nil, err
		}
	}
	if mc.Image != "" {
		if err := qemu.Overlay(ctx, mc.Image, mc.Disk); err != nil {
			return nil, err
		}
	}
	return qemu.Start(ctx, mc)
}

// machineIsUp takes over the machine that was started.
func (l *Lane) machineIsUp(m *qemu.Machine) {
	l.running.Store(m)
	l.undo.push(m.Close)
	l.failures = newConsoleWatch(l.watchFor, l.log)
	l.watchdog = host.StartWatchdog(m.PID())
	l.undo.push(l.watchdog.Close)
	l.joined.Add(1)
	l.startConsole(m)
	addr := m.Spice().Unix
	if addr == "" {
		addr = hostport.Join(m.Spice().Host, max(m.Spice().TLSPort, m.Spice().Port))
	}
	l.setState(func(s *registry.State) {
		s.PIDs.QEMU = m.PID()
		s.QMP, s.QMPTools = m.Config().QMPSocket(), m.Config().ToolSocket()
		s.SPICE.Addr = addr
		s.Warm = l.warm.entry != nil
		if !s.Warm {
			s.ColdReason = l.warm.cold.Why
		}
	})
}

// startConsole begins to read m's console. The caller has added to l.joined.
func (l *Lane) startConsole(m *qemu.Machine) {
	read := make(chan struct{})
	l.consoles.Store(m, read)
	go l.recordSerial(m, read)
}

// recordSerial copies the guest's lines to the timeline until the console ends, and
// closes read then.
func (l *Lane) recordSerial(m *qemu.Machine, read chan struct{}) {
	defer l.joined.Done()
	defer close(read)
	c := m.Serial().Reader(0)
	scan := l.failures.scan(m.Serial())
	for {
		// NB: not bounded: the console ends with the machine.
		line, err := c.Look(context.Background())
		if err != nil {
			return
		}
		if line.Complete {
			l.log.AddAt(line.Time, "serial", map[string]any{"n": line.N, "text": line.Text})
		}
		scan.look(line)
	}
}

// spiceFor says where QEMU's SPICE server has to be for this lane's proxy.
func (l *Lane) spiceFor(s qemu.Spice) (qemu.Spice, error) {
	switch {
	case l.cfg.BackendTLS:
		b, err := pki.New(pki.Config{CommonName: "qemu"})
		if err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		x509 := l.run.File("x509")
		if err := b.WriteDir(x509); err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		l.backendPKI = b
		l.secrets.addKey("key of QEMU's certificate", b.ServerKey)
		l.secrets.addKey("key of QEMU's CA", b.CAKey)
		s.TLSPort, s.X509Dir = qemu.AnyPort, x509
	case l.unixBackend():
		s.Unix = l.run.File("spice.sock")
	default:
		s.Port = qemu.AnyPort
	}
	return s, nil
}
