package replica

import (
	"fmt"
	"math"
	"sync"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// recorded holds the last queries that were answered, to warm the next version up with what is really asked.
type recorded struct {
	mu      sync.Mutex
	queries [8]asked
	n       int // queries ever added
}

func (r *recorded) add(q asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries[r.n%len(r.queries)] = q
	r.n++
}

func (r *recorded) all() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]asked{}, r.queries[:min(r.n, len(r.queries))]...)
}

// warmUp answers the recorded queries and a typical one from next, before anyone depends on it. It returns an error where
// that panics or gives a score that is not finite. An empty model is accepted: it has nothing to say yet.
func (r *Replica) warmUp(next built) (err error) {
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
	popular := next.served.Popular(10, nil)
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
	for _, q := range append(r.queries.all(), typical) {
		scored, ok := r.answer(next, q, defaultK, nil)
		if err := check(scored); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		if ok && len(scored) == 0 {
			return refuse(ReasonWarmup, "the new model knows a query and has no answer")
		}
	}
	return nil
}
