package learn

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime is the processor time of the whole process: what work costs, in all its goroutines, whoever else runs on the machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
