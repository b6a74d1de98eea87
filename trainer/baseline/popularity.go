package baseline

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Popularity counts clicks with exponential forgetting: a click weighs half as much one half-life later.
//
// It keeps forward-decayed weights (Cormode et al., "Forward Decay", ICDE 2009): a click at time t adds 2^((t-t0)/halfLife), so
// that nothing need be touched as time passes, and the order of the items at any moment is the order of the weights.
type Popularity struct {
	halfLifeMillis float64
	t0             schema.EventTime // landmark; moves when the exponents grow large
	weight         []float64        // by row
}

// rescaleAt bounds the exponent of a weight: 2^500 leaves room for 2^500 clicks in a float64.
const rescaleAt = 500

// NewPopularity returns an empty table that forgets by half every halfLife of event time.
func NewPopularity(halfLife time.Duration) *Popularity {
	return &Popularity{halfLifeMillis: float64(halfLife.Milliseconds()), t0: schema.BeginningOfTime}
}

// Learn adds a click on row at time at.
func (p *Popularity) Learn(row model.Row, at schema.EventTime) {
	if p.t0 == schema.BeginningOfTime {
		p.t0 = at
	}
	exponent := float64(at-p.t0) / p.halfLifeMillis
	if exponent > rescaleAt {
		scale := math.Exp2(-exponent)
		for i := range p.weight {
			p.weight[i] *= scale
		}
		p.t0, exponent = at, 0
	}
	if need := int(row) + 1; need > len(p.weight) {
		p.weight = append(p.weight, make([]float64, need-len(p.weight))...)
	}
	p.weight[row] += math.Exp2(exponent)
}

// Log2 returns the base-2 logarithm of the forward-decayed weight of row, counted from the Unix epoch, or NeverClicked.
// Values taken at different times compare: a row's value changes only when it is clicked.
func (p *Popularity) Log2(row model.Row) float32 {
	if int(row) >= len(p.weight) || p.weight[row] == 0 {
		return NeverClicked
	}
	return float32(math.Log2(p.weight[row]) + float64(p.t0)/p.halfLifeMillis)
}

// Ranking is the order of popularity at one moment, down to place k.
type Ranking struct {
	weight []float64
	top    []float64 // the k largest weights, falling
	ties   int       // rows outside top with the weight of its last place
}

// Rank orders the rows below known and keeps the first k places.
func (p *Popularity) Rank(known, k int) Ranking {
	r := Ranking{weight: p.weight[:min(known, len(p.weight))]}
	for _, w := range r.weight {
		if w == 0 || (len(r.top) == k && w < r.top[k-1]) {
			continue
		}
		at, _ := slices.BinarySearchFunc(r.top, w, func(a, b float64) int { return cmp.Compare(b, a) })
		r.top = slices.Insert(r.top, at, w)
		if len(r.top) > k {
			if r.top[k] == r.top[k-1] {
				r.ties++
			} else {
				r.ties = 0
			}
			r.top = r.top[:k]
		}
	}
	return r
}

// Of returns the rank of row, or 0 when it is beyond the last place, unknown or never clicked.
func (r Ranking) Of(row model.Row) int {
	if int(row) >= len(r.weight) || r.weight[row] == 0 || len(r.top) == 0 {
		return 0
	}
	w := r.weight[row]
	last := r.top[len(r.top)-1]
	if w < last || (w == last && r.ties > 0) {
		return 0
	}
	rank, _ := slices.BinarySearchFunc(r.top, w, func(a, b float64) int {
		if a >= b {
			return -1
		}
		return 1
	})
	return rank
}

// Table returns the state for a checkpoint.
func (p *Popularity) Table() schema.Table {
	return schema.Table{
		Columns: []schema.Column{{Name: "weight", Data: p.weight}},
		Meta:    [][2]string{{"t0", fmt.Sprint(int64(p.t0))}, {"half_life_ms", fmt.Sprint(p.halfLifeMillis)}},
	}
}

// RestorePopularity is the inverse of Table. A half-life other than the one of the table is refused: the weights mean
// nothing under another.
func RestorePopularity(t schema.Table, halfLife time.Duration) (*Popularity, error) {
	p := NewPopularity(halfLife)
	weight, err := schema.Col[[]float64](t, "weight")
	if err != nil {
		return nil, fmt.Errorf("popularity: %w", err)
	}
	if _, err := fmt.Sscan(t.MetaValue("t0"), (*int64)(&p.t0)); err != nil {
		return nil, fmt.Errorf("popularity: %w: t0: %v", schema.ErrCorrupt, err)
	}
	if was := t.MetaValue("half_life_ms"); was != fmt.Sprint(p.halfLifeMillis) {
		return nil, fmt.Errorf("popularity: the checkpoint has a half-life of %s ms, the config %v: keep it, or start in a new data directory", was, halfLife)
	}
	p.weight = weight
	return p, nil
}
