package model

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// The curves of three small networks, as PyTorch trains them in float64: testdata/golden-*.txt, made by testdata/golden.py, which says how to
// make them again. Weights, items and batches come from the same formulas here.

const (
	goldenSteps, goldenItems, goldenSides, goldenUsers = 10, 13, 5, 6
	// exact bounds what float64 may be off, of the number or of the norm of its tensor's gradient. Measured: 4e-15, of which 1e-15 is that the numbers are written with 15
	// digits; the rest of the room is for other machines' sines and sums.
	exact = 1e-12
	// What float32 may be off after up to ten steps of training, of a loss and of the norm of a gradient. Measured: 5e-8 and 3e-6, with OpenBLAS and in plain Go; PyTorch's own losses in
	// float32 are within 2e-7 of those in float64. A gradient is a sum of terms that cancel, which costs a digit or two.
	singleLoss, singleGradient = 5e-7, 3e-5
)

func goldenConfigs() map[string]Config {
	base := DefaultConfig()
	base.Dim, base.Heads, base.MaxTokens, base.MaxSessions, base.Scenes = 12, 3, 14, 4, 3
	base.DenseRate, base.Beta1, base.Beta2, base.Clip, base.Temperature, base.HorizonDecay = 1e-3, 0.9, 0.98, 0, 0.5, 0.5
	base.RowRate, base.SideRate, base.LogQ = 0.05, 0.1, false
	base.Terms = false // PyTorch knows nothing of them
	h := base
	h.Tokens, h.Rotary, h.Absolute, h.Distance, h.ItemBias, h.RowOptimizer, h.RowRate = item, none, true, true, false, adam, 1e-3
	s := base
	s.Tokens, s.Rotary, s.Absolute, s.TimeBias, s.Attention, s.FFN, s.Cosine, s.WeightDecay = item, none, true, false, softmax, 12, true, 0.1
	t := base
	t.UserRows, t.TokenNetworks, t.Horizon, t.Experts, t.ExpertWidth, t.Cosine, t.Blocks = 5, true, 2, 4, 6, true, 3
	t.Exposures, t.ClickWeight, t.PayWeight, t.SceneNorm, t.Clip = true, 0.7, 0.4, true, 0.5
	return map[string]Config{"hstu": h, "sasrec": s, "tbgrecall": t}
}

// wave fills x with numbers that know no pattern: scale times the sine of the square of their place, plus k.
func wave(x []float64, k int) []float64 {
	for i := range x {
		x[i] = 0.3 * math.Sin(float64(i)*float64(i)+float64(k))
	}
	return x
}

// goldenModel is the model before the first step, and what is in it as float64.
func goldenModel(t *testing.T, name string, cfg Config) (*Model, *net[float64]) {
	t.Helper()
	m := filled(t, cfg, 0)
	w, long := newWeights[float64](&m.cfg), newCatalogue[float64](cfg.Dim)
	for k := range m.specs {
		narrow(m.w.views[k], wave(w.views[k], k))
	}
	d := cfg.Dim
	vectors, biases := wave(make([]float64, goldenItems*d), 1000), wave(make([]float64, goldenItems), 1001)
	sideVectors, sideBiases := wave(make([]float64, (goldenSides+1)*d), 1002), wave(make([]float64, goldenSides+1), 1003)
	if !cfg.ItemBias {
		clear(biases)
		clear(sideBiases)
	}
	for s := 1; s <= goldenSides; s++ {
		m.appendSide(sideKey{0, fmt.Sprint(s)})
		vector, bias := long.side.grow()
		copy(vector, sideVectors[s*d:])
		bias[0] = sideBiases[s]
		narrow(m.items.side.vector(Row(s)), vector)
		narrow(m.items.side.biasOf(Row(s)), bias)
	}
	for r := range goldenItems {
		m.Admit(fmt.Sprint("item ", r), schema.ItemInfo{}, 0)
		vector, bias := long.grow()
		copy(vector, vectors[r*d:])
		bias[0] = biases[r]
		narrow(m.items.vector(Row(r)), vector)
		narrow(m.items.biasOf(Row(r)), bias)
		var of sides
		if r%4 != 3 {
			of[0] = int32(1 + r%3)
		}
		if r%5 != 4 {
			of[1] = int32(4 + r%2)
		}
		if name != "hstu" {
			*m.items.sidesOf(Row(r)), *long.sidesOf(Row(r)) = of, of
		}
	}
	return m, newNet(&m.cfg, w, &long)
}

