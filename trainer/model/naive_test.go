package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// The networks by their formulas, in float64 and in loops alone: what the fast ones are compared with. Nothing is shared with these but
// the weights and the sum of an item's vectors.

// naiveToken is a token by what it stands for.
type naiveToken struct {
	session  int
	item     Row // -1 for a context token
	action   schema.Action
	scene    string
	time     schema.EventTime
	asks     schema.EventTime // the time as a query
	previous schema.EventTime // of the session before, where there is one
}

func times(x []float64, w nn.Block[float64]) []float64 {
	y := make([]float64, w.Cols)
	for i, v := range x {
		for j := range y {
			y[j] += v * w.Data[i*w.Stride+j]
		}
	}
	return y
}

func plus(x []float64, others ...[]float64) []float64 {
	y := append([]float64(nil), x...)
	for _, o := range others {
		for j := range y {
			y[j] += o[j]
		}
	}
	return y
}

func naiveNorm(x []float64) []float64 {
	mean, variance := 0., 0.
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for j, v := range x {
		y[j] = (v - mean) / math.Sqrt(variance+1e-6)
	}
	return y
}

func naiveSiLU(x float64) float64 { return x / (1 + math.Exp(-x)) }

func naiveUnit(x []float64) []float64 {
	y := make([]float64, len(x))
	for j, v := range x {
		y[j] = v / math.Sqrt(nn.SumSquares(x))
	}
	return y
}

// naiveTurn turns the pair (z, z+width/2) of a head by position·10000^(-2z/width).
func naiveTurn(head []float64, position int) []float64 {
	y, half := make([]float64, len(head)), len(head)/2
	for z := range half {
		sin, cos := math.Sincos(float64(position) * math.Pow(10000, -2*float64(z)/float64(len(head))))
		y[z], y[z+half] = head[z]*cos-head[z+half]*sin, head[z]*sin+head[z+half]*cos
	}
	return y
}

// naiveBucket is HSTU's: floor(ln(max(1, |seconds|))/0.301).
func naiveBucket(a, b schema.EventTime) int {
	return min(128, int(math.Log(max(1, math.Abs(float64(a-b))/1000))/0.301))
}

// naiveEmbedding is the sum of what a token is made of.
func (n *network) naiveEmbedding(place int, k naiveToken) []float64 {
	d := n.cfg.Dim
	row := func(table []float64, i int) []float64 { return table[i*d:][:d] }
	scene := int(sceneBucket(k.scene, n.cfg.Scenes))
	x := make([]float64, d)
	if k.item < 0 || scene != 0 {
		x = plus(row(n.w.scene, scene))
	}
	if k.item < 0 {
		gap := gapNone
		if k.previous > 0 {
			gap = gapBucket(k.previous, k.time)
		}
		x = plus(x, n.w.context, row(n.w.hour, int(k.time/3_600_000%24)), row(n.w.gap, int(gap)))
	} else {
		v := make([]float64, d)
		n.items.sum(v, k.item)
		x = plus(x, v, row(n.w.action, int(actionIndex(k.action))))
	}
	if n.cfg.Absolute {
		x = plus(x, row(n.w.place, place))
	}
	return x
}

