// Package serial keeps the output of a machine's serial console and lets callers wait for it.
//
//	log := serial.NewLog(serial.Config{})
//	go func() { log.End(serial.Follow(ctx, "serial.log", log)) }()
//	line, err := log.Await(ctx, serial.Contains("Hello from Beacon"))
//
// A Log is append-only and an io.Writer. The producer writes the bytes, and End says that no more
// will come, and why. Each write wakes every waiter, and at the end every waiter gets the reason.
// Bytes are kept unchanged. A Line has the text that a terminal shows, however often the guest
// redrew it, and the time at which it began.
//
// Follow feeds a log from a file to which another process appends. QEMU itself writes the console
// into the lane's serial.log. So the file is complete even if the process that follows it is
// killed, and a guest never waits for a slow reader.
//
// The package sends nothing to a guest and knows no guest's format. It is a terminal of one row:
// the output of a full-screen program becomes one line for each row that it writes.
package serial
