package trainer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// BenchmarkMillionRows writes checkpoints of a million rows of width 64 and restores them: a base, deltas of one row in a hundred and of one in ten, and the restore of all
// three.
func BenchmarkMillionRows(b *testing.B) {
	const items = 1_000_000
	c := DefaultConfig()
	for b.Loop() {
		dir := b.TempDir()
		t := openTrainer(b, dir, c)
		admit := func(i int) {
			t.learner.Model().Admit(fmt.Sprintf("item-%011d", i), schema.ItemInfo{Category: fmt.Sprint("category-", i%100), Price: float64(1 + i%1000)}, 1)
		}
		for i := range items {
			admit(i)
		}
		seconds := func(name string, f func() error) {
			b.Helper()
			from := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(from).Seconds(), "s-"+name)
		}
		seconds("digest", func() error {
			s, err := t.saving()
			if err != nil {
				return err
			}
			_, err = digestOf(s)
			return err
		})
		rng := rand.New(rand.NewPCG(1, 1))
		for _, w := range []struct {
			name string
			rows int
		}{{"base", 0}, {"1%", items / 100}, {"10%", items / 10}} {
			for range w.rows {
				admit(rng.IntN(items))
			}
			seconds(w.name, func() error {
				s, err := t.saving()
				if err != nil {
					return err
				}
				_, err = t.saved.write(s)
				return err
			})
			b.ReportMetric(float64(t.saved.line[len(t.saved.line)-1].bytes)/1e6, "MB-"+w.name)
		}
		t = nil
		seconds("restore", func() error {
			t = openTrainer(b, dir, c)
			return nil
		})
		if t.learner.Model().Items() != items || len(t.saved.line) != 3 {
			b.Fatalf("%d items, a line of %d", t.learner.Model().Items(), len(t.saved.line))
		}
	}
}

var _ Rows = (*model.Model)(nil)
