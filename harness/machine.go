package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/fixtures/linux"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/pki"
)

// machineConfig checks the host and returns the configuration of the machine to start. It does not
// yet create the machine's disk and firmware variables: the configuration names their templates.
func (b *bringUp) machineConfig(ctx context.Context) (qemu.Config, error) {
	cfg := b.cfg
	mc := qemu.Config{
		Name: cfg.name(), Dir: b.dir, SocketDir: b.run.Path,
		Image: cfg.Image, Kernel: cfg.Kernel, Initrd: cfg.Initrd, Append: cfg.Append,
		MemoryMiB: cfg.MemoryMiB, CPUs: cfg.CPUs,
		Display: cmp.Or(cfg.Display, qemu.QXL),
		Args:    cfg.ExtraArgs,
		UUID:    b.uuid,
		Logger:  cfg.log(),
		OnReset: b.noteReset,
		Spice:   qemu.Spice{Compression: cfg.Compression, Streaming: cfg.Streaming, Ticket: b.newSecret("ticket"), SingleClient: cfg.SingleClient},
	}
	if fx := b.fixture; fx != nil {
		image, err := b.image(ctx, fx)
		if err != nil {
			return mc, verdict.Classify("fixture "+fx.Name, err)
		}
		mc.Image = image
		if fx.Build == fixtures.BuildLinux {
			guest, err := b.buildLinux(ctx)
			if err != nil {
				return mc, err
			}
			mc.Kernel, mc.Initrd = or(mc.Kernel, guest.Kernel), or(mc.Initrd, guest.Initrd)
		}
		mc.Kernel, mc.Initrd, mc.Append = or(mc.Kernel, fx.KernelPath()), or(mc.Initrd, fx.InitrdPath()), or(mc.Append, fx.Append)
		if mc.MemoryMiB == 0 {
			mc.MemoryMiB = fx.MemoryMiB
		}
		if mc.CPUs == 0 {
			mc.CPUs = fx.CPUs
		}
		b.addFonts(fx.FontNames()...)
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
	err := qemu.CheckPlatform(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return mc, verdict.Classify("", err)
	}
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
	choice, err := host.ChooseAccel(ctx, mc, b.banner(), cfg.Accel)
	if err != nil {
		return mc, verdict.Classify("", err)
	}
	mc.Accel = choice.Accel
	if mc.Spice, err = b.spiceFor(mc.Spice); err != nil {
		return mc, err
	}
	b.setState(func(s *registry.State) {
		s.Accel, s.AccelReason = string(choice.Accel), choice.Reason
		s.ConsoleUUID = b.uuid
	})
	return mc, nil
}

// image returns the file of a fixture's image. If the cache cannot store it, the lane gets a
// private copy.
func (b *bringUp) image(ctx context.Context, fx *fixtures.Fixture) (string, error) {
	cache := filepath.Join(host.CacheDir(), "fixtures")
	if n := fx.Unread(cache); n > slowImage && b.cfg.OnBegin != nil {
		b.cfg.OnBegin(fmt.Sprintf("host (reads %d MiB of %s for its checksum)", n>>20, fx.ImagePath()))
	}
	image, err := fx.Materialize(ctx, cache)
	var damaged *fixtures.ImageError
	if err == nil || errors.As(err, &damaged) {
		return image, err
	}
	own, ownErr := fx.Materialize(ctx, b.run.Path)
	if ownErr != nil {
		return "", err
	}
	return own, nil
}

// buildLinux returns the Linux guest, and builds it if necessary.
func (b *bringUp) buildLinux(ctx context.Context) (*linux.Guest, error) {
	if b.cfg.OnBegin != nil {
		b.cfg.OnBegin("host (the first time, downloads and builds the Linux guest)")
	}
	guest, err := BuildLinux(ctx)
	if err != nil {
		return nil, err
	}
	b.addFonts(guest.Fonts...)
	return guest, nil
}

// BuildLinux returns the Linux guest of the fixtures with "build: linux", in this user's cache
// directory. It builds the guest if necessary. If the host lacks what that needs, the error is a
// host fault.
func BuildLinux(ctx context.Context) (*linux.Guest, error) {
	guest, err := linux.Build(ctx, filepath.Join(host.CacheDir(), "fixtures"))
	var missing *linux.MissingError
	if errors.As(err, &missing) {
		return nil, &verdict.Error{Verdict: verdict.Host, Err: err, Hint: missing.Hint}
	}
	return guest, verdict.Classify("", err)
}

// addFonts adds names of fonts that the guest may use.
func (b *bringUp) addFonts(names ...string) {
	b.setState(func(s *registry.State) { s.Fonts = append(slices.Clip(s.Fonts), names...) })
}

// startMachine restores the machine or boots it, as findState has decided. If the saved state turns
// out to be unusable, the machine boots, which takes another turn.
func (b *bringUp) startMachine(ctx context.Context, detail *string) error {
	own := b.ownFiles(b.guest)
	if b.warm.entry != nil {
		m, err := b.restore(ctx, own)
		if err == nil {
			b.machineIsUp(m)
			*detail = fmt.Sprintf("pid %d, restored from a state of %s", m.PID(), b.warm.entry.SavedAt().Local().Format(time.DateTime))
			return nil
		}
		var cold *warm.ColdError
		if !errors.As(err, &cold) {
			return verdict.Classify("qemu", err)
		}
		if err := b.fallBackToBoot(cold); err != nil {
			return err
		}
		b.slot.Release()
		if b.slot, err = host.TakeBootSlot(ctx, string(b.guest.Accel), b.guest.MemoryMiB); err != nil {
			return err
		}
	}
	m, err := b.boot(ctx, own, b.guest)
	if err != nil {
		return verdict.Classify("qemu", err)
	}
	b.machineIsUp(m)
	*detail = fmt.Sprintf("pid %d, cold: %s", m.PID(), b.warm.cold.Why)
	return nil
}

// ownFiles returns mc with the names of the machine's own disk and variables.
func (l *Lane) ownFiles(mc qemu.Config) qemu.Config {
	if mc.Image != "" {
		mc.Disk = l.run.File("disk.qcow2")
	}
	if mc.Firmware.Code != "" {
		mc.Firmware.Vars = l.run.File("vars.fd")
	}
	return mc
}

// boot creates the machine's own files from those of the template and boots it.
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

// machineIsUp makes m the lane's machine.
func (b *bringUp) machineIsUp(m *qemu.Machine) {
	b.running.Store(m)
	b.undo.push(m.Close)
	b.log.Add("machine", map[string]any{"pid": m.PID(), "warm": b.warm.entry != nil, "qmp_us": m.QMPBegan().Sub(b.log.Start()).Microseconds()})
	b.failures = newConsoleWatch(b.watchFor, b.log)
	b.watchdog = host.StartWatchdog(m.PID(), b.noteLoad)
	b.undo.push(b.watchdog.Close)
	b.joined.Add(1)
	b.startConsole(m)
	addr := m.Spice().Unix
	if addr == "" {
		addr = hostport.Join(m.Spice().Host, max(m.Spice().TLSPort, m.Spice().Port))
	}
	b.setState(func(s *registry.State) {
		s.PIDs.QEMU = m.PID()
		s.QMP, s.QMPTools = m.Config().QMPSocket(), m.Config().ToolSocket()
		s.SPICE.Addr = addr
		s.Warm = b.warm.entry != nil
		if !s.Warm {
			s.ColdReason = b.warm.cold.Why
		}
	})
}

// startConsole starts to read m's console. The caller has added to l.joined.
func (l *Lane) startConsole(m *qemu.Machine) {
	read := make(chan struct{})
	l.consoles.Store(m, read)
	go l.recordSerial(m, read)
}

// recordSerial copies the guest's lines to the timeline until the console ends. Then it closes
// read.
func (l *Lane) recordSerial(m *qemu.Machine, read chan struct{}) {
	defer l.joined.Done()
	defer close(read)
	c := m.Serial().Reader(0)
	scan := l.failures.scan(m.Serial())
	for {
		// NB: no time limit is needed: the console ends with the machine.
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

// spiceFor returns where QEMU's SPICE server must listen for this lane's proxy.
func (b *bringUp) spiceFor(s qemu.Spice) (qemu.Spice, error) {
	switch {
	case b.cfg.BackendTLS:
		bundle, err := pki.New(pki.Config{CommonName: "qemu"})
		if err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		x509 := b.run.File("x509")
		if err := bundle.WriteDir(x509); err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		b.backendPKI = bundle
		b.secrets.addKey("key of QEMU's certificate", bundle.ServerKey)
		b.secrets.addKey("key of QEMU's CA", bundle.CAKey)
		s.TLSPort, s.X509Dir = qemu.AnyPort, x509
	case b.unixBackend():
		s.Unix = b.run.File("spice.sock")
	default:
		s.Port = qemu.AnyPort
	}
	return s, nil
}
