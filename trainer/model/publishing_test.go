package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// travelled is a table after its bytes.
func travelled(t *testing.T, of schema.Table) schema.Table {
	t.Helper()
	b, err := of.Bytes()
	if err == nil {
		of, err = schema.DecodeTable(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return of
}

// Whatever is withheld, a replica is never farther from the model than the bound, knows all rows by their right names, and with a first base has all that rounding leaves. A base that
// follows on what changed is the very version that this makes.
func TestWhatIsServedIsNearWhatIsTrained(t *testing.T) {
	for _, how := range []Publishing{{}, {Rows: Int8}, {MinChange: 0.05}, {Rows: Int8, MinChange: 0.05}} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			cfg := small()
			cfg.NegativesUniform, cfg.MaxItems = 4, 400
			m := filled(t, cfg, 300)
			m.Publishes(how)
			var s *Served
			lines, withheld, names := 0, 0, 300
			for version := range 30 {
				for range rng.IntN(8) {
					m.Admit(fmt.Sprintf("item-%d", names), infoOf(rng.IntN(40)), schema.EventTime(names))
					m.Admit(fmt.Sprintf("item-%d", rng.IntN(names)), infoOf(rng.IntN(40)), schema.EventTime(names))
					names++
				}
				m.Sweep(schema.EventTime(names))
				for range rng.IntN(3) {
					m.Forward(liveExamples(m, rng, 3, 3, 1))
					m.Step()
				}
				full, changed := version%20 == 0, len(m.unpublished.rows)
				o := m.Snapshot(full, popularityOf(rng)).Objects()
				items, params := travelled(t, o[0].Table), travelled(t, o[1].Table)
				ids, err := schema.Col[[]string](items, "item_id")
				if err != nil {
					t.Fatal(err)
				}
				if !full {
					lines, withheld = lines+len(ids), withheld+changed-len(ids)
				}
				if full {
					s, err = LoadServed(items, params)
				} else {
					s, err = s.Apply(items, params)
				}
				if err != nil {
					t.Fatal(err)
				}
				checkNear(t, m, s, how, full)
				if version%10 == 5 {
					whole := load(t, m.Published())
					checkSame(t, whole, s)
					if version == 15 {
						s = whole // who begins there goes on as the others do
					}
				}
			}
			if (how.MinChange > 0) != (withheld > lines/10) {
				t.Errorf("%d lines, %d withheld", lines, withheld)
			}
		})
	}
}

func popularityOf(rng *rand.Rand) func(Row) float32 {
	return func(Row) float32 { return rng.Float32() }
}

// checkSame compares everything that two versions answer from, bit for bit.
func checkSame(t *testing.T, a, b *Served) {
	t.Helper()
	if a.Items() != b.Items() || !slices.Equal(a.w.arena, b.w.arena) || a.items.side.n != b.items.side.n {
		t.Fatalf("%d and %d items, %d and %d rows of side information, or other shared weights", a.Items(), b.Items(), a.items.side.n, b.items.side.n)
	}
	for r := range Row(a.items.n) {
		if a.id(r) != b.id(r) || a.generation(r) != b.generation(r) || *a.items.sidesOf(r) != *b.items.sidesOf(r) ||
			!slices.Equal(a.items.vector(r), b.items.vector(r)) || a.items.biasOf(r)[0] != b.items.biasOf(r)[0] ||
			a.popularity[r/chunkRows][r%chunkRows] != b.popularity[r/chunkRows][r%chunkRows] {
			t.Fatalf("row %d of %q differs from that of %q", r, a.id(r), b.id(r))
		}
	}
	for r := range Row(a.items.side.n) {
		if !slices.Equal(a.items.side.vector(r), b.items.side.vector(r)) || a.items.side.biasOf(r)[0] != b.items.side.biasOf(r)[0] {
			t.Fatalf("side %d differs", r)
		}
	}
}

