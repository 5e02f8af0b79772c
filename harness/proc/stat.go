package proc

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// A Stat is what /proc says about any process, not only about a child.
type Stat struct {
	// State is one letter; empty if there is no such process. See proc(5).
	State string
	// Start is when the process began, in clock ticks since boot. PID and start identify a process,
	// because PIDs are reused.
	Start uint64
	// CPU is the processor time that the process has used.
	CPU time.Duration
}

// Alive tells whether the process runs. A zombie does not, though signals still reach it until its
// parent reaps it.
func (s Stat) Alive() bool { return s.State != "" && s.State != "Z" && s.State != "X" }

// ReadStat reads the state of the process pid. It returns the zero Stat if there is no such
// process.
func ReadStat(pid int) Stat {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}
	}
	// The name of the program, in parentheses, may contain anything. Fields count from the last ')'.
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return Stat{}
	}
	var n [3]uint64
	for i, field := range []int{11, 12, 19} { // user time, system time, start
		if n[i], err = strconv.ParseUint(f[field], 10, 64); err != nil {
			return Stat{}
		}
	}
	const tick = time.Second / 100 // USER_HZ, which is 100 on every Linux
	return Stat{State: f[0], Start: n[2], CPU: time.Duration(n[0]+n[1]) * tick}
}
