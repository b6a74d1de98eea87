package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// sequence is one user's items as they go into a model. Its slices are parts of Sequences.
type sequence struct {
	past   []int32 // oldest first
	pastAt []schema.EventTime
	target int32 // what followed
	at     schema.EventTime
	learn  int // how many of the latest of past are targets too, each given what is before it
}

// ranker ranks what it is asked for.
type ranker interface {
	// Ranks returns the 1-based rank of each sequence's target among all items without seen[i], which does not hold the target. Equal scores count
	// against it.
	Ranks(batch []sequence, seen [][]int32) []int32
}

// learner is what an experiment needs of a model.
type learner interface {
	ranker
	// Learn trains on a batch, with rates multiplied by pace.
	Learn(batch []sequence, pace float64) learned
	// Weights returns the number of weights, and their sha256 in hex.
	Weights() (count int, digest string, err error)
}

// learned says what Learn did.
type learned struct {
	loss    float64 // summed over targets
	targets int     // learned from
	steps   int
	skipped int    // steps that moved nothing, because a number was not finite
	where   string // that was
	tokens  int    // items read, padding and what the model itself adds to them not counted: the same for all models
	flops   float64
}

// learnedIn is what one step did that read so many tokens.
func learnedIn(s model.StepStats, tokens int) learned {
	l := learned{tokens: tokens, flops: s.Flops, steps: 1}
	if s.Skipped {
		l.skipped, l.where = 1, s.Where
	} else {
		l.loss, l.targets = s.Loss*float64(s.Examples), s.Examples
	}
	return l
}

// add takes in what another batch did.
func (l *learned) add(b learned) {
	l.loss += b.loss
	l.targets += b.targets
	l.steps += b.steps
	l.skipped += b.skipped
	if b.where != "" {
		l.where = b.where
	}
	l.tokens += b.tokens
	l.flops += b.flops
}

// mean is the loss of a target.
func (l *learned) mean() float64 { return l.loss / float64(max(1, l.targets)) }

// stuck says so where no step of an epoch has moved anything.
func (l *learned) stuck(epoch int) error {
	if l.steps > 0 && l.skipped == l.steps {
		return fmt.Errorf("no step of epoch %d had finite numbers (the last was not in %s): give a lower lr or row_rate", epoch, l.where)
	}
	return nil
}

// split is the protocol: which of a user's items are trained on, and which is asked for.
type split struct {
	data    *Sequences
	holdOut int // items at the end of a user that are not trained on: 1, or 2 to validate
	repeats bool
}

// training returns what is trained on of a user, its latest length items and the one that follows them, or false where that is not two items.
func (s split) training(user int32, length int) (q sequence, ok bool) {
	rows, at := s.data.of(int(user))
	n := len(rows) - s.holdOut
	if n < 2 {
		return sequence{}, false
	}
	q = cut(rows, at, n-1, length)
	q.learn = len(q.past)
	return q, true
}

// asked returns what is asked of a user, and all the items that they had before.
func (s split) asked(user int32, length int) (q sequence, history []int32) {
	rows, at := s.data.of(int(user))
	n := len(rows) - s.holdOut
	return cut(rows, at, n, length), rows[:n]
}

// cut makes the item at place the target, and the length items before it its past.
func cut(rows []int32, at []schema.EventTime, place, length int) sequence {
	from := max(0, place-length)
	q := sequence{past: rows[from:place], target: rows[place]}
	if at != nil {
		q.pastAt, q.at = at[from:place], at[place]
	}
	return q
}

// learners returns the users who have something to train on, and how many items are read in an epoch.
func (s split) learners(length int) (users []int32, tokens int) {
	for u := range int32(s.data.Users()) {
		if q, ok := s.training(u, length); ok {
			users = append(users, u)
			tokens += len(q.past)
		}
	}
	return users, tokens
}

// again counts the users who are asked for an item that they had before.
func (s split) again() (n int) {
	for u := range int32(s.data.Users()) {
		if q, history := s.asked(u, 1); slices.Contains(history, q.target) {
			n++
		}
	}
	return n
}

// evaluate asks r for every user. read is told after each batch how many items it read.
func (s split) evaluate(ctx context.Context, r ranker, length, batch int, read func(items int)) (Metrics, error) {
	users := make([]int32, s.data.Users())
	for u := range users {
		users[u] = int32(u)
	}
	size := func(u int32) int { q, _ := s.asked(u, length); return len(q.past) }
	slices.SortStableFunc(users, func(a, b int32) int { return size(a) - size(b) }) // a batch of one length has little to pad
	var t tally
	var asked []sequence
	var seen [][]int32
	var rows []int32 // behind seen
	for some := range slices.Chunk(users, batch) {
		if err := ctx.Err(); err != nil {
			return Metrics{}, err
		}
		asked, seen, rows = asked[:0], seen[:0], rows[:0]
		items := 0
		for _, u := range some {
			q, history := s.asked(u, length)
			items += len(q.past)
			asked = append(asked, q)
			if s.repeats {
				seen = append(seen, nil)
				continue
			}
			from := len(rows)
			rows = append(rows, history...)
			had := rows[from:]
			slices.Sort(had)
			had = slices.Compact(had)
			if i, ok := slices.BinarySearch(had, q.target); ok {
				had = slices.Delete(had, i, i+1)
			}
			rows = rows[:from+len(had)]
			seen = append(seen, had)
		}
		for _, rank := range r.Ranks(asked, seen) {
			t.add(rank)
		}
		read(items)
	}
	return t.metrics(), nil
}

// popularity ranks by how often an item is in what is trained on: what a model has to beat.
type popularity struct{ counts []int32 }

func (s split) popularity() popularity {
	p := popularity{make([]int32, s.data.Items())}
	for u := range s.data.Users() {
		rows, _ := s.data.of(u)
		for _, r := range rows[:max(0, len(rows)-s.holdOut)] {
			p.counts[r]++
		}
	}
	return p
}

// Ranks implements ranker.
func (p popularity) Ranks(batch []sequence, seen [][]int32) []int32 {
	// atLeast[c] is how many items have a count of c or more.
	atLeast := make([]int32, 1+slices.Max(p.counts)+1)
	for _, c := range p.counts {
		atLeast[c]++
	}
	for c := len(atLeast) - 2; c >= 0; c-- {
		atLeast[c] += atLeast[c+1]
	}
	ranks := make([]int32, len(batch))
	for i := range batch {
		of := p.counts[batch[i].target]
		ranks[i] = atLeast[of]
		for _, r := range seen[i] {
			if p.counts[r] >= of {
				ranks[i]--
			}
		}
	}
	return ranks
}
