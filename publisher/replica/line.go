package replica

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// line is the queue before the model: so many requests are computed at the same time, others wait in the order they came, and who would wait too long is sent
// away at once, before the queue makes everybody late. How long a wait would be follows from what was measured: with n waiting before it, s seconds a turn, and t
// turns at a time, a request waits n·s/t, whatever slows the machine down. So a replica that is offered several times what it can answer goes on answering what it
// can, with a bounded wait, and the rest costs it little.
type line struct {
	turns int           // requests computed at the same time
	room  int           // most requests that wait
	most  time.Duration // longest wait that is offered
	now   func() time.Time

	mu      sync.Mutex
	busy    int           // turns taken
	waiting list.List     // of chan struct{}, which is closed when the turn has come
	service time.Duration // what a turn takes, a moving average
}

// serviceWeight is the share of a new turn in the average of what turns take: about the last sixteen count.
const serviceWeight = 16

// shedReason says why a request was not computed; it labels freshet_shed_total.
type shedReason string

// The reasons.
const (
	shedFull     shedReason = "full"     // there was no room to wait
	shedWait     shedReason = "wait"     // the wait would have been too long
	shedLate     shedReason = "late"     // it was too long, against what was measured
	shedGone     shedReason = "gone"     // the caller went away while waiting
	shedMemory   shedReason = "memory"   // bodies and answers held too much memory
	shedRate     shedReason = "rate"     // over the process's rate
	shedCaller   shedReason = "caller"   // over its caller's rate
	shedNotReady shedReason = "no_model" // no version serves
)

var shedReasons = []shedReason{shedFull, shedWait, shedLate, shedGone, shedMemory, shedRate, shedCaller, shedNotReady}

// enter takes a turn, or a place in the queue, which is then returned, or neither: then reason says why and retry when there should be room again.
func (l *line) enter() (place *list.Element, reason shedReason, retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy < l.turns {
		l.busy++
		return nil, "", 0
	}
	wait := l.wait()
	switch {
	case l.waiting.Len() >= l.room:
		return nil, shedFull, wait
	case wait > l.most:
		return nil, shedWait, wait
	}
	return l.waiting.PushBack(make(chan struct{})), "", 0
}

// wait is how long one who came now would wait.
func (l *line) wait() time.Duration {
	return l.service * time.Duration(l.waiting.Len()+1) / time.Duration(l.turns)
}

// leave ends a turn that began at a moment, and gives it to the first in the queue.
func (l *line) leave(began time.Time) {
	took := max(0, l.now().Sub(began))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.service == 0 {
		l.service = took
	}
	l.service += (took - l.service) / serviceWeight
	l.pass()
}

// pass hands a turn on.
func (l *line) pass() {
	if first := l.waiting.Front(); first != nil {
		close(l.waiting.Remove(first).(chan struct{}))
		return
	}
	l.busy--
}

// abandon gives up a place, or the turn that it has meanwhile become. It returns how long one who came now would wait.
func (l *line) abandon(place *list.Element) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		l.pass()
	default:
		l.waiting.Remove(place)
	}
	return l.wait()
}

// take waits for a turn and returns when it began; who got one calls leave with that. Who gets none is told when to come again.
func (l *line) take(ctx context.Context) (began time.Time, reason shedReason, retry time.Duration) {
	place, reason, retry := l.enter()
	switch {
	case reason != "":
		return time.Time{}, reason, retry
	case place == nil:
		return l.now(), "", 0
	}
	late := time.NewTimer(l.most)
	defer late.Stop()
	select {
	case <-place.Value.(chan struct{}):
		return l.now(), "", 0
	case <-late.C:
		reason = shedLate
	case <-ctx.Done():
		reason = shedGone
	}
	return time.Time{}, reason, l.abandon(place)
}
