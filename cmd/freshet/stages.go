package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// stages runs the parts of a process, each on its own goroutine with its own context, so that they can be stopped one after
// another: shutdown is the start backwards, and a stage that is told to stop still finds what it writes to.
type stages struct {
	running []*stage
	once    sync.Once
	failed  chan struct{} // closed when a stage has returned an error on its own
}

type stage struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error         // valid when done is closed
	grace  time.Duration // that it may take to stop beside stopTimeout, as it is set to
}

// stopTimeout bounds the wait for one stage. A stage that takes longer is reported and left behind: what it owed is read
// again at the next start.
const stopTimeout = 20 * time.Second

// errStageFailed says that a stage has failed; stop says which, and why.
var errStageFailed = errors.New("a stage has failed")

func newStages() *stages { return &stages{failed: make(chan struct{})} }

// start runs f as the next stage. Its context does not end with the process's: stop ends it in its turn.
func (s *stages) start(name string, f func(ctx context.Context) error) *stage {
	ctx, cancel := context.WithCancel(context.Background())
	st := &stage{name: name, cancel: cancel, done: make(chan struct{})}
	s.running = append(s.running, st)
	go func() {
		defer close(st.done)
		if st.err = f(ctx); st.err != nil && ctx.Err() == nil {
			s.once.Do(func() { close(s.failed) })
		}
	}()
	return st
}

// wait returns nil when done is closed, errStageFailed when a stage fails before that, and ctx's error when it ends first.
func (s *stages) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-s.failed:
		return errStageFailed
	case <-done:
		select {
		case <-s.failed: // it may be the one that was waited for
			return errStageFailed
		default:
			return nil
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until returns nil once what holds, else as wait does.
func (s *stages) until(ctx context.Context, what func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !what() {
		select {
		case <-tick.C:
		case <-s.failed:
			return errStageFailed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stop ends the stages from the last to the first. It returns cause joined with what went wrong in each of them, where being
// told to stop is not wrong: neither for a stage nor as the cause.
func (s *stages) stop(cause error) error {
	var errs []error
	if cause != nil && !errors.Is(cause, errStageFailed) && !errors.Is(cause, context.Canceled) {
		errs = append(errs, cause)
	}
	for _, st := range slices.Backward(s.running) {
		st.cancel()
		select {
		case <-st.done:
			if st.err != nil && !errors.Is(st.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", st.name, st.err))
			}
		case <-time.After(stopTimeout + st.grace):
			errs = append(errs, fmt.Errorf("%s did not stop within %v", st.name, stopTimeout+st.grace))
		}
	}
	s.running = nil
	return errors.Join(errs...)
}
