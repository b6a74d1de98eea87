package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var precisions = []Precision{Float32, Int8, Int4}

// serve loads a model's whole snapshot with a precision.
func serve(tb testing.TB, m *Model, p Precision) *Served {
	tb.Helper()
	o := m.Snapshot(true, nil).Objects()
	s, err := Serving{Precision: p}.Load(o[0].Table, o[1].Table)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// scoredNaively are the scores of all rows by definition, in float64.
func scoredNaively(s *Served, z []float32) []float64 {
	scores := make([]float64, s.items.n)
	for r := range scores {
		v, bias := make([]float64, s.cfg.Dim), float64(s.items.biasOf(Row(r))[0])
		for j, x := range s.items.vector(Row(r)) {
			v[j] = float64(x)
		}
		for _, side := range s.items.sidesOf(Row(r)) {
			for j, x := range s.items.side.vector(Row(side)) {
				v[j] += float64(x) / float64(len(sideFields))
			}
			bias += float64(s.items.side.biasOf(Row(side))[0]) / float64(len(sideFields))
		}
		dot, square := 0., 0.
		for j := range v {
			dot, square = dot+v[j]*float64(z[j]), square+v[j]*v[j]
		}
		if s.cfg.Cosine {
			dot /= math.Sqrt(square+1e-12) * s.cfg.Temperature
		}
		scores[r] = dot + bias
	}
	return scores
}

// naiveBest sorts all rows.
func naiveBest(s *Served, scores []float64, k int, keep func(id, category string) bool) []Scored {
	var rows []int
	for r, score := range scores {
		if !math.IsNaN(score) && keep(s.id(Row(r)), s.names[r/chunkRows].categories[r%chunkRows]) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	best := []Scored{}
	for _, r := range rows[:max(0, min(k, len(rows)))] {
		best = append(best, Scored{s.id(Row(r)), float32(scores[r])})
	}
	return best
}

func (s *Served) bestOf(z []float32, k int, f Filter) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	return s.best(a, z, &Query{Filter: f}, k)
}

// TestBestIsTheNaiveBest on vectors of small whole numbers, whose products are exact and often equal: the same items in the same order with the same scores, also where all
// are wanted, or none, or a filter lets few through. By bytes it is that as long as all rows are candidates; else each score must be right, the order too, and none be missing in number.
func TestBestIsTheNaiveBest(t *testing.T) {
	cfg := small()
	cfg.Dim, cfg.Heads = 4, 1
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		c := cfg
		c.Cosine = rapid.Bool().Draw(t, "cosine")
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.SampledFrom([]int{0, 1, 5, 150, chunkRows - 1, chunkRows, chunkRows + 1, 2*chunkRows + 100}).Draw(t, "items")
		described := rapid.Bool().Draw(t, "described")
		whole := func(x []float32, most int) {
			for j := range x {
				x[j] = float32(rng.IntN(2*most+1) - most)
			}
		}
		for i := range n {
			info := schema.ItemInfo{}
			if described {
				info = infoOf(i)
			}
			r, _ := m.Admit(fmt.Sprint("item-", i), info, 0)
			whole(m.items.vector(r), 1)
			whole(m.items.biasOf(r), 1)
		}
		for side := 1; side < m.items.side.n; side++ {
			whole(m.items.side.vector(Row(side)), 2)
			whole(m.items.side.biasOf(Row(side)), 2)
		}
		z := make([]float32, 4)
		whole(z, 2)
		f := rapid.SampledFrom([]Filter{
			{}, {Categories: []string{"3"}, Deny: []string{"item-13"}}, {Categories: []string{"0", "2", "4", "6", "8"}}, {Allow: []string{"item-4", "item-1023"}},
		}).Draw(t, "filter")
		keep := keepsNaively(&f)
		k := rapid.SampledFrom([]int{-1, 0, 1, 2, 10, 100, n - 1, n, n + 7}).Draw(t, "k")
		for _, p := range precisions {
			o := m.Snapshot(true, nil).Objects()
			s, err := Serving{Precision: p}.Load(o[0].Table, o[1].Table)
			if err != nil {
				t.Fatal(err)
			}
			scores := scoredNaively(s, z)
			got, want := s.bestOf(z, k, f), naiveBest(s, scores, k, keep)
			if len(got) != len(want) {
				t.Fatalf("precision %s: %d items, want %d", p, len(got), len(want))
			}
			exact := p == Float32 || p.candidates(max(0, k)) >= n
			if exact && !c.Cosine {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("precision %s (-want +got):\n%s", p, diff)
				}
			}
			for i, g := range got {
				r, _ := s.Row(g.ItemID)
				if math.Abs(float64(g.Score)-scores[r]) > 1e-5 {
					t.Fatalf("precision %s: item %s scores %v, want %v", p, g.ItemID, g.Score, scores[r])
				}
				if exact && math.Abs(float64(g.Score-want[i].Score)) > 1e-5 {
					t.Fatalf("precision %s: place %d scores %v, want %v", p, i, g.Score, want[i].Score)
				}
				if !keep(g.ItemID, s.names[r/chunkRows].categories[r%chunkRows]) {
					t.Fatalf("precision %s: item %s was not to be kept", p, g.ItemID)
				}
				if i > 0 {
					before, _ := s.Row(got[i-1].ItemID)
					if g.Score > got[i-1].Score || g.Score == got[i-1].Score && r < before {
						t.Fatalf("precision %s: place %d belongs before place %d", p, i, i-1)
					}
				}
			}
		}
	})
}

