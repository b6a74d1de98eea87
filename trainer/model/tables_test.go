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
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// saved returns the tables of m after a way through bytes, and the bytes.
func saved(tb testing.TB, m *Model) (map[string]schema.Table, []byte) {
	tb.Helper()
	tables, err := m.Tables()
	if err != nil {
		tb.Fatal(err)
	}
	out, all := map[string]schema.Table{}, []byte{}
	for _, n := range tables {
		b, err := n.Table.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		if out[n.Name], err = schema.DecodeTable(b); err != nil {
			tb.Fatal(err)
		}
		all = append(append(all, n.Name...), b...)
	}
	return out, all
}

// TestRestoredGoesOnAsIfItHadNeverStopped trains two models on the same stream, one of which is saved and restored after every
// step, and demands equal bytes of everything (I3, I4).
func TestRestoredGoesOnAsIfItHadNeverStopped(t *testing.T) {
	cfg := small()
	straight, broken := filled(t, cfg, 5), filled(t, cfg, 5)
	step := func(m *Model, i int) StepStats {
		rng := rand.New(rand.NewPCG(3, uint64(i)))
		for j := range 10 { // the vocabulary grows past the number of draws
			m.Admit(fmt.Sprintf("new-%d-%d", i, j), infoOf(i*7+j*3), 0)
		}
		batch := randomExamples(rng, m.Items(), 6, 4, 3)
		for _, r := range rng.Perm(m.Items())[:min(12, m.Items())] {
			batch[0].Targets = append(batch[0].Targets[:0:0], append(batch[0].Targets, Row(r))...)
		}
		slices.Sort(batch[0].Targets)
		batch[0].Targets = slices.Compact(batch[0].Targets)
		m.Forward(batch)
		return m.Step()
	}
	for i := range 25 {
		a, b := step(straight, i), step(broken, i)
		if a != b {
			t.Fatalf("step %d: %+v, and after a restore %+v", i, a, b)
		}
		tables, want := saved(t, straight)
		_, got := saved(t, broken)
		if !bytes.Equal(got, want) {
			t.Fatalf("step %d: the bytes of the two models differ", i)
		}
		var err error
		if broken, err = Restore(cfg, tables); err != nil {
			t.Fatal(err)
		}
	}
	if straight.Items() <= cfg.NegativesUniform+cfg.NegativesRecent || len(straight.ring) < cfg.RecentWindow {
		t.Fatalf("%d items, %d recent targets: neither sampling nor the ring's turn was tried", straight.Items(), len(straight.ring))
	}
}

// TestEveryVariantRestores saves and restores each variant in the middle of ten steps, also with all that adds state: Adam's rows, shares of scenes, ladders, dropout.
func TestEveryVariantRestores(t *testing.T) {
	all := slices.Clone(variants)
	for _, v := range variants {
		set := v.set
		v.name += " with all state"
		v.set = func(c *Config) {
			set(c)
			c.RowOptimizer, c.RowRate, c.SceneNorm, c.Exposures, c.ClickWeight, c.PayWeight, c.Dropout = adam, 1e-3, true, true, 0.7, 0.4, 0.2
		}
		all = append(all, v)
	}
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			cfg := tiny()
			cfg.RecentWindow, cfg.NegativesUniform, cfg.NegativesRecent = 40, 4, 4
			v.set(&cfg)
			straight, broken := filled(t, cfg, tinyItems), filled(t, cfg, tinyItems)
			for i := range 10 {
				if i == 5 {
					tables, _ := saved(t, broken)
					var err error
					if broken, err = Restore(cfg, tables); err != nil {
						t.Fatal(err)
					}
				}
				batch := ladderExamples(rand.New(rand.NewPCG(18, uint64(i))))
				a, b := straight.Learn(batch), broken.Learn(batch)
				if a != b || a.Skipped || a.Examples == 0 {
					t.Fatalf("step %d: %+v, and after a restore %+v", i, a, b)
				}
			}
			_, want := saved(t, straight)
			if _, got := saved(t, broken); !bytes.Equal(got, want) {
				t.Error("the bytes of the two models differ")
			}
		})
	}
}

