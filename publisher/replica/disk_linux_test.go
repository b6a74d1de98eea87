package replica_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// mountedEnv marks the process in which a test may mount a file system: it is root in namespaces of its own.
const mountedEnv = "FRESHET_TEST_MOUNTED"

// mounted runs the test that calls it again where a file system can be mounted, and gives it one of some KB there, as dir.
// It returns false in the process that waits for the other.
func mounted(t *testing.T, options string) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(mountedEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), mountedEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Skipf("this machine lets nobody mount in a namespace of its own: %v", err)
		} else if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return "", false
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}

func TestDiskFull(t *testing.T)  { fullDisk(t, diskFault) }
func TestOrderFull(t *testing.T) { fullDisk(t, orderFault) }

func fullDisk(t *testing.T, test func(t *testing.T, dir string, strike, heal func() error)) {
	dir, ok := mounted(t, "size=1m")
	if !ok {
		return
	}
	ballast := filepath.Join(dir, "ballast")
	test(t, dir, func() error {
		f, err := os.Create(ballast)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		return nil
	}, func() error { return os.Remove(ballast) })
}

func TestDiskReadOnly(t *testing.T) {
	dir, ok := mounted(t, "size=1m")
	if !ok {
		return
	}
	remount := func(flags uintptr) func() error {
		return func() error { return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m") }
	}
	diskFault(t, dir, remount(syscall.MS_RDONLY), remount(0))
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
