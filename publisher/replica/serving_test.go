package replica_test

import (
	"math"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/trainer/model"
)

// TestBytesAnswerAsFloatsDo: a replica that looks at bytes first recommends what the exact one does, before and after a delta.
func TestBytesAnswerAsFloatsDo(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 3000)
	v := trainee.publish(t, p)
	cfg := config("r1")
	cfg.Serving.Precision = model.Int8
	r, _ := start(t, cfg, js, nil)
	for range 2 {
		serves(t, r, v.Version)
		got, want := ask(t, r.Handler(), body(10, "i1", "i2")).Items, expected(trainee.direct, 10, "i1", "i2")
		if len(got) != len(want) {
			t.Fatalf("version %d: %d items, want %d", v.Version, len(got), len(want))
		}
		for i := range got {
			if got[i].ItemID != want[i].ItemID || math.Abs(float64(got[i].Score-want[i].Score)) > 1e-5 {
				t.Errorf("version %d: place %d is %v, want %v", v.Version, i, got[i], want[i])
			}
		}
		v = trainee.publish(t, p)
	}
}

func TestConfigNamesAPrecisionThatIsNone(t *testing.T) {
	err := replica.Config{ID: "r1", Model: "shop", Serving: model.Serving{Precision: "int4"}}.Validate()
	if err == nil || !strings.Contains(err.Error(), `precision "int4"`) {
		t.Errorf("%v", err)
	}
}
