// Package qemu runs one virtual machine: it finds QEMU and its firmware,
// builds the command line, starts the process and owns it until its end.
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
// Argv is a pure function of a Config. A Machine has one goroutine that waits
// for the process, one that follows its serial console and one that watches
// its QMP events; when the machine can make no more progress (the process is
// gone, the guest shut down or panicked, KVM gave up, the disk is full) Done
// is closed and every waiter gets the same *ExitError at once.
//
// On Linux QEMU is killed by the kernel when the process that started it
// ends, however that ends.
//
// The package knows nothing of SPICE beyond QEMU's options for it, and of no
// particular guest. Whether tests may run machines at all is decided by Gate.
//
// To debug, look into Config.Dir: serial.log (the console), qemu.log (what
// QEMU prints), qemu.argv (to paste into a shell) and qmp.ndjson (every QMP
// line); all are written as it happens.
package qemu
