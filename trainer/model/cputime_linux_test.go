package model

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// reportCPU adds the CPU time of one operation to a benchmark that runs on one goroutine: what it costs, whoever else runs on the machine. Call it before the loop, and
// what it returns behind it.
func reportCPU(b *testing.B) (done func(n int)) {
	runtime.LockOSThread()
	used := func() time.Duration {
		const thread = 1 // RUSAGE_THREAD
		var u syscall.Rusage
		if err := syscall.Getrusage(thread, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func(n int) {
		b.ReportMetric(float64((used()-before).Microseconds())/float64(n), "cpu-µs/op")
		runtime.UnlockOSThread()
	}
}

// cpuTime is that of the whole process, in all its goroutines.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
