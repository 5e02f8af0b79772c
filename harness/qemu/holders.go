package qemu

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A holder is a process that has a file open or locked.
type holder struct {
	pid     int
	command string // as the kernel has it: at most 15 bytes
	writes  bool
}

func (h holder) String() string { return fmt.Sprintf("process %d (%s)", h.pid, h.command) }

// holders returns the processes that have the file open, writers first, as far as this user can
// see: root sees all, others see their own and those that hold a lock.
func holders(path string) []holder {
	st, err := os.Stat(path)
	if err != nil {
		return nil
	}
	var all []holder
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		open, err := os.Stat(link)
		if err != nil || !os.SameFile(st, open) {
			continue
		}
		parts := strings.Split(link, "/") // "", proc, PID, fd, N
		pid, err := strconv.Atoi(parts[2])
		if err != nil {
			continue
		}
		all = append(all, holder{pid, commandOf(pid), mayWrite(parts[2], parts[4])})
	}
	for _, pid := range lockers(st) {
		if !slices.ContainsFunc(all, func(h holder) bool { return h.pid == pid }) {
			all = append(all, holder{pid: pid, command: commandOf(pid)})
		}
	}
	slices.SortStableFunc(all, func(a, b holder) int {
		switch {
		case a.writes == b.writes:
			return a.pid - b.pid
		case a.writes:
			return -1
		}
		return 1
	})
	return slices.CompactFunc(all, func(a, b holder) bool { return a.pid == b.pid })
}

// mayWrite tells whether a process has a file open for writing (proc_pid_fdinfo(5):
// "flags:" and the flags of open(2) in octal).
func mayWrite(pid, fd string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + fd)
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "flags:")
	line, _, _ := strings.Cut(rest, "\n")
	flags, err := strconv.ParseInt(strings.TrimSpace(line), 8, 64)
	return err == nil && flags&syscall.O_ACCMODE != syscall.O_RDONLY
}

// lockers returns the processes that have locked a file, from /proc/locks (proc_locks(5)), which
// everybody may read. Locks of an open file description have no process there.
func lockers(st os.FileInfo) []int {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		i := slices.IndexFunc(fields, func(s string) bool { return strings.Count(s, ":") == 2 })
		if i < 1 || !strings.HasSuffix(fields[i], ":"+strconv.FormatUint(sys.Ino, 10)) {
			continue
		}
		if pid, err := strconv.Atoi(fields[i-1]); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "gone meanwhile"
	}
	return strings.TrimSpace(string(b))
}

// inUse returns the error for an image in use, with the processes if they can be found.
func inUse(path, said string) *ConfigError {
	by := "another process"
	if all := holders(path); len(all) > 0 {
		by = all[0].String()
	}
	return &ConfigError{
		What: fmt.Sprintf("the disk image %s is in use by %s (%s)", path, by, said),
		Hint: "end that process, or give this machine its own copy or overlay",
	}
}
