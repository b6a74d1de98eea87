package window_test

import (
	"fmt"
	"testing"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// BenchmarkAdd measures a click while n sessions are open: the cost must be flat in n but for the memory's own.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("open=%d", n), func(b *testing.B) {
			w, err := window.New(window.DefaultConfig())
			if err != nil {
				b.Fatal(err)
			}
			users := make([]string, n)
			for i := range users {
				users[i] = fmt.Sprintf("user-%07d", i)
			}
			// All users click once in 20 minutes, so that all stay open, whatever n is.
			step := 20 * 60_000 / float64(n)
			add := func(i int) {
				t := schema.EventTime(1_700_000_000_000 + int64(float64(i)*step))
				w.Add(&schema.Click{UserID: users[i*7919%n], ItemID: "item", Action: schema.ActionClick, EventTime: t})
			}
			for i := range n {
				add(i)
			}
			w.Committed()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				add(n + i)
				if i%1000 == 0 {
					w.Committed()
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "clicks/s")
		})
	}
}
