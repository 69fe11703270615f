package region

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// system fills in what Linux knows of the process.
func (s *ProcessStatus) system() {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		s.CPUSeconds = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	}
	const kib = 1024
	s.RSSBytes = procField("/proc/self/status", "VmRSS:") * kib
	s.PeakRSSBytes = procField("/proc/self/status", "VmHWM:") * kib
	s.DiskWrittenBytes = procField("/proc/self/io", "write_bytes:")
}

// procField reads a number from a file of lines that start with names, 0 if it
// is not there or may not be read.
func procField(path, name string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, _ := strconv.ParseInt(fields[0], 10, 64)
				return n
			}
		}
	}
	return 0
}
