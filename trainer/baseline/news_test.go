package baseline

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/google/go-cmp/cmp"
)

// served brings s up to what l publishes now, through bytes.
func served(t *testing.T, s *Served, l *Live, full bool) *Served {
	t.Helper()
	objects, err := l.Publish(full)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]schema.Table{}
	for _, o := range objects {
		b, err := o.Table.Bytes()
		if err == nil {
			tables[o.Name], err = schema.DecodeTable(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if full {
		s, err = LoadServed(tables)
	} else {
		s, err = s.Apply(tables)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lines are all lists of tables, as they are.
func lines(v *view) (out [3][][]int32, weights [2][][]float32) {
	for i, of := range []*transitions{&v.next, &v.arrivals} {
		for r := range of.n {
			l := of.at(r)
			var rows []int32
			for _, to := range l.rows {
				rows = append(rows, int32(to))
			}
			out[i], weights[i] = append(out[i], rows), append(weights[i], append([]float32(nil), l.weights...))
		}
	}
	for r := range v.sessions.posts.n {
		out[2] = append(out[2], append([]int32(nil), *v.sessions.posts.at(r)...))
	}
	return out, weights
}

// Changed pairs and sessions make of the tables before exactly those now: where lists are full and lose their lightest, sessions make room, rows are given up and come back, and
// publications are far apart.
func TestNewsMakeTheSameTables(t *testing.T) {
	for range 2 {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := DefaultConfig()
		cfg.Sessions, cfg.Sample = 60, 8
		l := New(cfg)
		s := served(t, nil, l, true)
		at := schema.EventTime(1_700_000_000_000)
		items := maxSuccessors * 3
		for version := range 25 {
			for range 1 + rng.IntN(1500) {
				at += 1000
				row, hub := model.Row(rng.IntN(items)), model.Row(rng.IntN(2)) // all follow on two items
				before := []model.Row{model.Row(rng.IntN(items)), hub}[rng.IntN(2):]
				l.Learn(Click{Row: row, At: at, Session: uint64(1 + rng.IntN(200)), First: rng.IntN(3) == 0, Before: before, Earlier: []model.Row{hub}})
			}
			if rng.IntN(3) == 0 {
				gone := make([]model.Row, 0, 40)
				for r := 2 - rng.IntN(2); r < items; r += 1 + rng.IntN(items/10) {
					gone = append(gone, model.Row(r))
				}
				l.Forget(gone)
			}
			if rng.IntN(8) == 0 {
				s = served(t, nil, l, true)
			} else {
				s = served(t, s, l, false)
			}
			wantLines, wantWeights := lines(&l.view)
			gotLines, gotWeights := lines(&s.view)
			if !reflect.DeepEqual(wantLines, gotLines) || !reflect.DeepEqual(wantWeights, gotWeights) {
				t.Fatalf("seed %d, version %d (-live +served):\n%.2000s", seed, version, cmp.Diff(wantLines, gotLines)+cmp.Diff(wantWeights, gotWeights))
			}
		}
	}
}
