package replica_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/freshet-ml/freshet/trainer/model"
)

// published is a base and a delta with all tables, as they are fetched, with rows of a precision.
func published(tb testing.TB, as model.Precision) (updates [2]publisher.Update) {
	tb.Helper()
	c := newCounting(tb, 12)
	c.m.Publishes(model.Publishing{Rows: as})
	for i := range updates {
		c.click(1, 2, 3)
		c.click(model.Row(4+i), 2)
		kind := schema.KindBase
		if i > 0 {
			kind = schema.KindDelta
		}
		updates[i] = c.update(tb, kind)
		c.add(tb, &updates[i])
	}
	return updates
}

// written puts updates into dir as a chain that a replica has served before.
func written(tb testing.TB, dir string, updates [2]publisher.Update) (last []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "objects"), 0o755); err != nil {
		tb.Fatal(err)
	}
	var l struct {
		Format int               `json:"format"`
		Chain  []schema.Manifest `json:"chain"`
	}
	l.Format = 1
	for i, u := range updates {
		m := schema.Manifest{Format: schema.ManifestFormat, Model: "shop", Version: schema.Version(i + 1), Kind: u.Kind, Base: 1, Parent: schema.Version(i), Epoch: 1,
			TrainedThrough: u.TrainedThrough, Step: u.Step, Items: u.Items, ConfigDigest: u.ConfigDigest, CreatedAt: now}
		for _, o := range u.Objects {
			b, err := o.Table.Bytes()
			if err != nil {
				tb.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "objects", sum(b)), b, 0o644); err != nil {
				tb.Fatal(err)
			}
			m.Objects = append(m.Objects, schema.Object{Table: o.Name, Name: schema.ObjectName("shop", sum(b)), Bytes: int64(len(b)), SHA256: sum(b)})
		}
		l.Chain = append(l.Chain, m)
	}
	last, err := json.Marshal(l)
	if err != nil {
		tb.Fatal(err)
	}
	return last
}

// restored starts a replica on dir. What it accepts must answer: every request has status 200 and finite scores.
func restored(tb testing.TB, dir string, last []byte) (serving bool) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, "last.json"), last, 0o644); err != nil {
		tb.Fatal(err)
	}
	cfg := config("r1")
	cfg.Dir = dir
	r, err := replica.New(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Restore()
	if _, serving = r.Current(); !serving {
		return false
	}
	for _, request := range []string{body(20, "i1"), body(20, "i2", "i5", "i3"), `{"user_id":"nobody","k":20}`, `{"user_id":"u","filter":{"category":["c1"]}}`} {
		for _, item := range ask(tb, r.Handler(), request).Items {
			if x := float64(item.Score); math.IsNaN(x) || math.IsInf(x, 0) {
				tb.Fatalf("item %q has score %v", item.ItemID, x)
			}
		}
	}
	return true
}

// FuzzTables changes the tables of a base and of a delta, value by value, and gives them to a replica with the digests of what
// they have become: bytes at random would not get beyond those. What it is not refused must answer.
func FuzzTables(t *testing.F) {
	f := fuzz.Of(t)
	forms := [][2]publisher.Update{published(f, model.Float32), published(f, model.Int8)}
	dir := f.TempDir()
	for _, updates := range forms {
		if !restored(f, dir, written(f, dir, updates)) {
			f.Fatal("the unchanged tables are refused")
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 64 { // a script is edits of eight bytes
		script := make([]byte, 8*(1+rng.IntN(3)))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) == 0 {
			f.Leave()
			return
		}
		updates := forms[script[0]/2%2]
		var changed [2]publisher.Update
		for i, u := range updates {
			changed[i] = u
			changed[i].Objects = slices.Clone(u.Objects)
			for j := range changed[i].Objects {
				changed[i].Objects[j].Table = copyTable(u.Objects[j].Table)
			}
		}
		for ; len(script) >= 8; script = script[8:] {
			objects := &changed[script[0]%2].Objects
			if len(*objects) > 0 {
				edit(objects, int(script[1]), script[2], int(script[3]), int(script[4]), script[5:8])
			}
		}
		for i := range changed {
			for _, o := range changed[i].Objects {
				same := func(other publisher.Object) bool {
					return o.Name == other.Name && reflect.DeepEqual(o.Table, other.Table)
				}
				if b, err := o.Table.Bytes(); err == nil && !slices.ContainsFunc(updates[i].Objects, same) {
					f.Made(len(b))
				}
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
			t.Fatal(err)
		}
		restored(t, dir, written(t, dir, changed))
	})
}

// FuzzLastGood gives a replica a last.json of any bytes beside whole objects.
func FuzzLastGood(t *testing.F) {
	f := fuzz.Of(t)
	dir := f.TempDir()
	last := written(f, dir, published(f, model.Int8))
	f.Add(last)
	f.Add(last[:len(last)/2])
	f.Add([]byte(`{"format":1,"chain":[{}],"candidate":[{}],"head":{}}`))
	f.Fuzz(func(t *testing.T, last []byte) { restored(t, dir, last) })
}

// FuzzURL asks with any query.
func FuzzURL(t *testing.F) {
	f := fuzz.Of(t)
	r, _ := serving(f, nil, nil)
	h := r.Handler()
	for _, query := range []string{"user_id=u1&k=20&scene=home", "user_id=%ff&k=-1", "k=1e9", "user_id=u1&k=0x10", "user_id=u1;k=2", "%zz=&&=&user_id"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		request := httptest.NewRequest(http.MethodGet, "/v1/recommend", nil)
		request.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 && (w.Code < 400 || w.Code > 499) {
			t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
		}
	})
}
