package evaluate

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

const (
	minBlockTests = 256
	minBlocks     = 6
	maxBlocks     = 64 // fewer than this
	exactFlips    = 11 // with up to so many blocks all signs are tried
	randomFlips   = 1<<exactFlips - 1
	flipSeed      = 1 // the same sums give the same p-value (I4)
)

// Comparison is the difference of two arms in one metric, over the tests that both judged.
//
// Neighbouring tests are alike: a user's clicks follow one another, and news of the hour makes all of them easy or hard. As if they were independent,
// a difference would look surer than it is. So tests are put into blocks of consecutive ones, and the blocks' mean differences, which are
// nearly independent and nearly normal, go into a paired t-test: the method of batch means (Schmeiser 1982, "Batch size effects in the analysis of
// simulation output", who finds that more than some 30 batches add little; Steiger & Wilson 2002). Blocks have at least 256 tests and grow with the stream, so that they are between
// 32 and 63 on a long one. PFlip asks less: that each block's difference is as likely to have either sign if the arms are alike (Fisher's
// randomisation test; Smucker, Allan & Carterette 2007 recommend it for retrieval). Where Lag1 is far from 0, blocks are still alike and both p-values too small.
type Comparison struct {
	A          string  `json:"a"`
	B          string  `json:"b"`
	Metric     string  `json:"metric"`
	Tests      int64   `json:"tests"`
	Blocks     int     `json:"blocks"`
	Difference float64 `json:"difference"` // mean of a - b
	Low        float64 `json:"low"`        // the 95 % confidence interval of it
	High       float64 `json:"high"`
	P          float64 `json:"p"`      // two-sided, paired t-test
	PFlip      float64 `json:"p_flip"` // two-sided, sign-flip test
	Lag1       float64 `json:"lag_1"`  // correlation of neighbouring blocks' differences
}

// Compare compares two arms over the last share of the tests of a kind: Compare(NextClick, 1, "model", "stan", "mrr_at_20"). Ok is false where there is no such arm or
// metric, or they have too few tests in common to tell: six blocks.
func (e *Evaluation) Compare(k Kind, share float64, a, b, metric string) (c Comparison, ok bool) {
	ia, ib, im := slices.Index(e.cfg.Arms, a), slices.Index(e.cfg.Arms, b), slices.Index(metricNames[:], metric)
	if ia < 0 || ib < 0 || im < 0 {
		return Comparison{}, false
	}
	w := len(e.test)
	curve := &e.boards[k].curve
	points := curve.points
	points = points[int(float64(len(points)/w)*(1-share))*w:]
	var differences []float64
	for p := range slices.Chunk(points, w) {
		pa, pb := p[armAt(ia):][:perArm], p[armAt(ib):][:perArm]
		if n := p[atTests]; n == float64(curve.width) && pa[0] == n && pb[0] == n {
			differences = append(differences, (pa[1+im]-pb[1+im])/n)
		}
	}
	c, ok = paired(differences, curve.width)
	c.A, c.B, c.Metric = a, b, metric
	return c, ok
}

// paired compares by the mean differences of runs of width tests.
func paired(runs []float64, width int64) (c Comparison, ok bool) {
	if len(runs) == 0 {
		return Comparison{}, false
	}
	joined := 1
	for int64(joined)*width < minBlockTests || len(runs)/joined >= maxBlocks {
		joined *= 2
	}
	runs = runs[len(runs)%joined:] // the oldest are left over
	var blocks []float64
	for run := range slices.Chunk(runs, joined) {
		blocks = append(blocks, mean(run))
	}
	n := len(blocks)
	if n < minBlocks {
		return Comparison{}, false
	}
	c = Comparison{Tests: int64(len(runs)) * width, Blocks: n, Difference: mean(blocks)}
	var squares, neighbours float64
	for i, d := range blocks {
		squares += (d - c.Difference) * (d - c.Difference)
		if i > 0 {
			neighbours += (d - c.Difference) * (blocks[i-1] - c.Difference)
		}
	}
	if squares == 0 { // each block differs by the same
		c.Low, c.High, c.P = c.Difference, c.Difference, 0
		if c.Difference == 0 {
			c.P = 1
		}
	} else {
		deviation := math.Sqrt(squares / float64(n-1) / float64(n))
		reach := studentReach(0.05, n-1) * deviation
		c.Low, c.High = c.Difference-reach, c.Difference+reach
		c.P = studentTails(c.Difference/deviation, n-1)
		c.Lag1 = neighbours / squares
	}
	c.PFlip = flip(blocks)
	return c, true
}

