package trainer

import (
	"context"
	"errors"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// weighed is what a version of the tables alone says of the weights that it is to be used with.
type weighed struct {
	step  schema.Step
	items int
}

// work is a version for the publishing goroutine, and the arrivals of the clicks whose weights are new in it.
type work struct {
	whole   contents // of a base
	changed contents // of a delta, or of a base that follows
	version Version
	weighs  bool // it has weights, not the tables alone
	clicks  arrivals
}

// contents are what a version is made of.
type contents struct {
	snapshot *model.Snapshot // nil in a version of the tables alone
	tables   []model.Object
}

// encoded makes of contents what is published; nothing of none.
func (c contents) encoded() (all []Table) {
	objects := c.tables
	if c.snapshot != nil {
		objects = append(c.snapshot.Objects(), objects...)
	}
	for _, o := range objects {
		all = append(all, Table{o.Name, o.Table})
	}
	return all
}

// contents copies what of the weights and the live tables goes out: all, or what has changed. A base that follows on what changed is of what was published,
// so that both ways make the same version.
func (t *Trainer) contents(weights, full, follows bool) (c contents, err error) {
	m, live := t.learner.Model(), t.learner.Live()
	if t.cfg.Learn.Model.Terms {
		if c.tables, err = live.Publish(full); err != nil {
			return c, err
		}
	}
	switch {
	case weights && full && follows:
		s := m.Published()
		c.snapshot = &s
	case weights:
		s := m.Snapshot(full, live.Log2)
		c.snapshot = &s
	}
	return c, nil
}

// offer hands a version to the publishing goroutine, if there is something new and it is not busy with the one before. weights says that weights are due; where they
// are not, a delta has the live tables alone, unless a row went to another item: tables and weights would then speak of two items by one row.
func (t *Trainer) offer(pub Publisher, weights bool) (offered, weighs bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		return false, false, nil
	}
	kind := pub.NextKind()
	weights = kind == schema.KindBase || weights || !t.cfg.Learn.Model.Terms || t.learner.Model().Renamed()
	if !t.behind && !(weights && t.stale) {
		return false, false, nil
	}
	w := work{}
	follows := kind == schema.KindBase && pub.Follows()
	if kind == schema.KindDelta || follows {
		if w.changed, err = t.contents(weights, false, false); err != nil {
			return false, false, err
		}
	}
	if kind == schema.KindBase {
		if w.whole, err = t.contents(weights, true, follows); err != nil {
			return false, false, err
		}
	}
	if weights {
		w.weighs, w.clicks, t.weighed = true, t.pending, weighed{t.counts.Steps, t.learner.Model().Items()}
		t.pending, t.stale = arrivals{}, false
	}
	w.version = Version{
		Kind:         kind,
		Through:      schema.TrainedThrough{EventTime: t.through, Positions: t.position.Clone()},
		Step:         t.weighed.step,
		Items:        t.weighed.items,
		Metrics:      map[string]float64{"loss": t.loss},
		ConfigDigest: t.cfg.Learn.Model.Digest(),
	}
	for _, arm := range t.scores.Third.Arms {
		w.version.Metrics["recall_at_20_"+arm.Arm], w.version.Metrics["mrr_at_20_"+arm.Arm] = arm.Recall20, arm.MRR20
	}
	t.outbox <- w
	t.busy, t.behind = true, false
	return true, weights, nil
}

// publishing encodes and publishes versions, off the training goroutine. A version that cannot be published is given up:
// the next one is a base and holds all of it.
func (t *Trainer) publishing(ctx context.Context, pub Publisher) error {
	for w := range t.outbox {
		if w.version.Tables = w.changed.encoded(); w.version.Kind == schema.KindBase {
			w.version.Tables, w.version.FromParent = w.whole.encoded(), w.version.Tables
		}
		v, err := pub.Publish(ctx, w.version)
		t.mu.Lock()
		t.busy = false
		if err == nil {
			t.last = v
		} else {
			again := !errors.Is(err, ErrRefused)
			t.behind, t.stale = t.behind || again, t.stale || again && w.weighs
			for at, clicks := range w.clicks { // they count from their arrival still, with the version that will hold them
				t.pending[at] += clicks
			}
		}
		t.mu.Unlock()
		switch {
		case err == nil:
			if w.weighs {
				t.fresh.publish(v, w.clicks)
			}
		case errors.Is(err, ErrFenced):
			return err
		case errors.Is(err, ErrRefused):
			t.log.Error("version refused; replicas keep the last good one", "step", w.version.Step, "error", err)
		case ctx.Err() == nil:
			t.log.Warn("version not published; the next one will hold it", "error", err)
		}
	}
	return nil
}

// What a Publisher returns that is not worth another try.
var (
	ErrFenced  = errors.New("another trainer publishes this model") // (I5): this one must stop
	ErrRefused = errors.New("version refused by the guard")         // this version; a later one may pass
)
