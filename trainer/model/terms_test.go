package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// listed is a Live of given numbers; rows that it has never heard of are zero.   (rows, ItemTerms)
type listed []float32

var _ Live = listed(nil)

func (l listed) ItemTerms(dst []float32, from Row) {
	clear(dst[copy(dst, l[min(len(l), int(from)*ItemTerms):]):])
}

func (l listed) ItemTermsOf(dst []float32, rows []Row) {
	for i, r := range rows {
		l.ItemTerms(dst[i*ItemTerms:][:ItemTerms], r)
	}
}

func randomLive(rng *rand.Rand, items int) listed {
	l := make(listed, items*ItemTerms)
	for i := range l {
		l[i] = float32(rng.NormFloat64())
	}
	return l
}

// randomMarks has some rows with one to three marks.
func randomMarks(rng *rand.Rand, items int) (marks []Mark) {
	rows := rng.Perm(items)[:1+rng.IntN(items)]
	slices.Sort(rows)
	for _, r := range rows {
		kinds := rng.Perm(MarkTerms)[:1+rng.IntN(3)]
		slices.Sort(kinds)
		for _, k := range kinds {
			marks = append(marks, Mark{Row(r), uint8(k), float32(rng.NormFloat64())})
		}
	}
	return marks
}

// manyMarks are n rows with one mark each.
func manyMarks(rng *rand.Rand, items, n int) (marks []Mark) {
	for _, r := range rng.Perm(items)[:n] {
		marks = append(marks, Mark{Row(r), uint8(rng.IntN(MarkTerms)), rng.Float32()})
	}
	slices.SortFunc(marks, func(a, b Mark) int { return int(a.Row - b.Row) })
	return marks
}

// termsByDefinition is what the terms add to the score of a row for an example, from the weights by their names.
func termsByDefinition[F nn.Float](w *weights[F], specs []spec, live listed, e Example, r Row) float64 {
	tensor := func(name string) []F {
		return w.views[slices.IndexFunc(specs, func(s spec) bool { return s.name == name })]
	}
	items, marks := tensor("item_terms"), tensor("mark_terms")
	g := gapNone
	for _, s := range e.Past {
		if len(s.Events) > 0 {
			g = 0
			for g < gapNone-1 && float64(e.At-s.At)/1000 >= gapEdges[g] {
				g++
			}
		}
	}
	sum := 0.
	for t := range ItemTerms {
		x := 0.
		if at := int(r)*ItemTerms + t; at < len(live) {
			x = float64(live[at])
		}
		sum += x * (float64(items[t]) + float64(items[(1+int(g))*ItemTerms+t]))
	}
	for _, mark := range e.Marks {
		if mark.Row == r {
			sum += float64(mark.Value) * (float64(marks[mark.Of]) + float64(marks[(1+int(g))*MarkTerms+int(mark.Of)]))
		}
	}
	return sum
}

// termedModel is a model whose terms matter, after some steps with them.
func termedModel(tb testing.TB, cfg Config, items, steps int) (*Model, listed, *rand.Rand) {
	tb.Helper()
	m := filled(tb, cfg, items)
	rng := rand.New(rand.NewPCG(17, 17))
	live := randomLive(rng, items-items/10) // of the last items nothing is known
	m.Attach(live)
	for i := m.w.dense; i < len(m.w.arena); i++ {
		m.w.arena[i] += 0.2 * float32(rng.NormFloat64())
	}
	for range steps {
		m.Forward(termedExamples(rng, items, 8, 5, 4))
		if s := m.Step(); s.Skipped {
			tb.Fatalf("step skipped: %+v", s)
		}
	}
	return m, live, rng
}

// termedExamples have gaps in all buckets, and marks but for one in five.
func termedExamples(rng *rand.Rand, items, count, sessions, events int) []Example {
	batch := randomExamples(rng, items, count, sessions, events)
	for i := range batch {
		batch[i].At += schema.EventTime(1000 * math.Exp(14*rng.Float64()))
		if rng.IntN(5) > 0 {
			batch[i].Marks = randomMarks(rng, items)
		}
	}
	return batch
}

