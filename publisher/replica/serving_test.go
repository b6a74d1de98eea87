package replica_test

import (
	"math"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/trainer/model"
)

// TestBytesAnswerAsFloatsDo: a replica that looks at bytes first recommends what the exact one does, before and after a delta.
func TestBytesAnswerAsFloatsDo(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
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

// TestIndexIsUsedWhereItIsGoodEnough: with a recall that is enough, a replica answers by its index, after a delta as well; with one that is not it answers as without, and says what was measured.
func TestIndexIsUsedWhereItIsGoodEnough(t *testing.T) {
	for _, c := range []struct {
		probes int
		least  float64
		used   bool
	}{{64, 0.01, true}, {1, 1, false}} {
		js := dial(t, natstest.Start(t, t.TempDir(), 0))
		p := newPublisher(t, js, nil)
		trainee := newTrainee(t, 3000)
		v := trainee.publish(t, p)
		cfg := config("r1")
		cfg.Serving = model.Serving{Index: model.IVF, Probes: c.probes, MinRecall: c.least}
		r, _ := start(t, cfg, js, nil)
		for range 2 {
			serves(t, r, v.Version)
			recall := metric(t, r, `freshet_index_recall_ratio{lane="stable"}`)
			if !(recall > 0) || (recall >= c.least) != c.used {
				t.Errorf("version %d: recall %v, used: want %v", v.Version, recall, c.used)
			}
			got, want := ask(t, r.Handler(), body(10, "i1", "i2")).Items, expected(trainee.direct, 10, "i1", "i2")
			same := len(got) == len(want)
			for i := 0; same && i < len(got); i++ {
				same = got[i].ItemID == want[i].ItemID
			}
			if len(got) != 10 || !same && !c.used {
				t.Errorf("version %d: %v, want %v", v.Version, got, want)
			}
			v = trainee.publish(t, p)
		}
	}
}

func TestConfigNamesAPrecisionThatIsNone(t *testing.T) {
	err := replica.Config{ID: "r1", Model: "shop", Serving: model.Serving{Precision: "int5"}}.Validate()
	if err == nil || !strings.Contains(err.Error(), `precision "int5"`) {
		t.Errorf("%v", err)
	}
}
