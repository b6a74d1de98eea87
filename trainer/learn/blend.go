package learn

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// list is what one arm recommends: rows, best first, and their scores.
type list struct {
	rows   []model.Row
	scores []float32
}

// blend makes one list of those of several arms. Each arm's scores are read as a distribution over its list, and these are pooled:
//
//	score_i = Σ_a w_a·log(ε + (1-ε)·p_a(i))
//
// a product of experts (Genest & Zidek 1986, logarithmic pooling), whose weights w are learned from what is clicked then, by the softmax over the union of the
// lists. They are those of the time since the user's last click: long after it, what is popular says more than what was clicked before.
type blend struct {
	arms    int
	weights []float64 // (1+buckets, arms): those of all buckets, and what each adds
	first   []float64 // Adam's moments
	second  []float64
	steps   int64
	held    bool // learn moves nothing

	place    []int32 // of each row in rows, plus one; 0 where it is not in
	rows     []model.Row
	features []float64 // (rows, arms)
	scores   []float64
	order    []int32
}

const (
	blendFloor = 1e-3 // ε: an arm that does not list an item says little against it
	blendRate  = 0.01
	blendBeta1 = 0.9
	blendBeta2 = 0.999
)

// newBlend returns one that follows its first arm.
func newBlend(arms int) *blend {
	n := (1 + model.GapBuckets) * arms
	b := &blend{arms: arms, weights: make([]float64, n), first: make([]float64, n), second: make([]float64, n)}
	b.weights[0] = 1
	return b
}

func (b *blend) weightOf(gap, arm int) float64 {
	return b.weights[arm] + b.weights[(1+gap)*b.arms+arm]
}

// pool puts the lists of the arms together. Items is how many rows there are. What it returns holds until the next call.
func (b *blend) pool(lists []list, gap, items int) []model.Row {
	if len(b.place) < items {
		b.place = append(b.place, make([]int32, items-len(b.place))...)
	}
	b.rows = b.rows[:0]
	for _, l := range lists {
		for _, r := range l.rows {
			if b.place[r] == 0 {
				b.rows = append(b.rows, r)
				b.place[r] = int32(len(b.rows))
			}
		}
	}
	n := len(b.rows)
	b.features = append(b.features[:0], make([]float64, n*b.arms)...)
	least := math.Log(blendFloor)
	for i := range b.features {
		b.features[i] = least
	}
	for a, l := range lists {
		sum := 0.
		for _, s := range l.scores {
			sum += float64(s)
		}
		if sum <= 0 {
			continue
		}
		for j, r := range l.rows {
			b.features[int(b.place[r]-1)*b.arms+a] = math.Log(blendFloor + (1-blendFloor)*float64(l.scores[j])/sum)
		}
	}
	b.scores, b.order = append(b.scores[:0], make([]float64, n)...), b.order[:0]
	for i := range n {
		for a := range b.arms {
			b.scores[i] += b.weightOf(gap, a) * b.features[i*b.arms+a]
		}
		b.order = append(b.order, int32(i))
	}
	slices.SortFunc(b.order, func(x, y int32) int {
		return cmp.Or(cmp.Compare(b.scores[y], b.scores[x]), cmp.Compare(b.rows[x], b.rows[y]))
	})
	out := make([]model.Row, n)
	for i, o := range b.order {
		out[i] = b.rows[o]
	}
	return out
}

// rank is how many of the pooled items score at least as high as r, or 0 where it is not one of them.
func (b *blend) rank(r model.Row) int32 {
	if int(r) >= len(b.place) || b.place[r] == 0 {
		return 0
	}
	of, n := b.scores[b.place[r]-1], int32(0)
	for _, s := range b.scores {
		if s >= of {
			n++
		}
	}
	return n
}

// learn moves the weights by what was clicked, if it was in the last pool, and forgets the pool.
func (b *blend) learn(targets []model.Row, gap int) {
	defer func() {
		for _, r := range b.rows {
			b.place[r] = 0
		}
		b.rows = b.rows[:0]
	}()
	if b.held {
		return
	}
	hits := 0
	for _, r := range targets {
		if int(r) < len(b.place) && b.place[r] > 0 {
			hits++
		}
	}
	if hits == 0 {
		return
	}
	most, sum := slices.Max(b.scores), 0.
	for i, s := range b.scores {
		b.scores[i] = math.Exp(s - most)
		sum += b.scores[i]
	}
	grad := make([]float64, b.arms)
	for i := range b.rows {
		p := b.scores[i] / sum
		for a := range b.arms {
			grad[a] += p * b.features[i*b.arms+a]
		}
	}
	for _, r := range targets {
		if int(r) < len(b.place) && b.place[r] > 0 {
			for a := range b.arms {
				grad[a] -= b.features[int(b.place[r]-1)*b.arms+a] / float64(hits)
			}
		}
	}
	b.steps++
	for a, g := range grad {
		b.step(a, g)
		b.step((1+gap)*b.arms+a, g)
	}
}

// step is Adam's, with the correction of all steps also for weights that moved in few: those of rare buckets start slowly.
func (b *blend) step(i int, g float64) {
	b.first[i] = blendBeta1*b.first[i] + (1-blendBeta1)*g
	b.second[i] = blendBeta2*b.second[i] + (1-blendBeta2)*g*g
	m := b.first[i] / (1 - math.Pow(blendBeta1, float64(b.steps)))
	v := b.second[i] / (1 - math.Pow(blendBeta2, float64(b.steps)))
	b.weights[i] -= blendRate * m / (math.Sqrt(v) + 1e-8)
}

// table is the state for a checkpoint.
func (b *blend) table() schema.Table {
	return schema.Table{Columns: []schema.Column{
		{Name: "weight", Data: slices.Clone(b.weights)}, {Name: "first", Data: slices.Clone(b.first)}, {Name: "second", Data: slices.Clone(b.second)},
	}, Meta: [][2]string{{"steps", strconv.FormatInt(b.steps, 10)}}}
}

func (b *blend) restore(t schema.Table) error {
	for _, c := range []struct {
		name string
		to   []float64
	}{{"weight", b.weights}, {"first", b.first}, {"second", b.second}} {
		v, err := schema.Col[[]float64](t, c.name)
		if err != nil {
			return fmt.Errorf("blend: %w", err)
		}
		if len(v) != len(c.to) {
			return fmt.Errorf("blend: %w: %d numbers in %s, want %d", schema.ErrCorrupt, len(v), c.name, len(c.to))
		}
		copy(c.to, v)
	}
	var err error
	if b.steps, err = strconv.ParseInt(t.MetaValue("steps"), 10, 64); err != nil || b.steps < 0 {
		return fmt.Errorf("blend: %w: %q steps", schema.ErrCorrupt, t.MetaValue("steps"))
	}
	return nil
}
