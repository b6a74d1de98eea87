package replica

import (
	"container/heap"
	"container/list"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// happening is the end of a turn in a simulation.
type happening struct{ began, at time.Time }

type happenings []happening

func (h happenings) Len() int           { return len(h) }
func (h happenings) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h happenings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)        { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// offered is what became of the requests of a simulation.
type offered struct {
	Arrived, Answered, Shed int
	Longest                 time.Duration // wait of one that was answered
	Deepest                 int           // queue
	Busy                    time.Duration // turns taken, summed
}

// offer sends requests at load times the capacity to a line for a while, by a clock of its own, as random as traffic is: exponential gaps, and turns of around a millisecond.
func offer(l *line, clock *time.Time, rng *rand.Rand, load float64, turn, long time.Duration) (o offered) {
	type guest struct {
		place *list.Element
		came  time.Time
	}
	var (
		running happenings
		queue   []guest // places that were given and not yet called
	)
	random := func(mean time.Duration) time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
	begin := func(came time.Time) {
		took := turn/2 + random(turn/2)
		o.Answered++
		o.Longest = max(o.Longest, clock.Sub(came))
		o.Busy += took
		heap.Push(&running, happening{*clock, clock.Add(took)})
	}
	end := func() {
		h := heap.Pop(&running).(happening)
		*clock = h.at
		l.leave(h.began)
		if len(queue) > 0 {
			select {
			case <-queue[0].place.Value.(chan struct{}):
				first := queue[0]
				queue = queue[1:]
				begin(first.came)
			default:
				panic("a turn ended and the first in the queue was not called")
			}
		}
	}
	gap := time.Duration(float64(turn) / float64(l.turns) / load)
	for next, stop := clock.Add(random(gap)), clock.Add(long); next.Before(stop); next = next.Add(random(gap)) {
		for len(running) > 0 && !running[0].at.After(next) {
			end()
		}
		*clock = next
		o.Arrived++
		place, reason, retry := l.enter()
		switch {
		case reason != "":
			o.Shed++
			if retry < 0 {
				panic("a retry in the past")
			}
		case place == nil:
			begin(next)
		default:
			queue = append(queue, guest{place, next})
			o.Deepest = max(o.Deepest, l.waiting.Len())
		}
	}
	for len(running) > 0 {
		end()
	}
	return o
}

// TestLineUnderLoad: below its capacity a replica answers all but what a burst brings; at four times of it, it goes on at its capacity, nobody waits much longer than is
// offered, the queue stays short, and when the load goes, so does the shedding.
func TestLineUnderLoad(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		clock := time.Unix(1_800_000_000, 0)
		turns := 1 + rng.IntN(16)
		l := &line{turns: turns, room: 1024, most: 50 * time.Millisecond, now: func() time.Time { return clock }}
		const long = 4 * time.Second
		capacity := float64(long / time.Millisecond * time.Duration(turns))
		calm := offer(l, &clock, rng, 0.5, time.Millisecond, long)
		if calm.Shed > 0 {
			t.Errorf("seed %d, %d turns: at half its capacity %+v", seed, turns, calm)
		}
		storm := offer(l, &clock, rng, 4, time.Millisecond, long)
		if float64(storm.Answered) < 0.95*capacity || storm.Answered+storm.Shed != storm.Arrived || storm.Shed == 0 {
			t.Errorf("seed %d, %d turns: at four times its capacity of %v: %+v", seed, turns, capacity, storm)
		}
		// The average of turns errs by what sixteen of them do.
		if storm.Longest > 4*l.most || storm.Deepest > 4*turns*50 {
			t.Errorf("seed %d, %d turns: %+v", seed, turns, storm)
		}
		// Turns that become ten times as long, as by a neighbour on the machine, shorten the queue and not the patience.
		slow := offer(l, &clock, rng, 4, 10*time.Millisecond, long)
		if float64(slow.Answered) < 0.09*capacity || slow.Answered+slow.Shed != slow.Arrived {
			t.Errorf("seed %d, %d turns: with slow turns %+v", seed, turns, slow)
		}
		after := offer(l, &clock, rng, 0.5, time.Millisecond, long)
		if after.Shed > after.Arrived/100 {
			t.Errorf("seed %d, %d turns: after the storm %+v", seed, turns, after)
		}
		if l.busy != 0 || l.waiting.Len() != 0 {
			t.Errorf("seed %d: %d turns are taken and %d wait at the end", seed, l.busy, l.waiting.Len())
		}
	}
}

// TestLineLosesNoTurn: whatever order callers come, give up and leave in, turns are neither lost nor doubled.
func TestLineLosesNoTurn(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		clock := time.Unix(1_800_000_000, 0)
		l := &line{turns: 1 + rng.IntN(4), room: rng.IntN(8), most: time.Hour, now: func() time.Time { return clock }}
		var (
			running int
			places  []*list.Element
		)
		called := func(p *list.Element) bool {
			select {
			case <-p.Value.(chan struct{}):
				return true
			default:
				return false
			}
		}
		for range 1000 {
			switch rng.IntN(3) {
			case 0:
				switch place, reason, _ := l.enter(); {
				case reason != "":
					if len(places) < l.room {
						t.Fatalf("seed %d: sent away (%s) with %d waiting of %d", seed, reason, len(places), l.room)
					}
				case place == nil:
					running++
				default:
					places = append(places, place)
				}
			case 1:
				if running > 0 {
					running--
					l.leave(clock)
				}
			case 2:
				if len(places) > 0 {
					i := rng.IntN(len(places))
					l.abandon(places[i])
					places = append(places[:i], places[i+1:]...)
				}
			}
			for len(places) > 0 && called(places[0]) && rng.IntN(2) == 0 { // who was called begins, sooner or later
				places = places[1:]
				running++
			}
			waiting := 0
			for _, p := range places {
				if !called(p) {
					waiting++
				}
			}
			want := []int{running + len(places) - waiting, waiting}
			if diff := cmp.Diff(want, []int{l.busy, l.waiting.Len()}, cmpopts.EquateEmpty()); diff != "" || l.busy > l.turns || waiting > 0 && l.busy < l.turns {
				t.Fatalf("seed %d: turns and queue (-want +got):\n%s", seed, diff)
			}
		}
	}
}