// studentTails is how likely Student's t with so many degrees of freedom is as far from 0 as t.
func studentTails(t float64, freedom int) float64 {
	nu := float64(freedom)
	return mathext.RegIncBeta(nu/2, 0.5, nu/(nu+t*t))
}

// studentReach is the inverse of studentTails.
func studentReach(tails float64, freedom int) float64 {
	nu := float64(freedom)
	return math.Sqrt(nu * (1/mathext.InvRegIncBeta(nu/2, 0.5, tails) - 1))
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x
	}
	return m / float64(len(v))
}

// flip returns how often the blocks' sum would be as far from 0 if each block's sign were drawn: all signs are tried, or random ones with the observed beside them.
func flip(blocks []float64) float64 {
	sum := func(signs uint64) (s float64) {
		for i, d := range blocks {
			if signs>>i&1 == 1 {
				d = -d
			}
			s += d
		}
		return math.Abs(s)
	}
	observed := sum(0)
	observed -= 1e-12 * observed // a sum of the same numbers in another order is not less
	extreme := 0
	if len(blocks) <= exactFlips {
		all := uint64(1) << len(blocks)
		for signs := range all {
			if sum(signs) >= observed {
				extreme++
			}
		}
		return float64(extreme) / float64(all)
	}
	rng := rand.New(rand.NewPCG(flipSeed, uint64(len(blocks))))
	for range randomFlips {
		if sum(rng.Uint64()) >= observed {
			extreme++
		}
	}
	return float64(extreme+1) / (randomFlips + 1)
}

// Hits compares two arms by whether they found a target within K (McNemar 1947). It takes tests as independent, which makes P too small
// where neighbours are alike; the counts are what it is for.
type Hits struct {
	A     string  `json:"a"`
	B     string  `json:"b"`
	K     int     `json:"k"`
	OnlyA int64   `json:"only_a"` // tests in which a found one and b none
	OnlyB int64   `json:"only_b"`
	P     float64 `json:"p"` // two-sided
}

// CompareHits compares two arms over all tests of a kind that both judged; ok is false where there is no such arm, or k is none of Places.
func (e *Evaluation) CompareHits(kind Kind, a, b string, k int) (h Hits, ok bool) {
	ia, ib, ik := slices.Index(e.cfg.Arms, a), slices.Index(e.cfg.Arms, b), slices.Index(Places[:], k)
	if ia < 0 || ib < 0 || ik < 0 {
		return Hits{}, false
	}
	onlyA, onlyB := e.boards[kind].pairs.of(ik, ia, ib)
	return Hits{A: a, B: b, K: k, OnlyA: int64(onlyA), OnlyB: int64(onlyB), P: mcNemar(onlyA, onlyB)}, true
}

// mcNemar is exact below 1000 disagreements, by the binomial; above, the chi-squared with Edwards' correction differs by less than what is shown.
func mcNemar(b, c float64) float64 {
	n := b + c
	if n == 0 {
		return 1
	}
	if n < 1000 {
		low := min(b, c)
		return min(1, 2*mathext.RegIncBeta(n-low, low+1, 0.5))
	}
	d := max(0, math.Abs(b-c)-1)
	return math.Erfc(d / math.Sqrt(2*n))
}
