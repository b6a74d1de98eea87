package replica

import (
	"errors"

	"github.com/go-faster/jx"
)

// Limits of a batch.
const (
	maxBatch  = 100
	maxBatchK = 10_000 // items asked for in all
)

// question is one of a batch: a request, or what is wrong with it.
type question struct {
	request Request
	wrong   *fault
}

// serveBatch answers several requests, each as if it came alone, and all from one pair of lanes (I8). Each waits for a turn of its own, so that a batch is not before others
// in the queue; where the first gets none, the batch is sent away as a whole. A request that is wrong has an error in its place, and the others their answers.
func (r *Replica) serveBatch(x *exchange) error {
	if err := r.readBody(x); err != nil {
		return err
	}
	var asked []question
	err := decodeBody(&x.in, x.body, func() (err error) {
		asked, err = r.decodeBatch(&x.in)
		return err
	})
	if err != nil {
		return err
	}
	if x.lanes.stable == nil {
		return r.notReady()
	}
	x.out.RawStr(`{"answers":[`)
	for i := range asked {
		if i > 0 {
			x.out.Comma()
		}
		wrong := asked[i].wrong
		if wrong == nil {
			answer, err := r.compute(x, asked[i].request)
			if err != nil && (i == 0 || x.ctx.Err() != nil || !errors.As(err, &wrong)) {
				return err
			}
			if err == nil {
				answer.encode(&x.out)
			}
		}
		if wrong != nil {
			x.out.RawStr(`{"error":`)
			wrong.encode(&x.out, "")
			x.out.ObjEnd()
		}
		if err := r.hold(x, 0); err != nil {
			return err
		}
	}
	x.out.RawStr(`]}`)
	return nil
}

// decodeBatch reads {"requests":[…]}. What is wrong with one request is kept in its place; what is not JSON is wrong with all.
func (r *Replica) decodeBatch(j *jx.Decoder) (asked []question, err error) {
	items, now := 0, r.cfg.Now()
	one := new(jx.Decoder)
	err = object(j, "", []string{"requests"}, func(name string) error {
		return array(j, name, maxBatch, func(int) error {
			raw, err := j.Raw()
			if err != nil {
				return err
			}
			var q question
			one.ResetBytes(raw)
			if q.request, err = decodeRequest(one, now); err != nil && !errors.As(err, &q.wrong) {
				return err
			}
			if q.wrong == nil {
				items += q.request.K
			}
			asked = append(asked, q)
			return nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case len(asked) == 0:
		return nil, invalid("requests", "requests is missing, or an empty list")
	case items > maxBatchK:
		return nil, invalid("requests", "the requests ask for %d items in all, at most %d are allowed", items, maxBatchK)
	}
	return asked, nil
}
