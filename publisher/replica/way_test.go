package replica_test

import (
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// A replica that held a version before a base takes what has changed, also over the base; where that has too many bytes, or is damaged, it loads the base. In every case it
// answers as the model does, and starts again from its disk.
func TestWayAcrossABase(t *testing.T) {
	for name, c := range map[string]struct {
		base, more  int // how many versions are missed up to the base, and behind it
		damage      bool
		bases, want float64 // that were loaded, and updates refused
	}{
		"the base is next":         {base: 1},
		"the base is the newest":   {base: 3},
		"the base is in the midst": {base: 2, more: 2},
		"too many bytes":           {base: 40, bases: 1},
		"damaged":                  {base: 2, damage: true, bases: 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			js := dial(t, natstest.Start(t, t.TempDir(), 0))
			p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery = 45 })
			trainee, cfg := newTrainee(t, 1000), config("r1")
			cfg.Dir = t.TempDir()
			r, stop := start(t, cfg, js, nil)
			var held schema.Version
			for range 47 - c.base {
				held = trainee.publish(t, p).Version
			}
			serves(t, r, held)
			eventually(t, "it is on the disk", func() bool { return lastOnDisk(cfg.Dir) == held })
			stop()
			var base schema.Manifest
			for range c.base {
				base = trainee.publish(t, p)
			}
			for range c.more {
				trainee.publish(t, p)
			}
			if base.Kind != schema.KindBase || len(base.FromParent) != len(base.Objects) {
				t.Fatalf("version %d is a %s with %d objects from its parent", base.Version, base.Kind, len(base.FromParent))
			}
			if c.damage {
				objects, err := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
				if err == nil {
					_, err = objects.PutBytes(t.Context(), base.FromParent[0].Name, make([]byte, base.FromParent[0].Bytes))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			newest := p.Last().Version
			r, stop = start(t, cfg, js, nil)
			serves(t, r, newest)
			if n := metric(t, r, `freshet_adoptions_total{kind="base"}`); n != c.bases {
				t.Errorf("%v bases were loaded, want %v", n, c.bases)
			}
			if n := rejected(t, r, replica.ReasonDigest); n != c.want {
				t.Errorf("%v updates were refused, want %v", n, c.want)
			}
			want := expected(trainee.direct, 300, "i1", "i2")
			if diff := cmp.Diff(want, ask(t, r.Handler(), body(300, "i1", "i2")).Items); diff != "" {
				t.Errorf("(-direct +replica):\n%s", diff)
			}
			eventually(t, "the newest is on the disk", func() bool { return lastOnDisk(cfg.Dir) == newest })
			stop()
			kept, err := replica.VerifyDir(cfg)
			if err != nil || kept.Chain[0].Version != base.Version {
				t.Errorf("on the disk is a chain from version %d, not from base %d: %v", kept.Chain[0].Version, base.Version, err)
			}
			again, _ := start(t, cfg, js, nil)
			serves(t, again, trainee.publish(t, p).Version)
		})
	}
}
