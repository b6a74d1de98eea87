package baseline_test

import (
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// busy learns a made-up stream of some items, the popular ones much more so, in sessions of one to eight clicks, and returns requests as they would come next.
func busy(cfg baseline.Config, items, clicks int) (*baseline.Live, []baseline.Request, func() baseline.Click) {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 10, uint64(items-1))
	type user struct {
		clicks []model.Row
		begin  int
		key    uint64
	}
	users := make([]user, 500)
	now, sessions := schema.EventTime(1_700_000_000_000), uint64(0)
	next := func() baseline.Click {
		now += 100
		u := &users[random.IntN(len(users))]
		first := u.key == 0 || random.IntN(4) == 0
		if first {
			sessions++
			u.key = sessions
			u.clicks = u.clicks[:copy(u.clicks, u.clicks[max(0, len(u.clicks)-20):])]
			u.begin = len(u.clicks)
		}
		c := baseline.Click{Row: model.Row(zipf.Uint64()), At: now, Session: u.key, First: first, Before: u.clicks[u.begin:], Earlier: u.clicks[:u.begin]}
		u.clicks = append(u.clicks, c.Row)
		return c
	}
	l := baseline.New(cfg)
	l.Learn(baseline.Click{Row: model.Row(items - 1), At: now})
	for range clicks {
		l.Learn(next())
	}
	requests := make([]baseline.Request, len(users))
	for i, u := range users {
		requests[i] = baseline.Request{Clicks: u.clicks, Begin: u.begin, Session: u.key, Now: now, Kinds: baseline.AllKinds}
	}
	return l, requests, next
}

func TestAnswersAllocateNothing(t *testing.T) {
	cfg := baseline.DefaultConfig()
	cfg.Neighbours = true
	l, requests, _ := busy(cfg, 3000, 30_000)
	terms := make([]float32, 3000*model.ItemTerms)
	var marks []model.Mark
	var top []baseline.Scored
	ask := func() {
		for _, r := range requests {
			marks = l.Marks(marks[:0], r)
			votes := l.Votes(r)
			for arm := range baseline.Arm(baseline.Arms) {
				votes.Rank(arm, 7)
				top = votes.Top(top[:0], arm)
			}
		}
		l.ItemTerms(terms, 0)
	}
	ask() // makes room
	if n := testing.AllocsPerRun(2, ask); n > 0 {
		t.Errorf("%v allocations for %d requests", n, len(requests))
	}
}

func BenchmarkItemTerms(b *testing.B) {
	const items = 50_000
	l, _, _ := busy(baseline.DefaultConfig(), items, 100_000)
	terms := make([]float32, items*model.ItemTerms)
	for b.Loop() {
		l.ItemTerms(terms, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*items), "ns/row")
}

func BenchmarkMarks(b *testing.B) {
	for _, neighbours := range []bool{false, true} {
		name := "transitions"
		if neighbours {
			name = "neighbours"
		}
		b.Run(name, func(b *testing.B) {
			cfg := baseline.DefaultConfig()
			cfg.Neighbours = neighbours
			l, requests, _ := busy(cfg, 10_000, 200_000)
			var marks []model.Mark
			i, n := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				marks = l.Marks(marks[:0], requests[i%len(requests)])
				n += len(marks)
				i++
			}
			b.ReportMetric(float64(n)/float64(b.N), "marks")
		})
	}
}

func BenchmarkVotes(b *testing.B) {
	l, requests, _ := busy(baseline.DefaultConfig(), 10_000, 200_000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		l.Votes(requests[i%len(requests)])
		i++
	}
}

func BenchmarkLearn(b *testing.B) {
	l, _, next := busy(baseline.DefaultConfig(), 10_000, 200_000)
	b.ReportAllocs()
	for b.Loop() {
		l.Learn(next())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "clicks/s")
}