// checkNear compares everything that is served with what is trained.
func checkNear(t *testing.T, m *Model, s *Served, how Publishing, full bool) {
	t.Helper()
	share, code, half := how.MinChange, 0., 0.
	if full {
		share = 0
	}
	if how.Rows == Int8 {
		code, half = 0.5/127, 1./2048
	}
	near := func(what string, got, want []float32, code, half float64) {
		t.Helper()
		var distance, length, most float64
		for i, x := range want {
			distance += math.Pow(float64(x)-float64(got[i]), 2)
			length += float64(x) * float64(x)
			most = max(most, math.Abs(float64(x)))
		}
		// What was told was as long as 1 + share of what is now, at most, and rounded.
		bound := share*math.Sqrt(length) + (1+2*share)*math.Sqrt(float64(len(want)))*(code*most+half*most+half/8)
		if math.Sqrt(distance) > bound*(1+1e-5) {
			t.Fatalf("%s is %v away, of %v", what, math.Sqrt(distance), math.Sqrt(length))
		}
	}
	for r := range Row(m.items.n) {
		if s.id(r) != m.ids[r] || s.generation(r) != m.lives.generation[r] || *s.items.sidesOf(r) != *m.items.sidesOf(r) || s.names[0].categories[r] != m.categories[r] {
			t.Fatalf("row %d is %q, in the model %q", r, s.id(r), m.ids[r])
		}
		near(fmt.Sprint("row ", r), s.items.vector(r), m.items.vector(r), code, 0)
		if d := math.Abs(float64(s.items.biasOf(r)[0] - m.items.biasOf(r)[0])); d > share {
			t.Fatalf("the bias of row %d is %v away", r, d)
		}
	}
	for i := range m.specs {
		width := rowWidth(m.specs[i].shape)
		for at := 0; at < len(m.w.views[i]); at += width {
			near(m.specs[i].name, s.w.views[i][at:][:width], m.w.views[i][at:][:width], 0, half)
		}
	}
	for r := range Row(m.items.side.n) {
		near("side", s.items.side.vector(r), m.items.side.vector(r), 0, half)
	}
}

func TestRowsOfParamsThatDoNotFit(t *testing.T) {
	m := filled(t, small(), 20)
	m.Publishes(Publishing{MinChange: 0.01})
	base := load(t, m.Snapshot(true, nil))
	m.Admit("item-20", infoOf(3), 0)
	for i := range m.w.arena {
		m.w.arena[i] += float32(i%7) / 100
	}
	o := m.Snapshot(false, nil).Objects()
	if _, err := base.Apply(o[0].Table, o[1].Table); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadServed(o[0].Table, o[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("some rows as a base: %v", err)
	}
	for name, change := range map[string]func(rows [][]int32, values [][]float32){
		"beyond the end": func(rows [][]int32, _ [][]float32) { rows[0][len(rows[0])-1] = 1 << 20 },
		"negative":       func(rows [][]int32, _ [][]float32) { rows[0][0] = -1 },
		"twice":          func(rows [][]int32, _ [][]float32) { rows[0][1] = rows[0][0] },
		"too few":        func(_ [][]int32, values [][]float32) { values[0] = values[0][1:] },
		"none":           func(rows [][]int32, _ [][]float32) { rows[0] = nil },
	} {
		params := travelled(t, o[1].Table)
		rows, _ := schema.Col[[][]int32](params, columnRows)
		values, _ := schema.Col[[][]float32](params, columnValues)
		if len(rows[0]) < 2 {
			t.Fatalf("%d rows of the first tensor", len(rows[0]))
		}
		change(rows, values)
		if _, err := base.Apply(o[0].Table, params); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The bytes of what is published shorter never change: an older replica's must be read by a newer one.
func TestPublishedBytes(t *testing.T) {
	cfg := small()
	cfg.Dim, cfg.Heads, cfg.Blocks = 4, 1, 1
	m := filled(t, cfg, 3)
	m.Publishes(Publishing{Rows: Int8, MinChange: 0.05})
	for i := range m.w.arena {
		m.w.arena[i] = float32(i%5) - 2
	}
	for r := range Row(3) {
		copy(m.items.vector(r), []float32{1, -2, 0.5, float32(r)})
	}
	base := load(t, m.Snapshot(true, nil))
	m.items.vector(0)[0], m.items.vector(1)[0] = 1.01, 3
	m.touch(0)
	m.touch(1)
	m.Admit("item-3", infoOf(3), 7)
	copy(m.items.vector(3), []float32{4, 3, 2, 1})
	m.w.views[0][cfg.Dim] += 1
	o := m.Snapshot(false, nil).Objects()
	rows, err := schema.Col[[]int32](o[0].Table, "row")
	if err != nil || !slices.Equal(rows, []int32{1, 3}) {
		t.Errorf("rows %v, %v", rows, err)
	}
	for i, of := range []string{"items", "params"} {
		meta := o[i].Table.Meta // the form of the model is TestGolden's
		o[i].Table.Meta = nil
		got, err := o[i].Table.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", "published-v1-"+of+".arrow")
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) && os.Getenv("FRESHET_WRITE_GOLDEN") != "" {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the published bytes of %s have changed", of)
		}
		if o[i].Table, err = schema.DecodeTable(want); err != nil {
			t.Fatal(err)
		}
		o[i].Table.Meta = meta
	}
	next, err := base.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	got, held := next.items.vector(1), next.items.vector(0)
	if math.Abs(float64(got[0]-3)) > 1e-6 || math.Abs(float64(got[1]+2)) > 0.02 || !slices.Equal(held, base.items.vector(0)) || next.w.views[0][cfg.Dim] != m.w.views[0][cfg.Dim] {
		t.Errorf("rows %v and %v", held, got)
	}
}
