//go:build unix

package buffer

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time that the process has taken. It is what a busy machine does not disturb.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
