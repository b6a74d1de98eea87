package replica

import (
	"bytes"
	"encoding/json"

	"github.com/freshet-ml/freshet/publisher"
)

// Why an order was not taken, beside the reasons of signatures; labels of freshet_orders_refused_total.
const ReasonOrder Reason = "order" // it does not parse, breaks a rule, or is for another model

// inForce returns the order that is obeyed; the zero Order, which follows the head, where none was ever seen.
func (r *Replica) inForce() publisher.Order {
	if o := r.order.Load(); o != nil {
		return *o
	}
	return publisher.Order{}
}

// takeOrder makes the stored order the one in force, and says whether it changes anything. One that is refused leaves the order before it in force.
func (r *Replica) takeOrder(stored []byte) bool {
	if stored == nil || bytes.Equal(stored, r.heard) {
		return false
	}
	r.heard = stored
	o, err := r.checkOrder(stored)
	if err != nil {
		reason := reasonOf(err)
		r.metrics.ordersRefused.WithLabelValues(string(reason)).Inc()
		r.cfg.Log.Warn("replica refuses an order and goes on obeying the one before", "reason", reason, "err", err, "obeyed", r.inForce().Serial)
		r.sayOrder("order: " + string(reason) + ": " + err.Error())
		return false
	}
	r.sayOrder("")
	if o.Serial == r.inForce().Serial {
		return false
	}
	r.order.Store(&o)
	r.metrics.order.Set(float64(o.Serial))
	r.cfg.Log.Info("replica obeys an order", "id", r.cfg.ID, "model", r.cfg.Model, "serial", o.Serial, "version", o.Version, "candidate", o.Candidate != nil, "by", o.By, "why", o.Why)
	r.unsaved = stored
	if err := r.keepOrder(); err != nil {
		r.cfg.Log.Error("replica cannot keep the order on disk, and tries again: until it can, a start without NATS will obey an older one; check space and rights of the directory",
			"dir", r.cfg.Dir, "again_in", r.cfg.PollEvery, "err", err)
	}
	return true
}

// keepOrder writes the order in force to the disk, unless it is there.
func (r *Replica) keepOrder() error {
	if r.unsaved == nil {
		return nil
	}
	if err := r.disk.saveOrder(r.unsaved); err != nil {
		r.metrics.failures.WithLabelValues("disk").Inc()
		return err
	}
	r.unsaved = nil
	return nil
}

// checkOrder parses an order and refuses one that this replica must not obey.
func (r *Replica) checkOrder(stored []byte) (publisher.Order, error) {
	o, err := publisher.ParseOrder(stored)
	if err != nil {
		return o, &refusal{ReasonOrder, err}
	}
	if o.Model != r.cfg.Model {
		return o, refuse(ReasonOrder, "order %d is for model %q, not for %q", o.Serial, o.Model, r.cfg.Model)
	}
	if err := o.Verify(r.cfg.TrustedKeys); err != nil {
		return o, err
	}
	have := r.inForce()
	if o.Serial < have.Serial {
		return o, refuse(ReasonReplay, "order %d is older than order %d, which was seen before: give a new one with a higher serial", o.Serial, have.Serial)
	}
	if o.Serial == have.Serial && !sameOrder(o, have) {
		return o, refuse(ReasonReplay, "order %d says something else than the order %d that was seen before: give a new one with a higher serial", o.Serial, have.Serial)
	}
	return o, nil
}

func sameOrder(a, b publisher.Order) bool {
	left, err := json.Marshal(a)
	if err != nil {
		return false
	}
	right, err := json.Marshal(b)
	return err == nil && bytes.Equal(left, right)
}

// restoreOrder puts the last order seen in force, where there is one and its signer is trusted still.
func (r *Replica) restoreOrder() {
	stored, err := r.disk.order()
	if err == nil && stored != nil {
		var o publisher.Order
		if o, err = r.checkOrder(stored); err == nil {
			r.order.Store(&o)
			r.metrics.order.Set(float64(o.Serial))
		}
	}
	if err != nil {
		r.metrics.ordersRefused.WithLabelValues(string(reasonOf(err))).Inc()
		r.cfg.Log.Warn("replica cannot obey the last order on disk and follows the head until NATS has one", "dir", r.cfg.Dir, "reason", reasonOf(err), "err", err)
	}
}
