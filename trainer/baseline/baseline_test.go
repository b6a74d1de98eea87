package baseline_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

const halfLife = time.Hour

// TestPopularityRanksAsCountedByHand compares with the definition: every click weighs 2^(-age/halfLife), a rank counts the
// items that weigh at least as much.
func TestPopularityRanksAsCountedByHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := baseline.NewPopularity(halfLife)
		const items, k = 30, 5
		type click struct {
			row model.Row
			at  schema.EventTime
		}
		var clicks []click
		at := schema.EventTime(1_700_000_000_000)
		for range rapid.IntRange(0, 120).Draw(t, "clicks") {
			// whole half-lives apart, so that weights are exact and ties are ties; now and then far enough to move the landmark
			at += schema.EventTime(halfLife.Milliseconds()) * schema.EventTime(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 600}).Draw(t, "half-lives"))
			c := click{model.Row(rapid.IntRange(0, items-1).Draw(t, "row")), at}
			clicks = append(clicks, c)
			p.Learn(c.row, c.at)
		}
		known := rapid.IntRange(0, items+3).Draw(t, "known")
		weight := make([]float64, items+3)
		for _, c := range clicks {
			if int(c.row) < known {
				weight[c.row] += math.Exp2(-float64(at-c.at) / float64(halfLife.Milliseconds()))
			}
		}
		ranking := p.Rank(known, k)
		for row := range items {
			want := 0
			if weight[row] > 1e-150 { // beyond 500 half-lives the table may have forgotten
				for _, w := range weight {
					if w >= weight[row] {
						want++
					}
				}
			}
			if want > k {
				want = 0
			}
			if got := ranking.Of(model.Row(row)); got != want && weight[row] != 0 && weight[row] > 1e-150 {
				t.Fatalf("row %d with weight %v: rank %d, want %d of %v", row, weight[row], got, want, weight[:known])
			}
		}
	})
}

func TestPopularityLog2ComparesAcrossTime(t *testing.T) {
	p := baseline.NewPopularity(halfLife)
	at := schema.EventTime(1_700_000_000_000)
	p.Learn(1, at)
	early := p.Log2(1)
	for i := range 900 { // past the landmark's reach, and not yet past that of a float64
		p.Learn(2, at.Add(time.Duration(i)*halfLife))
	}
	if p.Log2(1) != early {
		t.Errorf("an item that was not clicked went from %v to %v", early, p.Log2(1))
	}
	if p.Log2(2) <= early || p.Log2(3) != baseline.NeverClicked || p.Log2(0) != baseline.NeverClicked {
		t.Errorf("log2: %v %v %v %v", p.Log2(0), early, p.Log2(2), p.Log2(3))
	}
}

func TestItemToItemRanksAsCountedByHand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := baseline.NewItemToItem()
		const items = 12
		var naive [items][items]float32
		row := rapid.Custom(func(t *rapid.T) model.Row { return model.Row(rapid.IntRange(0, items-1).Draw(t, "row")) })
		for range rapid.IntRange(0, 10).Draw(t, "sessions") {
			session := rapid.SliceOfN(row, 0, 9).Draw(t, "session")
			for i := range session {
				c.Learn(session[:i], session[i])
				for d := 1; d <= min(baseline.Steps, i); d++ {
					naive[session[i-d]][session[i]] += 1 / float32(d)
				}
			}
		}
		before := rapid.SliceOfN(row, 0, 7).Draw(t, "before")
		known := rapid.IntRange(0, items).Draw(t, "known")
		var score [items]float32
		for d := 1; d <= min(baseline.Steps, len(before)); d++ {
			for j := range known {
				score[j] += naive[before[len(before)-d]][j] / float32(d)
			}
		}
		targets := rapid.SliceOfN(row, 0, 5).Draw(t, "targets")
		var want []int
		for _, target := range targets {
			rank := 0
			if score[target] > 0 {
				for _, s := range score {
					if s >= score[target] {
						rank++
					}
				}
			}
			want = append(want, rank)
		}
		for range 2 { // the second call finds the scratch space as it should be
			if diff := cmp.Diff(want, c.Ranks(nil, before, targets, known)); diff != "" {
				t.Fatalf("ranks (-want +got):\n%s", diff)
			}
		}
	})
}

func TestSuccessorsStayBounded(t *testing.T) {
	c := baseline.NewItemToItem()
	for i := range model.Row(2000) {
		c.Learn([]model.Row{0}, 1+i%1500)
		c.Learn([]model.Row{0}, 7) // always among the heaviest
	}
	rows, err := schema.Col[[][]int32](c.Table(), "successors")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows[0]) > 256 {
		t.Errorf("%d successors of one item", len(rows[0]))
	}
	if got := c.Ranks(nil, []model.Row{0}, []model.Row{7}, 2000); got[0] != 1 {
		t.Errorf("the heaviest successor has rank %d", got[0])
	}
}

// TestTablesRestore learns half, restores from the tables, learns the other half in both: the bytes must stay equal.
func TestTablesRestore(t *testing.T) {
	p, c := baseline.NewPopularity(halfLife), baseline.NewItemToItem()
	learn := func(p *baseline.Popularity, c *baseline.ItemToItem, from, to int) {
		for i := from; i < to; i++ {
			row := model.Row(i * i % 37)
			p.Learn(row, schema.EventTime(1_700_000_000_000+i*60_000))
			c.Learn([]model.Row{model.Row(i % 11), model.Row(i % 5)}, row)
		}
	}
	encoded := func(t_ schema.Table) []byte {
		b, err := t_.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	decoded := func(b []byte) schema.Table {
		table, err := schema.DecodeTable(b)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	for _, half := range []int{0, 200} {
		learn(p, c, 0, half)
		p2, err := baseline.RestorePopularity(decoded(encoded(p.Table())), halfLife)
		if err != nil {
			t.Fatal(err)
		}
		c2, err := baseline.RestoreItemToItem(decoded(encoded(c.Table())))
		if err != nil {
			t.Fatal(err)
		}
		learn(p, c, half, 400)
		learn(p2, c2, half, 400)
		if !bytes.Equal(encoded(p.Table()), encoded(p2.Table())) || !bytes.Equal(encoded(c.Table()), encoded(c2.Table())) {
			t.Errorf("restored after %d clicks, the tables went another way", half)
		}
	}
	if _, err := baseline.RestorePopularity(p.Table(), 2*halfLife); err == nil {
		t.Error("a table of another half-life was restored")
	}
}