func narrow(to []float32, from []float64) {
	for i, v := range from {
		to[i] = float32(v)
	}
}

// goldenBatch is six users with 0 to 5 sessions of 1 to 4 items; b is 0 or 1.
func goldenBatch(b int) []Example {
	actions := []schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, schema.ActionPurchase}
	var out []Example
	for u := range goldenUsers {
		at := schema.EventTime(1_700_000_000_000 + 7_000_000*u + 500_000*b)
		e := Example{User: fmt.Sprint("user ", u), Scene: []string{"home", "shop"}[u%2]}
		for s := range (5*u + 4*b) % 6 {
			of := Session{At: at, Scene: []string{"", "home", "shop"}[(u+s)%3]}
			for j := range 1 + (u+2*s+b)%4 {
				of.Events = append(of.Events, Event{Row((5*u + 3*s + 4*j + b) % goldenItems), actions[(u+2*s+3*j)%4]})
			}
			e.Past = append(e.Past, of)
			at += schema.EventTime(1700 * (s + 1) * (s + 1) * (s + 1) * (s + 1) * (2*u + 1) * (2*u + 1))
		}
		for j := range 1 + u%3 {
			e.Targets, e.Actions = append(e.Targets, Row((2*u+5*j+b)%goldenItems)), append(e.Actions, actions[(u+j+1)%4])
		}
		e.At, e.Learn = at, min(len(e.Past), u)
		out = append(out, e)
	}
	return out
}

// goldenTask is what the model would judge the batch by, but for its draws: the candidates and their correction are given.
func goldenTask(m *Model, name string) *task {
	t := m.sample()
	t.candidates, t.logQ, t.sampledToo = []Row{0, 1, 2, 3, 5, 6, 8, 10, 12}, nil, true
	if name == "sasrec" {
		for j := range t.candidates {
			t.logQ = append(t.logQ, -0.1-0.2*float64(j))
		}
	}
	return t
}

// golden is what PyTorch has computed, and what of it was asked for.
type golden struct {
	values map[string]float64
	asked  map[string]bool
}

