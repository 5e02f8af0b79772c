package script

// A logger is what testscript takes of testing.T.
type logger interface{ Fatal(args ...any) }

func run(t logger) { t.Fatal(log) }

// This is what package testscript logs of a script that fails, in one entry.
const log = `WORK=$WORK
# the lane comes up (0.012s)
> exec spicelane up
[stderr]
host fault: it is what the script expects
[exit status 3]
FAIL: testdata/up.txt:7: unexpected command failure`