// naiveQueries returns the answer of every token to the question of what comes next, under a mask: HSTU's blocks (arXiv 2402.17152, section 3)
//
//	[U,V,Q,K] = SiLU(LN(X)·W)     A = mask ⊙ SiLU(Q·Kᵀ + rab) / n     Y = X + (LN(A·V) ⊙ U)·W_o + b
//
// or those of SASRec (arXiv 1808.09781, section III), with the norm in front
//
//	[V,Q,K] = LN(X)·W + b         A = softmax(Q·Kᵀ/√w) under mask     Y = X + A·V·W_o + b     Z = Y + ReLU(LN(Y)·W_1 + b_1)·W_2 + b_2
func (n *network) naiveQueries(tokens []naiveToken, mask [][]bool, position []int) [][]float64 {
	cfg, d := n.cfg, n.cfg.Dim
	width := d / cfg.Heads
	var x [][]float64
	for t, k := range tokens {
		x = append(x, n.naiveEmbedding(t, k))
	}
	for b := range n.w.blocks {
		w := &n.w.blocks[b]
		var u, v, q, k [][]float64
		for t := range x {
			norm := naiveNorm(x[t])
			uq, vk := times(norm, w.uq[0]), times(norm, w.vk[0])
			if cfg.Attention == hstu {
				for j := range uq {
					uq[j], vk[j] = naiveSiLU(uq[j]), naiveSiLU(vk[j])
				}
				u, q = append(u, uq[:d]), append(q, uq[d:])
			} else {
				uq, vk = plus(uq, w.uqBias), plus(vk, w.vkBias)
				q = append(q, uq)
			}
			v, k = append(v, vk[:d]), append(k, vk[d:])
		}
		var y [][]float64
		for t := range x {
			o := make([]float64, d)
			for from := 0; from < d; from += width {
				weights, total := make([]float64, len(x)), 0.
				for r := range x {
					if !mask[t][r] {
						continue
					}
					qt, kr := q[t][from:][:width], k[r][from:][:width]
					if cfg.Rotary != none {
						qt, kr = naiveTurn(qt, position[t]), naiveTurn(kr, position[r])
					}
					s := 0.
					for j := range qt {
						s += qt[j] * kr[j]
					}
					rab := 0.
					if cfg.TimeBias {
						rab += w.time[naiveBucket(tokens[t].asks, tokens[r].time)]
					}
					if cfg.Distance {
						rab += w.distance[t-r]
					}
					if cfg.Attention == hstu {
						weights[r] = naiveSiLU(s+rab) / float64(cfg.MaxTokens)
					} else {
						weights[r] = math.Exp(s/math.Sqrt(float64(width)) + rab)
						total += weights[r]
					}
				}
				for r := range x {
					for j := range width {
						if cfg.Attention == hstu {
							o[from+j] += weights[r] * v[r][from+j]
						} else {
							o[from+j] += weights[r] / total * v[r][from+j]
						}
					}
				}
			}
			if cfg.Attention == hstu {
				o = naiveNorm(o)
				for j := range o {
					o[j] *= u[t][j]
				}
			}
			out := plus(x[t], times(o, w.out), w.outBias)
			if cfg.FFN > 0 {
				hidden := plus(times(naiveNorm(out), w.ffnIn), w.ffnInBias)
				for j := range hidden {
					hidden[j] = max(0, hidden[j])
				}
				out = plus(out, times(hidden, w.ffnOut), w.ffnOutBias)
			}
			y = append(y, out)
		}
		x = y
	}
	for t := range x {
		h := naiveNorm(x[t])
		x[t] = plus(h, times(h, n.w.query[0]))
		if cfg.Cosine {
			x[t] = naiveUnit(x[t])
		}
	}
	return x
}

// compareNaive compares all queries of one example, to what float64 is good for after some hundred operations.
func compareNaive(t *testing.T, n *network, e Example, tokens []naiveToken, mask [][]bool, position []int) {
	t.Helper()
	want := n.naiveQueries(tokens, mask, position)
	got := askings(n.net, []Example{e})
	for _, a := range got {
		if !closeTo(a.z, want[a.at], 1e-12) {
			t.Errorf("the query of token %d of %d is\n%.15g\nby the formula\n%.15g", a.at, len(tokens), a.z, want[a.at])
		}
	}
	asks := 0
	for _, k := range tokens {
		if k.item < 0 || n.cfg.Tokens == item {
			asks++
		}
	}
	if len(got) != asks {
		t.Errorf("%d queries of %d tokens that ask", len(got), asks)
	}
}