// TestNumbersThatAreNone: a query of them has no answer, by whatever precision.
func TestNumbersThatAreNone(t *testing.T) {
	for _, set := range []func(c *Config){func(*Config) {}, func(c *Config) { c.Cosine = true }} {
		cfg := small()
		set(&cfg)
		m := filled(t, cfg, 1500)
		for _, p := range precisions {
			s := serve(t, m, p)
			z := make([]float32, cfg.Dim)
			z[3] = float32(math.NaN())
			if got := s.bestOf(z, 5, Filter{}); len(got) != 0 {
				t.Errorf("precision %s: %v", p, got)
			}
			z[3] = float32(math.Inf(1))
			for _, g := range s.bestOf(z, 5, Filter{}) {
				if g.Score != float32(math.Inf(1)) {
					t.Errorf("precision %s: an endless query scores %v first", p, g.Score)
				}
			}
			clear(z)
			if got := s.bestOf(z, 5, Filter{}); len(got) != 5 {
				t.Errorf("precision %s: a query of zeros has %d answers, want 5", p, len(got))
			}
		}
	}
}

// clustered sets a model's vectors to what trained ones look like: most of an item is its cluster, lengths differ by popularity, and some dimensions say more than others.
func clustered(m *Model, rng *rand.Rand) (query func() []float32) {
	const clusters = 200
	d := m.cfg.Dim
	normal := func() []float32 {
		v := make([]float32, d)
		for j := range v {
			v[j] = float32(rng.NormFloat64() * math.Exp(-float64(j)/float64(d)))
		}
		return v
	}
	centres := make([][]float32, clusters)
	for i := range centres {
		centres[i] = normal()
	}
	for r := range m.items.n {
		length := float32(0.3 * math.Exp(0.4*rng.NormFloat64()))
		centre, noise := centres[rng.IntN(clusters)], normal()
		for j := range noise {
			m.items.vector(Row(r))[j] = length * (centre[j] + 0.7*noise[j])
		}
		m.items.biasOf(Row(r))[0] = 0.3 * float32(rng.NormFloat64())
	}
	for s := 1; s < m.items.side.n; s++ {
		copy(m.items.side.vector(Row(s)), normal())
	}
	return func() []float32 {
		z, noise := normal(), normal()
		for j, v := range centres[rng.IntN(clusters)] {
			z[j] = v + 0.5*noise[j]
		}
		return z
	}
}

func recall(exact, other *Served, z []float32, k int) float64 {
	want := map[string]bool{}
	for _, b := range exact.bestOf(z, k, Filter{}) {
		want[b.ItemID] = true
	}
	hit := 0
	for _, b := range other.bestOf(z, k, Filter{}) {
		if want[b.ItemID] {
			hit++
		}
	}
	return float64(hit) / float64(len(want))
}

// TestCodesRecallTheExact: of the best by float32, codes find 998 of 1,000 at least, over clustered vectors and over trained ones.
func TestCodesRecallTheExact(t *testing.T) {
	f := func(name string, m *Model, query func() []float32) {
		t.Run(name, func(t *testing.T) {
			exact := serve(t, m, Float32)
			for _, p := range []Precision{Int8, Int4} {
				codes := serve(t, m, p)
				for _, k := range []int{20, 100} {
					sum, least := 0., 1.
					for range 100 {
						r := recall(exact, codes, query(), k)
						sum, least = sum+r, min(least, r)
					}
					if sum/100 < 0.998 || least < 0.95 {
						t.Errorf("%s: of the best %d recall %.4f, at worst %.2f", p, k, sum/100, least)
					}
					t.Logf("%s: of the best %d recall %.5f, at worst %.2f", p, k, sum/100, least)
				}
			}
		})
	}
	for _, cosine := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Cosine = cosine
		m := filled(t, cfg, 30_000)
		query := clustered(m, rand.New(rand.NewPCG(1, 1)))
		f(fmt.Sprint("clustered, cosine ", cosine), m, query)
	}
	m, rng := trained(t, DefaultConfig(), 3000, 60)
	f("trained", m, func() []float32 {
		e := randomExamples(rng, 3000, 1, 5, 4)
		return m.asked(e)[:m.cfg.Dim]
	})
}

