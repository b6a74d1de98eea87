//go:build !linux

package replica_test

import "time"

// pause sleeps.
type pause struct{}

func newPause() (pause, error)            { return pause{}, nil }
func (pause) sleep(d time.Duration) error { time.Sleep(d); return nil }
func (pause) close()                      {}
