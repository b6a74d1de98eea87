package learn

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// manyUsers is a log in which every user has the same number of earlier parts, made when they are asked for.
type manyUsers struct{ items int }

func (m manyUsers) History(_ schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	var seed uint64
	fmt.Sscanf(user, "u%d", &seed)
	rng := rand.New(rand.NewPCG(seed, 9))
	parts := make([]schema.Part, min(n, 10))
	for i := range parts {
		at := benchNow.Add(time.Duration(i-len(parts)) * time.Minute)
		parts[i] = schema.Part{UserID: user, Due: at, SessionStart: at, Clicks: []schema.Click{{UserID: user, ItemID: benchItem(rng, m.items), Action: schema.ActionClick, EventTime: at}}}
	}
	return parts, nil
}

func (m manyUsers) Users(schema.Partition, string, int, func([]byte) bool) ([]string, error) {
	return nil, nil
}

const benchNow = schema.EventTime(1_700_000_000_000)

// benchItem draws as a shop's customers do: few items often.
func benchItem(rng *rand.Rand, items int) string {
	return fmt.Sprint("i", int(float64(items)*rng.Float64()*rng.Float64()*rng.Float64()))
}

// BenchmarkClick is what a click costs, all of it, in micro-batches of 64 parts, by how many items and users there are. A click is tested with tests/click.
func BenchmarkClick(b *testing.B) {
	for _, size := range []struct{ items, users int }{{10_000, 10_000}, {100_000, 10_000}, {1_000_000, 10_000}, {10_000, 100_000}, {10_000, 1_000_000}, {1_000_000, 1_000_000}} {
		b.Run(fmt.Sprintf("items=%d/users=%d", size.items, size.users), func(b *testing.B) {
			c := DefaultConfig()
			c.Model.MaxItems = 0
			c.Recency.Buckets = 0
			l, err := New(c, manyUsers{size.items})
			if err != nil {
				b.Fatal(err)
			}
			for i := range size.items {
				row, _ := l.model.Admit(fmt.Sprint("i", i), schema.ItemInfo{}, benchNow)
				l.live.Learn(baseline.Click{Row: row, At: benchNow})
			}
			rng := rand.New(rand.NewPCG(1, 1))
			at, emit := benchNow, schema.Emit(0)
			d := recency.Decision{BatchParts: 64, HistoryParts: c.HistoryParts, Keep: 1}
			batch := func() {
				parts := make([]schema.Part, 64)
				for i := range parts {
					user := fmt.Sprint("u", rng.IntN(size.users))
					at += 20
					parts[i] = schema.Part{Emit: emit, Due: at, UserID: user, SessionStart: at,
						Clicks: []schema.Click{{UserID: user, ItemID: benchItem(rng, size.items), Action: schema.ActionClick, EventTime: at}}}
					emit++
				}
				prepared, err := l.Prepare(parts, c.HistoryParts)
				if err != nil {
					b.Fatal(err)
				}
				l.Train(prepared, d)
			}
			for range 100 { // sessions to find neighbours among, and warm memory
				batch()
			}
			clicks, tests := 0, 0
			l.Tested = func(_ *schema.Part, t *evaluate.Test) {
				if t.Kind == evaluate.NextPart {
					tests++
				}
			}
			b.ResetTimer()
			used := cpuTime(b)
			for b.Loop() {
				batch()
				clicks += 64
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(clicks), "µs/click")
			b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(clicks), "cpu-µs/click")
			b.ReportMetric(float64(tests)/float64(clicks), "tests/click")
		})
	}
}