// TestDeltasOfBytesAndLengths: what a delta leaves is what loading all gives, for bytes and for the lengths of the cosine, which the side table moves.
func TestDeltasOfBytesAndLengths(t *testing.T) {
	for _, cosine := range []bool{false, true} {
		for _, p := range precisions {
			cfg := small()
			cfg.Cosine = cosine
			m := filled(t, cfg, 2*chunkRows+300)
			s := serve(t, m, p)
			rng := rand.New(rand.NewPCG(1, 1))
			type version struct {
				s    *Served
				z    []float32
				want []Scored
			}
			var versions []version
			for range 3 {
				clustered(m, rng) // all side rows
				for range 40 {
					m.touch(Row(rng.IntN(chunkRows))) // the lengths of the other chunks change all the same
				}
				for i := range m.items.n { // what is not touched stays as it was published
					if !m.unpublished.in[i] {
						copy(m.items.vector(Row(i)), s.items.vector(Row(i)))
						m.items.biasOf(Row(i))[0] = s.items.biasOf(Row(i))[0]
					}
				}
				m.Admit(fmt.Sprint("new-", m.Items()), infoOf(3), 0)
				o := m.Snapshot(false, nil).Objects()
				next, err := s.Apply(o[0].Table, o[1].Table)
				if err != nil {
					t.Fatal(err)
				}
				s = next
				z := make([]float32, cfg.Dim)
				for j := range z {
					z[j] = float32(rng.NormFloat64())
				}
				whole := serve(t, m, p)
				if diff := cmp.Diff(whole.bestOf(z, 50, Filter{}), s.bestOf(z, 50, Filter{})); diff != "" {
					t.Fatalf("cosine %v, precision %s (-whole +delta):\n%s", cosine, p, diff)
				}
				versions = append(versions, version{s, z, s.bestOf(z, 50, Filter{})})
			}
			for i, v := range versions {
				if got := v.s.bestOf(v.z, 50, Filter{}); !slices.Equal(got, v.want) {
					t.Errorf("cosine %v, precision %s: version %d changed after later deltas", cosine, p, i)
				}
				for r := 0; p.coded() && r < v.s.items.n; r++ {
					of, at := v.s.codes[r/chunkRows], r%chunkRows
					code, kept := make([]int8, codeWidth(cfg.Dim)), make([]int8, codeWidth(cfg.Dim))
					of.read(kept, at)
					if scale := of.quantise(code[:cfg.Dim], v.s.items.vector(Row(r))); scale != of.scale[at] || !slices.Equal(code, kept) {
						t.Fatalf("version %d: the bytes of row %d are not those of its vector", i, r)
					}
				}
			}
		}
	}
}

// TestEqualScoresByBytes: of 150 items that are the same and the best, 50 are wanted, and those of the first rows are given.
func TestEqualScoresByBytes(t *testing.T) {
	m := filled(t, small(), 2*chunkRows)
	var want []Scored
	for r := 5; r < 2*chunkRows; r += 13 {
		for j := range m.items.vector(Row(r)) {
			m.items.vector(Row(r))[j] = 1
		}
		*m.items.sidesOf(Row(r)) = sides{}
		if want = append(want, Scored{m.ID(Row(r)), float32(m.cfg.Dim)}); len(want) == 150 {
			break
		}
	}
	z := make([]float32, m.cfg.Dim)
	for j := range z {
		z[j] = 1
	}
	if diff := cmp.Diff(want[:50], serve(t, m, Int8).bestOf(z, 50, Filter{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRowIndexIsAMap compares with one.
func TestRowIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringN(0, 3, 6), 0, 300, rapid.ID[string]).Draw(t, "names")
		split := rapid.IntRange(0, len(names)).Draw(t, "split")
		name := func(r Row) string { return names[r] }
		x := newRowIndex(rapid.IntRange(0, 40).Draw(t, "room"))
		want := map[string]Row{}
		for r, id := range names {
			if r < split {
				x.add(id, Row(r), name)
				want[id] = Row(r)
			}
		}
		for r, id := range names { // some go, others come
			if gone := rapid.Bool().Draw(t, "gone"); gone && r < split {
				x.remove(id, name)
				delete(want, id)
			} else if gone {
				x.add(id, Row(r), name)
				want[id] = Row(r)
			}
		}
		if x.n != len(want) {
			t.Fatalf("%d names, want %d", x.n, len(want))
		}
		for _, id := range names {
			got, ok := x.find(id, name)
			if r, there := want[id]; ok != there || ok && got != r {
				t.Fatalf("%q is row %d, %v; want %d, %v", id, got, ok, r, there)
			}
		}
		if _, ok := x.find("not there", name); ok {
			t.Fatal("a name that is not there is found")
		}
	})
}
