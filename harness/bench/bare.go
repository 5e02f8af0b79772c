package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
)

// bareBoot starts QEMU with mc's command line, on fresh copies of the files that the guest may
// write to. It returns the time until the banner is on the serial console. Nothing connects to this
// QEMU: neither QMP nor SPICE.
func bareBoot(ctx context.Context, mc qemu.Config, banner string) (_ time.Duration, err error) {
	// The name is short because a socket's path may have at most 107 bytes.
	dir, err := os.MkdirTemp("", "slb-")
	if err != nil {
		return 0, &verdict.Error{Verdict: verdict.Host, Op: "bench", Err: err}
	}
	defer os.RemoveAll(dir)
	mc.Dir, mc.SocketDir = dir, dir
	mc.Spice.Unix = filepath.Join(dir, "spice.sock")
	mc.LoadState, mc.Said = "", nil
	if mc.Image != "" {
		mc.Disk = filepath.Join(dir, "disk.qcow2")
		if err := qemu.Overlay(ctx, mc.Image, mc.Disk); err != nil {
			return 0, err
		}
	}
	if mc.Firmware.Code != "" {
		fw, err := qemu.FindOVMF(os.Getenv)
		if err != nil {
			return 0, err
		}
		mc.Firmware.Vars = filepath.Join(dir, "vars.fd")
		if err := qemu.CopyVars(fw.Vars, mc.Firmware.Vars); err != nil {
			return 0, err
		}
	}
	argv, err := qemu.Argv(mc)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	stderr, err := os.Create(filepath.Join(dir, qemu.QEMULog))
	if err != nil {
		return 0, err
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	// QEMU reads the ticket from descriptor 4, according to its command line.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	ticket, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ticket.Close()
	_, err = w.WriteString(mc.Spice.Ticket)
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, err
	}
	cmd.ExtraFiles = []*os.File{null, ticket} // 3 and 4

	logFile := filepath.Join(dir, qemu.SerialLog)
	if err := os.WriteFile(logFile, nil, 0o644); err != nil {
		return 0, err
	}
	asked := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	console := serial.NewLog(serial.Config{})
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		console.End(serial.Follow(ctx, logFile, console))
	}()
	defer func() { cancel(nil); <-followed }()

	began := time.Now()
	p, err := proc.Start(cmd)
	if err != nil {
		return 0, &verdict.Error{Verdict: verdict.Host, Op: "bench: QEMU", Err: err}
	}
	defer func() { err = errors.Join(err, p.Stop(time.Second)) }()
	go func() {
		select {
		case <-p.Exited():
			said, _ := os.ReadFile(stderr.Name())
			cancel(fmt.Errorf("QEMU ended (%v): %s", p.State(), said))
		case <-ctx.Done():
		}
	}()
	line, err := console.Await(ctx, serial.Contains(banner))
	if asked.Err() != nil {
		return 0, context.Cause(asked) // nothing is wrong with the guest
	}
	if err != nil {
		return 0, &verdict.Error{Verdict: verdict.Product, Op: "bench: QEMU alone", Err: errors.Join(err, context.Cause(ctx))}
	}
	return line.Time.Sub(began), nil
}