// TestRestoreRefusesDamage changes one thing after the other and demands ErrCorrupt.
func TestRestoreRefusesDamage(t *testing.T) {
	cfg := small()
	m, _ := trained(t, cfg, 50, 3)
	column := func(tables map[string]schema.Table, table, name string) *schema.Column {
		c := tables[table].Columns
		return &c[slices.IndexFunc(c, func(c schema.Column) bool { return c.Name == name })]
	}
	damages := map[string]func(tables map[string]schema.Table){
		"no params":  func(x map[string]schema.Table) { delete(x, "params") },
		"no items":   func(x map[string]schema.Table) { delete(x, "items") },
		"no moments": func(x map[string]schema.Table) { delete(x, "moments") },
		"no recent":  func(x map[string]schema.Table) { delete(x, "recent") },
		"no sides":   func(x map[string]schema.Table) { delete(x, "sides") },
		"side NaN": func(x map[string]schema.Table) {
			v := column(x, "params", "values").Data.([][]float32)
			v[len(v)-2][20] = float32(math.NaN())
		},
		"side row 0": func(x map[string]schema.Table) {
			v := column(x, "params", "values").Data.([][]float32)
			v[len(v)-2][3] = 1
		},
		"side bias of row 0": func(x map[string]schema.Table) {
			v := column(x, "params", "values").Data.([][]float32)
			v[len(v)-1][0] = 1
		},
		"no side rows": func(x map[string]schema.Table) {
			v, s := column(x, "params", "values").Data.([][]float32), column(x, "params", "shape").Data.([][]int32)
			v[len(v)-1], v[len(v)-2], s[len(s)-1], s[len(s)-2][0] = nil, nil, []int32{0}, 0
		},
		"side rows without a name": func(x map[string]schema.Table) {
			v, s := column(x, "params", "values").Data.([][]float32), column(x, "params", "shape").Data.([][]int32)
			v[len(v)-1], v[len(v)-2] = append(v[len(v)-1], 0), append(v[len(v)-2], make([]float32, cfg.Dim)...)
			s[len(s)-1][0]++
			s[len(s)-2][0]++
		},
		"side field": func(x map[string]schema.Table) { column(x, "sides", "field").Data.([]string)[1] = "colour" },
		"side value": func(x map[string]schema.Table) { column(x, "sides", "value").Data.([]string)[1] = "" },
		"side value twice": func(x map[string]schema.Table) {
			f, v := column(x, "sides", "field").Data.([]string), column(x, "sides", "value").Data.([]string)
			f[2], v[2] = f[0], v[0]
		},
		"side acc": func(x map[string]schema.Table) { column(x, "sides", "acc").Data.([]float32)[1] = -1 },
		"side bias_acc": func(x map[string]schema.Table) {
			column(x, "sides", "bias_acc").Data.([]float32)[1] = float32(math.NaN())
		},
		"category beyond": func(x map[string]schema.Table) {
			column(x, "items", "side_category").Data.([]int32)[1] = int32(m.items.side.n)
		},
		"price below": func(x map[string]schema.Table) { column(x, "items", "side_price").Data.([]int32)[1] = -1 },
		"no price":    func(x map[string]schema.Table) { column(x, "items", "side_price").Name = "else" },
		"too few prices": func(x map[string]schema.Table) {
			c := column(x, "items", "side_price")
			c.Data = c.Data.([]int32)[1:]
		},
		"no random": func(x map[string]schema.Table) { delete(x, "random") },
		"weight NaN": func(x map[string]schema.Table) {
			column(x, "params", "values").Data.([][]float32)[3][0] = float32(math.NaN())
		},
		"tensor name":  func(x map[string]schema.Table) { column(x, "params", "name").Data.([]string)[2] = "else" },
		"tensor shape": func(x map[string]schema.Table) { column(x, "params", "shape").Data.([][]int32)[2][0]++ },
		"tensor size": func(x map[string]schema.Table) {
			v := column(x, "params", "values").Data.([][]float32)
			v[1] = v[1][1:]
		},
		"vector Inf": func(x map[string]schema.Table) {
			column(x, "items", "vector").Data.(schema.Vectors).Values[9] = float32(math.Inf(1))
		},
		"bias NaN":     func(x map[string]schema.Table) { column(x, "items", "bias").Data.([]float32)[1] = float32(math.NaN()) },
		"acc negative": func(x map[string]schema.Table) { column(x, "items", "acc").Data.([]float32)[1] = -1 },
		"bias_acc NaN": func(x map[string]schema.Table) {
			column(x, "items", "bias_acc").Data.([]float32)[1] = float32(math.NaN())
		},
		"row twice":    func(x map[string]schema.Table) { column(x, "items", "row").Data.([]int32)[4] = 3 },
		"row missing":  func(x map[string]schema.Table) { column(x, "items", "row").Data.([]int32)[49] = 50 },
		"item twice":   func(x map[string]schema.Table) { v := column(x, "items", "item_id").Data.([]string); v[4] = v[3] },
		"item unnamed": func(x map[string]schema.Table) { column(x, "items", "item_id").Data.([]string)[4] = "" },
		"moment NaN": func(x map[string]schema.Table) {
			column(x, "moments", "second").Data.([][]float32)[0][0] = float32(math.NaN())
		},
		"recent too large": func(x map[string]schema.Table) { column(x, "recent", "row").Data.([]int32)[0] = 50 },
		"random state":     func(x map[string]schema.Table) { column(x, "random", "state").Data.([]string)[0] = "00" },
		"dim": func(x map[string]schema.Table) {
			c := column(x, "items", "vector")
			v := c.Data.(schema.Vectors)
			c.Data = schema.Vectors{Dim: v.Dim / 2, Values: v.Values}
		},
	}
	for name, damage := range damages {
		tables, _ := saved(t, m)
		damage(tables)
		if _, err := Restore(cfg, tables); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", name, err)
		}
	}
	other := cfg
	other.RowRate *= 2
	tables, _ := saved(t, m)
	if _, err := Restore(other, tables); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("another config: error %v", err)
	}
}

