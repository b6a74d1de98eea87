package flight

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// plan is what to read next, and from where.
type plan struct {
	node    *node // nil: nothing can be read now
	state   state // what the node last said
	begin   bool  // nothing is known of what comes before: the log is new, or there is a gap
	gap     bool
	problem error // why nothing can be read
}

// plan picks the node that has the entry that is wanted and is furthest, the present one where two are as far.
func (r *puller) plan(now time.Time) (p plan, wait time.Duration) {
	m := r.mirror
	own := m.store.Partition(r.partition)
	isNew := own.NextEmit == 0
	wait = m.cfg.RetryMost
	var (
		has    bool  // a node has the wanted entry, whether or not it may be asked now
		paused bool  // a node may be asked again soon
		later  *plan // of the nodes whose logs begin behind the wanted entry, the one that begins first
	)
	for _, n := range m.nodes {
		s, ok := n.state(r.partition)
		if !ok || s.Next < own.NextEmit {
			continue
		}
		if s.First > own.NextEmit {
			if later == nil || s.First < later.state.First {
				later = &plan{node: n, state: s, begin: true}
			}
			continue
		}
		has = has || s.Next > own.NextEmit
		if again := r.retries[n].at; again.After(now) {
			paused, wait = true, min(wait, again.Sub(now))
			continue
		}
		if p.node == nil || further(s, p.state) > 0 || further(s, p.state) == 0 && n == r.current {
			p = plan{node: n, state: s, begin: isNew && m.cfg.Keep > 0}
		}
	}
	silent := m.silent()
	switch {
	case has || later == nil:
		r.gap = nil
		if p.node == nil && !paused {
			p.problem = fmt.Errorf("partition %d: no node that answers has come as far as entry %d: start the node that had it%s",
				r.partition, own.NextEmit, aside(silent))
		}
	case isNew && len(silent) > 0:
		p.problem = fmt.Errorf("partition %d: the log begins at entry %d, and what was before may be on %s: start it, or take it out of --feed to begin there",
			r.partition, later.state.First, list(silent))
	case !isNew && (len(silent) > 0 || !m.cfg.AcceptGaps):
		p.problem = fmt.Errorf("partition %d: entries %d to %d are on no node: start the node that had them%s; or, to go on without them, let --feed name only nodes that answer and set flight.accept_gaps",
			r.partition, own.NextEmit, later.state.First-1, aside(silent))
	case r.isSure():
		// A new reader begins where the logs do: what was before is on no node any more.
		later.gap = !isNew
		return *later, 0
	default:
		wait = m.cfg.PollEvery
	}
	return p, wait // where there is a node, the entries may yet come from it
}

// isSure reports whether all nodes have been looked at twice since the gap was first seen: looks are not at one moment, and
// an entry may have come between them.
func (r *puller) isSure() bool {
	if r.gap == nil {
		r.gap = map[*node]uint64{}
		for _, n := range r.mirror.nodes {
			r.gap[n] = n.looks()
		}
	}
	for n, at := range r.gap {
		if n.looks() < at+2 {
			return false
		}
	}
	return true
}

func aside(silent []string) string {
	if len(silent) == 0 {
		return ""
	}
	return " (" + list(silent) + " does not answer)"
}

// further compares how far two nodes have come with a partition.
func further(a, b state) int {
	return cmp.Or(cmp.Compare(a.Next, b.Next), cmp.Compare(a.NextOffset, b.NextOffset), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Watermark, b.Watermark))
}

// errElsewhere says that another node has come further.
var errElsewhere = errors.New("another node has come further")

// elsewhere reports whether another node than n, which has been silent since, has what comes next.
func (r *puller) elsewhere(n *node, since time.Time) bool {
	if time.Since(since) < r.mirror.cfg.PollEvery {
		return false
	}
	p, _ := r.plan(time.Now())
	r.say(p.problem)
	return p.node != nil && p.node != n && further(p.state, stateOf(r.mirror.store.Partition(r.partition))) > 0
}