// TestOneEventSessionsAreHSTUAndSASRec: sessions of one event under tokens item are a plain sequence of items, each of which asks for the next, at its time.
func TestOneEventSessionsAreHSTUAndSASRec(t *testing.T) {
	for _, name := range []string{"HSTU", "SASRec"} {
		for _, rotary := range []string{token, none} {
			cfg := tiny()
			for _, v := range variants {
				if v.name == name {
					v.set(&cfg)
				}
			}
			cfg.Rotary, cfg.MaxSessions = rotary, 12
			rng := rand.New(rand.NewPCG(9, 9))
			for _, length := range []int{1, 2, 11} {
				e := randomExamples(rng, tinyItems, 1, length, 1)[0]
				e.Learn = len(e.Past)
				var tokens []naiveToken
				var mask [][]bool
				var position []int
				for i, s := range e.Past {
					asks := e.At
					if i+1 < len(e.Past) {
						asks = e.Past[i+1].At
					}
					tokens = append(tokens, naiveToken{item: s.Events[0].Row, action: s.Events[0].Action, scene: s.Scene, time: s.At, asks: asks})
					mask = append(mask, make([]bool, length))
					for r := range i + 1 {
						mask[i][r] = true
					}
					position = append(position, i)
				}
				t.Run(fmt.Sprint(name, " rotary ", rotary, " length ", length), func(t *testing.T) {
					compareNaive(t, newNetwork(cfg, rng, tinyItems, nil), e, tokens, mask, position)
				})
			}
		}
	}
}

// TestSessionMaskByItsMatrix is TBGRecall's mask, written down (c is a context token, digits are items):
//
//	M[t,r] = 1 iff k(r) < k(t), or r = t, or k(r) = k(t), r is a context token and t an item
func TestSessionMaskByItsMatrix(t *testing.T) {
	matrix := []string{
		//c 1 2 c 3 c 4 5 6 c
		"1 . . . . . . . . .", // c
		"1 1 . . . . . . . .", // 1
		"1 . 1 . . . . . . .", // 2
		"1 1 1 1 . . . . . .", // c
		"1 1 1 1 1 . . . . .", // 3
		"1 1 1 1 1 1 . . . .", // c
		"1 1 1 1 1 1 1 . . .", // 4
		"1 1 1 1 1 1 . 1 . .", // 5
		"1 1 1 1 1 1 . . 1 .", // 6
		"1 1 1 1 1 1 1 1 1 1", // c of the request
	}
	e := Example{At: 1_700_000_400_000, Scene: "shop", Past: []Session{
		{At: 1_700_000_000_000, Scene: "home", Events: []Event{{1, schema.ActionClick}, {2, schema.ActionCart}}},
		{At: 1_700_000_060_000, Events: []Event{{3, schema.ActionPurchase}}},
		{At: 1_700_000_067_000, Scene: "home", Events: []Event{{4, schema.ActionClick}, {5, schema.ActionClick}, {6, schema.ActionExposure}}},
	}, Learn: 3, Targets: []Row{7}}
	var tokens []naiveToken
	var position []int
	before := schema.EventTime(0)
	add := func(session int, at schema.EventTime, scene string, events []Event) {
		tokens = append(tokens, naiveToken{session: session, item: -1, scene: scene, time: at, asks: at, previous: before})
		for _, v := range events {
			tokens = append(tokens, naiveToken{session: session, item: v.Row, action: v.Action, scene: scene, time: at, asks: at})
		}
		before = at
	}
	for s, of := range e.Past {
		add(s, of.At, of.Scene, of.Events)
	}
	add(len(e.Past), e.At, e.Scene, nil)
	mask := make([][]bool, len(tokens))
	for i, a := range tokens {
		position = append(position, a.session)
		for r, b := range tokens {
			drawn := matrix[i][2*r] == '1'
			mask[i] = append(mask[i], drawn)
			if rule := b.session < a.session || i == r || a.session == b.session && b.item < 0 && a.item >= 0; rule != drawn {
				t.Errorf("token %d sees token %d: drawn %v, by the rule %v", i, r, drawn, rule)
			}
		}
	}
	for i := range 8 { // also with places and distances
		cfg := tiny()
		cfg.Attention, cfg.Blocks, cfg.Absolute, cfg.Distance = []string{hstu, softmax}[i%2], 3, i&2 > 0, i&4 > 0
		compareNaive(t, newNetwork(cfg, rand.New(rand.NewPCG(10, 10)), tinyItems, nil), e, tokens, mask, position)
	}
}