// TestGolden holds the bytes of a published model: files that are never rewritten, only added to. The model is made of round numbers, so
// that no machine's arithmetic is in them.
func TestGolden(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dim, cfg.Blocks, cfg.Heads, cfg.MaxSessions, cfg.MaxTokens, cfg.Scenes = 4, 1, 1, 3, 8, 2
	m := filled(t, cfg, 3)
	for i := range m.w.arena {
		m.w.arena[i] = float32(i%17-8) / 16
	}
	for r := range Row(3) {
		for i := range 4 {
			m.items.vector(r)[i] = float32(int(r)*4+i-5) / 8
		}
		m.items.biasOf(r)[0] = float32(r) / 4
	}
	for s := 1; s < m.items.side.n; s++ {
		for i := range 4 {
			m.items.side.vector(Row(s))[i] = float32(s*4+i-9) / 32
		}
		m.items.side.biasOf(Row(s))[0] = float32(s) / 8
	}
	for _, o := range m.Snapshot(true, func(r Row) float32 { return float32(r) }).Objects() {
		got, err := o.Table.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", "model-v3-"+o.Name+".arrow")
		want, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) && os.Getenv("FRESHET_WRITE_GOLDEN") != "" {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the published bytes have changed", name)
		}
		if table, err := schema.DecodeTable(want); err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(o.Table, table); diff != "" {
			t.Errorf("%s (-published +read):\n%s", name, diff)
		}
	}
}

// TestOldModelsAreRefused: files of earlier computations would give other scores in this program, and the error says what to do. Those of today load.
func TestOldModelsAreRefused(t *testing.T) {
	read := func(version int, name string) schema.Table {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("model-v%d-%s.arrow", version, name)))
		if err != nil {
			t.Fatal(err)
		}
		table, err := schema.DecodeTable(b)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	today, err := LoadServed(read(computation, "items"), read(computation, "params"))
	if err != nil {
		t.Fatal(err)
	}
	for old := 1; old < computation; old++ {
		_, err := LoadServed(read(old, "items"), read(old, "params"))
		want := fmt.Sprintf("computation %d is not the one of this program (%d): run the same freshet on both sides", old, computation)
		if !errors.Is(err, schema.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("a model of computation %d: %v", old, err)
		}
		if _, err := today.Apply(read(old, "items"), read(old, "params")); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("a delta of computation %d: %v", old, err)
		}
	}
	if today.Items() != 3 {
		t.Errorf("today's model has %d items, want 3", today.Items())
	}
}
