package learn

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// How a learner goes through a log that has an end, where one pass is not all: an experiment that brings a model up to date period by period. Observe is the
// tables' part of it.

// Ask tests every arm on a batch as Test does, and not even the weights of the blend change.
func (l *Learner) Ask(b Batch) {
	l.blend.held = true
	defer func() { l.blend.held = false }()
	l.judgeAll(&b)
}

// Weigh tests every arm on a batch and lets the weights of the blend and of the terms learn it; network, tables and vocabulary stay as they are. Those weights say how
// far network and tables are to be trusted, so they learn from what neither has seen.
func (l *Learner) Weigh(b Batch) model.StepStats {
	if !l.judgeAll(&b) {
		return model.StepStats{}
	}
	return l.model.StepTermsAmongAll()
}

// judgeAll puts the tests of a batch to all arms, and says whether there is any.
func (l *Learner) judgeAll(b *Batch) bool {
	requests, known := l.requests(b, false), l.model.Items()
	tests := l.tests(len(requests), known, recency.Normal)
	examples := l.ask(requests, tests)
	if len(examples) == 0 {
		return false
	}
	l.model.Forward(examples)
	l.test(requests, known, tests)
	return true
}

// Review takes a step of the network alone on whole histories, each the parts of a user, oldest first: every part but the first is learned from those before it,
// without the terms, whose tables are not what they were then. Parts without an item that has a row are passed over. The tables do not learn.
func (l *Learner) Review(histories [][]schema.Part) model.StepStats {
	examples := make([]model.Example, 0, len(histories))
	for _, parts := range histories {
		var e model.Example
		for i := range parts {
			if s := l.model.SessionOf(parts[i].Clicks); len(s.Events) > 0 {
				e.User, e.At, e.Scene, e.Past = parts[i].UserID, s.At, s.Scene, append(e.Past, s)
			}
		}
		if len(e.Past) > 1 {
			e.Learn = len(e.Past) - 1
			examples = append(examples, e)
		}
	}
	if len(examples) == 0 {
		return model.StepStats{}
	}
	return l.model.Learn(examples)
}
