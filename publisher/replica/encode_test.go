package replica

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
	"github.com/google/go-cmp/cmp"
)

// TestEncodeIsJSON: what is written by hand is what encoding/json reads back, whatever stands in names and ids.
func TestEncodeIsJSON(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		name := func() string {
			runes := make([]rune, rng.IntN(8))
			for i := range runes {
				runes[i] = []rune{'a', '"', '\\', '/', '<', '&', 0, '\n', 0x7f, 0x2028, 'é', 0x1F600}[rng.IntN(12)]
			}
			return string(runes)
		}
		want := Answer{UserID: name(), Items: []Item{},
			Model: AnswerModel{Name: name(), Lane: LaneStable, Version: schema.Version(rng.Uint64()), TrainedThrough: schema.EventTime(rng.Int64()), AgeMillis: rng.Int64N(1 << 40)}}
		for range rng.IntN(4) {
			want.Items = append(want.Items, Item{ItemID: name(), Score: float32(rng.NormFloat64()) * [...]float32{1, 1e-9, 1e30}[rng.IntN(3)], Source: SourceModel})
		}
		var w jx.Writer
		want.encode(&w)
		var got Answer
		if err := json.Unmarshal(w.Buf, &got); err != nil {
			t.Fatalf("seed %d: %v in %s", seed, err, w.Buf)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		// The same fields under the same names, none more.
		var hand, machine map[string]any
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(w.Buf, &hand) != nil || json.Unmarshal(text, &machine) != nil || cmp.Diff(fields("", machine), fields("", hand)) != "" {
			t.Fatalf("seed %d: %s, by encoding/json %s", seed, w.Buf, text)
		}
	}
}

// fields lists the paths of a JSON value.
func fields(path string, v any) map[string]bool {
	out := map[string]bool{path: true}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			for f := range fields(path+"."+name, inner) {
				out[f] = true
			}
		}
	case []any:
		for i, inner := range v {
			for f := range fields(fmt.Sprintf("%s[%d]", path, i), inner) {
				out[f] = true
			}
		}
	}
	return out
}
