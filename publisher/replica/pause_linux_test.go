package replica_test

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pause sleeps with the kernel's own timer. Go's timers wake on whole milliseconds where nothing else runs, so that requests which are due at different times
// would be sent in one burst.
type pause struct{ timer *os.File }

func newPause() (pause, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return pause{}, os.NewSyscallError("timerfd_create", err)
	}
	return pause{os.NewFile(uintptr(fd), "timer")}, nil
}

func (p pause) sleep(d time.Duration) error {
	raw, err := p.timer.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, d.Nanoseconds()))}, nil)
	}); err != nil {
		return err
	}
	if set != nil {
		return os.NewSyscallError("timerfd_settime", set)
	}
	var expirations [8]byte
	_, err = p.timer.Read(expirations[:])
	return err
}

func (p pause) close() { p.timer.Close() }
