// Package qemu runs one virtual machine: it finds QEMU and its firmware, builds the command line,
// starts the process and owns it until its end.
//
//	cfg, err := qemu.Prepare(ctx, qemu.Config{
//		Dir:   dir,
//		Image: "beacon.qcow2",
//		Spice: qemu.Spice{Unix: filepath.Join(dir, "spice.sock"), Ticket: ticket},
//	})
//	m, err := qemu.Start(ctx, cfg)
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	line, err := m.AwaitBoot(ctx, serial.Contains("Hello from Beacon"))
//
// Argv is a pure function of a Config. A Machine has three goroutines: one waits for the process,
// one follows the serial console, and one watches QMP events. A machine can make no more progress
// if the process is gone, the guest shut down or panicked, KVM gave up, or the disk is full. Then
// Done is closed, and every waiter gets the same *ExitError at once.
//
// On Linux the kernel kills QEMU when the process that started it ends, even if that is killed.
//
// The package knows only QEMU's options for SPICE, and no particular guest. Gate decides whether
// tests may run machines.
//
// To debug, look into Config.Dir: serial.log (the console), qemu.log (QEMU's output), qemu.argv (to
// paste into a shell) and qmp.ndjson (every QMP line). All are written as things happen.
package qemu
