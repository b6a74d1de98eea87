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

// Weigh tests every arm on a batch and lets the weights of the blend learn it; network, terms, tables and vocabulary stay as they are. The blend's weights say how far
// each arm is to be trusted, so they learn from what none has seen.
func (l *Learner) Weigh(b Batch) { l.judgeAll(&b) }

// judgeAll puts the tests of a batch to all arms.
func (l *Learner) judgeAll(b *Batch) {
	requests, known := l.requests(b, false), l.model.Items()
	tests := l.tests(len(requests), known, recency.Normal)
	examples := l.ask(requests, tests)
	if len(examples) > 0 {
		l.model.Forward(examples)
		l.test(requests, known, tests)
	}
}

// Admit gives the items of a batch rows. Nothing else learns it.
func (l *Learner) Admit(b Batch) { l.requests(&b, true) }

// Revise takes a step of the network and of the terms together on a batch whose items have rows, in any order of its parts and as often as one likes. The tables do not
// learn: what they say of a click is what they said before it. Network and terms must learn beside each other: a network that has learned to do without the terms
// says what they say a second time, and no weights of theirs put that right, because its own is one.
func (l *Learner) Revise(b Batch) model.StepStats {
	examples := l.ask(l.requests(&b, false), 0)
	if len(examples) == 0 {
		return model.StepStats{}
	}
	return l.model.Learn(examples)
}

// Review takes a step of the network alone on whole histories, each the parts of a user, oldest first: every part but the first is learned from those before it,
// without the terms: it is for a model that has none, or whose tables are not what they were then. Parts without an item that has a row are passed over. The tables do not learn.
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
