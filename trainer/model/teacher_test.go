package model

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// randomTeacher is another network of the same shape, which does not know one item in three.
func randomTeacher(rng *rand.Rand, n *network) *teacher[float64] {
	t := newTeacher[float64](&n.cfg)
	t.reach(n.items)
	t.weight = 0.7
	for i, v := range n.w.arena {
		t.w.arena[i] = v + 0.3*rng.NormFloat64()
	}
	other := newCatalogue[float64](n.cfg.Dim)
	for r := range Row(n.items.n) {
		vector, bias := other.grow()
		for j := range vector {
			vector[j] = rng.NormFloat64()
		}
		bias[0] = rng.NormFloat64()
		if r%3 != 1 {
			t.learn(r, &other)
		}
	}
	for s := range Row(n.items.side.n) {
		for j, v := range n.items.side.vector(s) {
			t.items.side.vector(s)[j] = v / 2
		}
	}
	return t
}

// TestDistillGradient compares the gradient of loss and distance together with central differences, as TestLossGradient does that of the loss.
func TestDistillGradient(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			cfg := tiny()
			v.set(&cfg)
			checkLossGradient(t, cfg, 5, 6, 7, 5, true)
		})
	}
}

// TestDistanceByDefinition: the distance is that of two models with the same batch and the same candidates, one of which is the teacher, each asked by itself.
func TestDistanceByDefinition(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		cfg.Dropout = 0
		rng := rand.New(rand.NewPCG(21, 21))
		batch := whole(rng, 5, 4)
		for i := range batch {
			batch[i].Marks = randomMarks(rng, tinyItems)
		}
		n := newNetwork(cfg, rng, tinyItems, batch)
		n.aim(rng, tinyItems)
		n.draw()
		held := randomTeacher(rng, n)
		scores := func(of *net[float64]) (all [][]float64) {
			of.terms.live = n.terms.live
			of.forward(batch)
			of.compare(&n.task)
			sharp := 1.
			if cfg.Cosine {
				sharp = 1 / cfg.Temperature
			}
			l := &of.lanes[0]
			for i := range of.groups {
				g := &of.groups[i]
				draw := n.task.drawOf(i)
				for k := range g.layout.queries {
					s := make([]float64, draw.to-draw.from)
					of.addTerms(l, &n.task, draw, &g.layout.queries[k], s)
					for j, r := range n.task.candidates[draw.from:draw.to] {
						l.effect = effect[float64]{} // the terms are in s
						s[j] += of.product(l, r, g.pass.z[k*cfg.Dim:][:cfg.Dim], sharp) - n.task.logQ[draw.from+j]
					}
					all = append(all, s)
				}
			}
			return all
		}
		softmax := func(s []float64, draw span) []float64 {
			out, sum := make([]float64, len(s)), 0.
			for j, r := range n.task.candidates[draw.from:draw.to] {
				if held.known[r] {
					out[j] = math.Exp(s[j])
					sum += out[j]
				}
			}
			for j := range out {
				out[j] /= sum
			}
			return out
		}
		students, teachers := scores(n.net), scores(newNet(&n.cfg, held.w, &held.items))
		n.teacher = held
		n.loss()
		want, at := 0., 0
		for i := range n.groups {
			draw := n.task.drawOf(i)
			for range n.groups[i].layout.queries {
				p, q := softmax(teachers[at], draw), softmax(students[at], draw)
				for j := range p {
					if p[j] > 0 {
						want += held.weight * n.task.queries[at].weight * p[j] * math.Log(p[j]/q[j])
					}
				}
				at++
			}
		}
		if got := n.distance; math.Abs(got-want) > 1e-9*want || want < 0.1 {
			t.Errorf("the distance is %v, by the definition %v", got, want)
		}
	})
}

// TestDistanceToOneself: right behind Distill nothing pulls, and the step is the one without a teacher.
func TestDistanceToOneself(t *testing.T) {
	cfg := small()
	alone, rng := trained(t, cfg, 50, 3)
	held := restored(t, alone)
	held.Distill(0.5)
	batch := randomExamples(rng, alone.Items(), 6, 4, 3)
	a, b := alone.Learn(batch), held.Learn(batch)
	if b.Distance < 0 || b.Distance > 1e-6 || math.Abs(a.Loss-b.Loss) > 1e-6 || math.Abs(a.GradNorm-b.GradNorm) > 1e-5*a.GradNorm {
		t.Errorf("alone %+v, held to itself %+v", a, b)
	}
	if c := held.Learn(batch); !(c.Distance > 1e-6) {
		t.Errorf("a step later the distance is %v", c.Distance)
	}
}