func readGolden(t *testing.T, name string) *golden {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "golden-"+name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := &golden{map[string]float64{}, map[string]bool{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		what, number, ok := strings.Cut(lines.Text(), " = ")
		if !ok {
			continue
		}
		if g.values[what], err = strconv.ParseFloat(number, 64); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// check demands a number within bound times scale, or times the number where scale is 0.
func (g *golden) check(t *testing.T, what string, got, scale, bound float64) {
	t.Helper()
	want, ok := g.values[what]
	if !ok {
		t.Errorf("%s is not in the golden file", what)
	}
	g.asked[what] = true
	if scale == 0 {
		scale = math.Abs(want)
	}
	if off := math.Abs(got - want); !(off <= bound*scale) {
		t.Errorf("%s = %.12g, PyTorch has %.12g: off by %.2g of %.2g", what, got, want, off/scale, scale)
	}
}

// complete demands that every number that is meant was compared.
func (g *golden) complete(t *testing.T, meant func(what string) bool) {
	t.Helper()
	for what := range g.values {
		if meant(what) && !g.asked[what] {
			t.Errorf("%s was not compared", what)
		}
	}
	if len(g.asked) < 70 {
		t.Errorf("only %d numbers were compared", len(g.asked))
	}
}

// gradients are those of the last learn, by name.
func gradients[F nn.Float](n *net[F], specs []spec, items int) (names []string, of map[string][]F) {
	of = map[string][]F{}
	for k := range specs {
		if !strings.HasSuffix(specs[k].name, "balance") { // counts
			names, of[specs[k].name] = append(names, specs[k].name), n.lanes[0].dw.views[k]
		}
	}
	d := n.cfg.Dim
	vectors, biases := make([]F, items*d), make([]F, items)
	for s, r := range n.rows.rows {
		copy(vectors[int(r)*d:], n.rows.grad[s*d:][:d])
		biases[r] = n.rows.dBias[s]
	}
	side, sideBias := make([]F, (n.items.side.n-1)*d), make([]F, n.items.side.n-1)
	for s, r := range n.side.rows {
		copy(side[int(r-1)*d:], n.side.grad[s*d:][:d])
		sideBias[r-1] = n.side.dBias[s]
	}
	of["vectors"], of["biases"], of["side vectors"], of["side biases"] = vectors, biases, side, sideBias
	return append(names, "vectors", "biases", "side vectors", "side biases"), of
}

// TestGoldenFirstStep compares the first loss and its gradients in float64.
func TestGoldenFirstStep(t *testing.T) {
	for name, cfg := range goldenConfigs() {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			m, n := goldenModel(t, name, cfg)
			batch := goldenBatch(0)
			m.net.lay(batch)
			n.forward(batch)
			loss := n.learn(goldenTask(m, name), false, 0)
			g.check(t, "step 0 loss", loss, 0, exact)
			for j := range cfg.Dim {
				g.check(t, fmt.Sprintf("query 1 [%d]", j), n.groups[0].pass.z[cfg.Dim+j], 1, exact)
			}
			names, of := gradients(n, m.specs, goldenItems)
			for _, tensor := range names {
				grad := of[tensor]
				if _, ok := g.values["step 0 gradient "+tensor]; !ok {
					continue // biases that the network does without
				}
				norm := math.Sqrt(nn.SumSquares(grad))
				g.check(t, "step 0 gradient "+tensor, norm, max(norm, 1e-3), exact)
				for _, i := range []int{1, len(grad) / 2, len(grad) - 1} {
					g.check(t, fmt.Sprintf("gradient %s [%d]", tensor, i), grad[i], max(norm, 1e-3), exact)
				}
			}
			g.complete(t, func(what string) bool {
				return !strings.HasPrefix(what, "after") && (!strings.HasPrefix(what, "step") || strings.HasPrefix(what, "step 0"))
			})
		})
	}
}

// TestGoldenCurve trains the model, which is of float32, for ten steps: loss and gradients at each, and weights after the last.
func TestGoldenCurve(t *testing.T) {
	for name, cfg := range goldenConfigs() {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			m, _ := goldenModel(t, name, cfg)
			for step := range goldenSteps {
				m.Forward(goldenBatch(step % 2))
				loss := m.net.learn(goldenTask(m, name), false, 0)
				g.check(t, fmt.Sprintf("step %d loss", step), loss, 0, singleLoss)
				loads := m.loads()
				names, of := gradients(m.net, m.specs, goldenItems)
				for _, tensor := range names {
					what := fmt.Sprintf("step %d gradient %s", step, tensor)
					if _, ok := g.values[what]; ok {
						norm := math.Sqrt(nn.SumSquares(of[tensor]))
						g.check(t, what, norm, max(norm, 1e-2), singleGradient)
					}
				}
				m.update(math.Sqrt(nn.SumSquares(m.net.lanes[0].dw.arena)))
				m.balance(loads)
			}
			for k := range m.specs {
				g.check(t, "after "+m.specs[k].name+" [1]", float64(m.w.views[k][1]), 1, 1e-5)
			}
			g.check(t, "after vectors [1]", float64(m.items.vector(0)[1]), 1, 1e-5)
			g.complete(t, func(what string) bool { return strings.HasPrefix(what, "step") || strings.HasPrefix(what, "after") })
		})
	}
}