// TestScoresHaveTheTerms compares ranks and tops with the scores by definition, in float64, of all rows; over all tables at once and in groups.
func TestScoresHaveTheTerms(t *testing.T) {
	for _, cosine := range []bool{false, true} {
		cfg := small()
		cfg.Cosine = cosine
		const items, known = 90, 80
		m, live, rng := termedModel(t, cfg, items, 5)
		batch := termedExamples(rng, items, 40, 4, 3)
		m.Forward(batch)
		z := slices.Clone(m.queries())
		for _, bound := range []int{maxScores, 1, 3 * known} {
			ranks, tops := m.judgeWithin(known, 10, len(m.batch), nil, bound)
			moved := 0
			for i, e := range batch {
				var all []ScoredRow
				exact := map[Row]float64{}
				for r := range Row(known) {
					of := termsByDefinition(m.w, m.specs, live, e, r)
					exact[r] = m.naiveScore(z[i*cfg.Dim:][:cfg.Dim], r) + of
					if math.Abs(of) > 0.1 {
						moved++
					}
					all = append(all, ScoredRow{r, float32(exact[r])})
				}
				for j, target := range e.Targets {
					least, most := int32(0), int32(0) // float32 may turn what is nearly equal around
					for r := range Row(known) {
						if exact[r] >= exact[target]+1e-5 || r == target {
							least++
						}
						if exact[r] >= exact[target]-1e-5 {
							most++
						}
					}
					if target >= known {
						least, most = 0, 0
					}
					if ranks[i][j] < least || ranks[i][j] > most {
						t.Errorf("example %d, target %d: rank %d, want %d to %d", i, target, ranks[i][j], least, most)
					}
				}
				slices.SortStableFunc(all, func(a, b ScoredRow) int { return int(math.Copysign(1, float64(b.Score-a.Score))) })
				if len(tops[i]) != 10 {
					t.Fatalf("%d of the best rows, want 10", len(tops[i]))
				}
				for j, of := range tops[i] {
					if math.Abs(float64(of.Score)-exact[of.Row]) > 1e-5 || math.Abs(float64(of.Score-all[j].Score)) > 1e-5 {
						t.Errorf("example %d, place %d: row %d with %v, by definition it has %v and the place %v", i, j, of.Row, of.Score, exact[of.Row], all[j])
					}
				}
			}
			if moved < 1000 {
				t.Errorf("only %d scores were moved by terms", moved)
			}
		}
	}
}

// countedLive counts how often the terms of neighbouring rows are asked for.
type countedLive struct {
	Live
	asked atomic.Int64
}

func (l *countedLive) ItemTerms(dst []float32, from Row) {
	l.asked.Add(1)
	l.Live.ItemTerms(dst, from)
}

// TestNoLookAsksForNothing: a batch of which nothing is tested costs nothing that grows with the table.
func TestNoLookAsksForNothing(t *testing.T) {
	m, live, rng := termedModel(t, small(), 60, 1)
	counted := &countedLive{Live: live}
	m.Attach(counted)
	m.Forward(termedExamples(rng, 60, 8, 4, 3))
	if ranks, tops := m.Judge(50, 5, 0); len(ranks) != 0 || len(tops) != 0 || counted.asked.Load() != 0 {
		t.Errorf("%d ranks, %d lists, the terms asked for %d times, of no example", len(ranks), len(tops), counted.asked.Load())
	}
	if m.Judge(50, 5, 1); counted.asked.Load() == 0 {
		t.Error("no terms asked for, of one example")
	}
}

// TestTopsAreTheSorted scores: rows that are equal in every bit come by their rows, what is not a number never comes, and few rows are all there are.
func TestTopsAreTheSorted(t *testing.T) {
	m, _, rng := termedModel(t, small(), 60, 3)
	for _, r := range []Row{8, 30} { // as row 7
		copy(m.items.vector(r), m.items.vector(7))
		m.items.biasOf(r)[0] = m.items.biasOf(7)[0]
		*m.items.sidesOf(r) = *m.items.sidesOf(7)
	}
	m.Attach(nil)
	m.items.biasOf(11)[0] = float32(math.NaN())
	batch := randomExamples(rng, 60, 12, 4, 3)
	m.Forward(batch)
	for _, k := range []int{-1, 0, 1, 7, 50, 51, 100} {
		_, tops := m.Judge(50, k, 1<<20)
		for i := range batch {
			scores := m.ranks.scores[i*50:][:50]
			var want []ScoredRow
			for r, s := range scores {
				if s == s {
					want = append(want, ScoredRow{Row(r), s})
				}
			}
			slices.SortStableFunc(want, func(a, b ScoredRow) int {
				switch {
				case a.Score > b.Score:
					return -1
				case a.Score < b.Score:
					return 1
				}
				return 0
			})
			if want = want[:max(0, min(k, len(want)))]; !slices.Equal(tops[i], want) {
				t.Fatalf("k %d, example %d: %v, want %v", k, i, tops[i], want)
			}
		}
	}
	if ranks, tops := m.Judge(0, 5, 1<<20); len(ranks) != len(batch) || len(tops) != len(batch) || len(tops[0]) != 0 {
		t.Errorf("with nothing known: %v, %v", ranks, tops)
	}
}

// TestMarksOfARow finds them all.
func TestMarksOfARow(t *testing.T) {
	rng := rand.New(rand.NewPCG(26, 26))
	for range 50 {
		e := effect[float32]{marks: randomMarks(rng, 20)}
		for r := range Row(20) {
			var want []Mark
			for _, m := range e.marks {
				if m.Row == r {
					want = append(want, m)
				}
			}
			if got := e.marksOf(r); !slices.Equal(got, want) {
				t.Fatal(fmt.Sprint("row ", r, ": ", got, ", want ", want))
			}
		}
	}
}