// TestDistillHoldsBack: of two models that learn another stream from the same point on, the one that is held to what it was stays nearer to it.
func TestDistillHoldsBack(t *testing.T) {
	cfg := small()
	free, rng := trained(t, cfg, 50, 20)
	held := restored(t, free)
	free.Distill(1e-9) // measures, and moves nothing to speak of
	held.Distill(1)
	var apart [2]float64
	for range 30 {
		batch := randomExamples(rng, free.Items(), 6, 4, 3)
		a, b := free.Learn(batch), held.Learn(batch)
		apart[0], apart[1] = a.Distance/1e-9, b.Distance
	}
	if !(apart[1] < apart[0]/2) {
		t.Errorf("free, it is %v nats away from what it was, held %v", apart[0], apart[1])
	}
}

// TestTeacherRestores saves and restores a model under churn that is held to a new teacher now and then, at every step whole and at its end from pieces, and demands the bytes
// of one that never stopped (I3, I4). Rows that were given up are unknown to the teacher.
func TestTeacherRestores(t *testing.T) {
	for name, cfg := range lifeConfigs() {
		t.Run(name, func(t *testing.T) {
			straight, broken := newChurn(t, cfg), newChurn(t, cfg)
			var pieces []schema.Table
			keep := func(all bool) {
				if err := straight.m.EachRows(all, func(p schema.Table) error { pieces = append(pieces, p); return nil }); err != nil {
					t.Fatal(err)
				}
				straight.m.Saved()
			}
			unknown := 0
			for i := range 80 {
				straight.step(i)
				broken.step(i)
				if i%25 == 20 {
					straight.m.Distill(0.5)
					broken.m.Distill(0.5)
				}
				if i%10 == 3 {
					keep(i == 3)
				}
				broken.m = restored(t, broken.m)
				for r, id := range straight.m.ids {
					if teacher := straight.m.net.teacher; teacher != nil && !teacher.known[r] {
						unknown++
						if slices.ContainsFunc(teacher.items.vector(Row(r)), func(v float32) bool { return v != 0 }) {
							t.Fatalf("step %d: row %d, of %q, is unknown to the teacher and not zero", i, r, id)
						}
					}
				}
			}
			keep(false)
			tables, want := saved(t, straight.m)
			if _, got := saved(t, broken.m); !bytes.Equal(got, want) {
				t.Error("the bytes of the two models differ")
			}
			whole, err := RestoreRows(cfg, tables, func(yield func(schema.Table, error) bool) {
				for _, p := range pieces {
					if !yield(p, nil) {
						return
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, got := saved(t, whole); !bytes.Equal(got, want) {
				t.Error("the pieces do not add up to the whole")
			}
			if unknown == 0 || straight.m.net.teacher.weight != 0.5 {
				t.Error("the teacher knew all: forgetting was not tried")
			}
		})
	}
}

// TestRestoreRefusesADamagedTeacher changes one thing after the other.
func TestRestoreRefusesADamagedTeacher(t *testing.T) {
	cfg := small()
	m, _ := trained(t, cfg, 50, 3)
	m.Distill(0.5)
	for name, damage := range map[string]func(items, teacher *schema.Table){
		"weight":       func(_, teacher *schema.Table) { teacher.Meta = slices.Clone(teacher.Meta[:3]) },
		"other config": func(_, teacher *schema.Table) { teacher.Meta = [][2]string{{metaWeight, "1"}} },
		"no params":    func(_, teacher *schema.Table) { teacher.Columns = nil },
		"no vectors":   func(items, _ *schema.Table) { items.Columns = without(items.Columns, columnTaught) },
		"no biases":    func(items, _ *schema.Table) { items.Columns = without(items.Columns, columnTaughtBias) },
		"infinite": func(items, _ *schema.Table) {
			b, err := schema.Col[[]float32](*items, columnTaughtBias)
			if err != nil {
				t.Fatal(err)
			}
			b[7] = float32(math.Inf(1))
		},
	} {
		tables, _ := saved(t, m)
		items, teacher := tables[tableItems], tables[tableTeacher]
		damage(&items, &teacher)
		tables[tableItems], tables[tableTeacher] = items, teacher
		if _, err := Restore(cfg, tables); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func without(columns []schema.Column, name string) []schema.Column {
	return slices.DeleteFunc(slices.Clone(columns), func(c schema.Column) bool { return c.Name == name })
}
