// Package serial keeps what a machine says on its serial console and lets
// callers wait for it.
//
//	log := serial.NewLog(serial.Config{})
//	go func() { log.End(serial.Follow(ctx, "serial.log", log)) }()
//	line, err := log.Await(ctx, serial.Contains("Hello from Beacon"))
//
// A Log is append-only and an io.Writer: whoever has the bytes writes them,
// and End says that there will be no more and why. Every waiter is woken by
// the write itself and, at the end, gets the reason. Bytes are kept as they
// came. A Line has the text that a terminal shows, however often the guest redrew it,
// and the time at which it began.
//
// Follow feeds a log from a file that another process appends to. QEMU writes
// the console into the lane's serial.log by itself, so the file is complete
// even when the process that follows it is killed, and a guest never waits for
// a slow reader.
//
// The package sends nothing to a guest and knows no guest's format. It is a terminal of one
// row: what a full-screen program draws is one line for each row that it goes to.
package serial
