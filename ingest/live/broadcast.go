package live

import (
	"context"
	"sync"
	"sync/atomic"
)

// waitingBytes bounds what waits for one listener: some tens of thousands of clicks, a second of a busy node.
const waitingBytes = 4 << 20

// Broadcast tells listeners of clicks. The zero value is ready, and nil is one that nobody hears. Its methods may be called from several goroutines.
type Broadcast struct {
	told, lost atomic.Uint64
	n          atomic.Int64 // listeners

	mu        sync.Mutex // guards what follows
	listeners map[*Listener]struct{}
}

// Stats says what a Broadcast has told since its start.
type Stats struct {
	Listeners int
	Told      uint64 // clicks, whoever heard them
	Lost      uint64 // clicks that a listener was too slow for
}

// Heard says whether anybody listens: if not, clicks need not be gathered.
func (b *Broadcast) Heard() bool { return b != nil && b.n.Load() > 0 }

// Tell hands clicks to all who listen now.
func (b *Broadcast) Tell(clicks Clicks) {
	if b == nil || clicks.n == 0 {
		return
	}
	b.told.Add(uint64(clicks.n))
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		b.lost.Add(uint64(l.put(clicks)))
	}
}

// Listen returns a listener that hears what is told from now on, until Close.
func (b *Broadcast) Listen() *Listener {
	l := &Listener{from: b, news: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[*Listener]struct{}{}
	}
	b.listeners[l] = struct{}{}
	b.n.Add(1)
	return l
}

// Stats returns the figures of now.
func (b *Broadcast) Stats() Stats {
	return Stats{Listeners: int(b.n.Load()), Told: b.told.Load(), Lost: b.lost.Load()}
}

// Listener is one who listens. It belongs to one goroutine.
type Listener struct {
	from *Broadcast
	news chan struct{} // holds a value while clicks wait, at most one

	mu      sync.Mutex // guards what follows
	waiting []Clicks   // oldest first
	bytes   int        // of waiting
}

// put adds clicks to those that wait and returns how many had to go for them.
func (l *Listener) put(clicks Clicks) (lost int) {
	l.mu.Lock()
	l.waiting = append(l.waiting, clicks)
	l.bytes += len(clicks.bytes)
	for l.bytes > waitingBytes && len(l.waiting) > 1 {
		lost += l.waiting[0].n
		l.bytes -= len(l.waiting[0].bytes)
		l.waiting[0] = Clicks{}
		l.waiting = l.waiting[1:]
	}
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return lost
}

// Next returns what was told since the last call, oldest first, and waits for it.
func (l *Listener) Next(ctx context.Context) ([]Clicks, error) {
	for {
		select {
		case <-l.news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		l.mu.Lock()
		waiting := l.waiting
		l.waiting, l.bytes = nil, 0
		l.mu.Unlock()
		if len(waiting) > 0 {
			return waiting, nil
		}
	}
}

// Close ends listening.
func (l *Listener) Close() {
	b := l.from
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, listens := b.listeners[l]; listens {
		delete(b.listeners, l)
		b.n.Add(-1)
	}
}
