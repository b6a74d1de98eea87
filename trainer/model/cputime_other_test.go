//go:build !linux

package model

import "testing"

func reportCPU(*testing.B) (done func(n int)) { return func(int) {} }
