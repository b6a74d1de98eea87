//go:build !linux

package model

import (
	"testing"
	"time"
)

func reportCPU(*testing.B) (done func(n int)) { return func(int) {} }

func cpuTime(*testing.B) time.Duration { return 0 }
