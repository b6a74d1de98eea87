package replica

import (
	"fmt"
	"math"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// warmUp answers the recorded requests and a typical one from next, before anyone depends on it. It returns an error where
// that panics or gives a score that is not finite. An empty model is accepted: it has nothing to say yet.
func (r *Replica) warmUp(next *version) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refuse(ReasonWarmup, "the new model panics on a query: %v", p)
		}
	}()
	check := func(scored []model.Scored) error {
		for _, s := range scored {
			if x := float64(s.Score); math.IsNaN(x) || math.IsInf(x, 0) {
				return refuse(ReasonWarmup, "the new model scores item %q %v", s.ItemID, x)
			}
		}
		return nil
	}
	popular := next.served.Popular(10, model.Filter{})
	if err := check(popular); err != nil {
		return err
	}
	at := schema.EventTime(r.cfg.Now().UnixMilli())
	typical := asked{query: model.Query{At: at}, request: baseline.Request{Now: at, Kinds: baseline.AllKinds}}
	for i, s := range popular {
		typical.query.Past = append(typical.query.Past, model.ServedSession{At: at - schema.EventTime(len(popular)-i)*1000,
			Events: []model.ServedEvent{{ItemID: s.ItemID, Action: schema.ActionClick}}})
		if row, ok := next.served.Row(s.ItemID); ok {
			typical.request.Clicks = append(typical.request.Clicks, row)
		}
	}
	answer := func(q *asked) error {
		scored, ok := q.answer(next.built, defaultK)
		if err := check(scored); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		if ok && len(scored) == 0 {
			return refuse(ReasonWarmup, "the new model knows a query and has no answer")
		}
		return nil
	}
	if err := answer(&typical); err != nil {
		return err
	}
	var q asked
	recent := r.requests.all()
	for i := range recent {
		r.ask(&q, next, recent[i])
		if err := answer(&q); err != nil {
			return err
		}
	}
	r.metrics.warmed.Set(float64(len(recent)))
	return nil
}
