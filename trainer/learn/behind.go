package learn

// How a learner is held back on purpose: a replay measures what freshness is worth by what its lack costs.

// Behind returns a learner of the same model with tables of its own, for weights that come later than the tables: the one that is returned Learns what the
// first has Tested and Observed some time ago, with its own tables as they were then. Items have the same rows for both. What the returned one Tests
// is not of the first's evaluation. Rows are let go by the first alone, for both. There is one learner behind another at most.
func (l *Learner) Behind() *Learner {
	if l.follower != nil || l.follows {
		panic("learn: behind: there is a learner behind already, or this is one")
	}
	l.follower = around(l.cfg, l.history, l.model)
	l.follower.follows = true
	return l.follower
}

// Observe lets the vocabulary and the tables learn a batch, and not the network.
func (l *Learner) Observe(b Batch) { l.observe(b, l.requests(&b, true)) }
