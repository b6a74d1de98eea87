package replay

import (
	"math"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// outcomes is what one arm ranked, test by test, in the order of the stream, packed: some forty bytes a test.
type outcomes struct {
	tests  []outcome
	facts  []evaluate.Target
	ranks  []uint16 // (targets, kept arms)
	stride int
}

// outcome is one test.
type outcome struct {
	part    uint32 // its place in the stream
	place   int32
	at      schema.EventTime
	kind    evaluate.Kind
	targets uint16
	from    uint32 // of its targets
}

// keptFirst are the arms of a learner that are kept of the first arm; of the others the model is: what else is
// tested beside a model costs more than it does, and the tables of all arms are the same or later.
var keptFirst = []int{learn.ArmModel, learn.ArmBlend, learn.ArmPopularity, learn.ArmItemToItem, learn.ArmVSKNN, learn.ArmSTAN, learn.ArmVSTAN}

var keptOthers = keptFirst[:1]

// baselineNames are the names of what is kept of the first arm behind its model and blend.
func baselineNames() (names []string) {
	for _, a := range keptFirst[2:] {
		names = append(names, learn.ArmNames[a])
	}
	return names
}

func (o *outcomes) add(part uint32, t *evaluate.Test, kept []int) {
	o.stride = len(kept)
	o.tests = append(o.tests, outcome{part, int32(t.Place), t.At, t.Kind, uint16(min(len(t.Targets), math.MaxUint16)), uint32(len(o.facts))})
	for i, f := range t.Targets {
		o.facts = append(o.facts, f)
		for _, arm := range kept {
			rank := 0
			if i < len(t.Ranks[arm]) {
				rank = min(t.Ranks[arm][i], math.MaxUint16)
			}
			o.ranks = append(o.ranks, uint16(rank))
		}
	}
}

// together puts the tests of all arms side by side. A test that an arm could not be asked, because it knew nothing of the user or of the items yet, is a miss of that
// arm: to know later is what it is measured for.
func together(all []*outcomes, names []string, period time.Duration) *evaluate.Evaluation {
	e := evaluate.New(evaluate.Config{Arms: names, Period: period})
	at := make([]int, len(all))
	for {
		first := -1
		for i, o := range all {
			if at[i] < len(o.tests) && (first < 0 || before(&o.tests[at[i]], &all[first].tests[at[first]])) {
				first = i
			}
		}
		if first < 0 {
			return e
		}
		head := all[first].tests[at[first]]
		n := int(head.targets)
		t := evaluate.Test{At: head.at, Kind: head.kind, Place: int(head.place), Targets: all[first].facts[head.from:][:n]}
		for i, o := range all {
			stride := len(keptOthers)
			if i == 0 {
				stride = len(keptFirst)
			}
			ranks := make([][]int, stride)
			for a := range ranks {
				ranks[a] = make([]int, n)
			}
			if at[i] < len(o.tests) && o.tests[at[i]].part == head.part && o.tests[at[i]].kind == head.kind {
				for k := range n {
					for a := range ranks {
						ranks[a][k] = int(o.ranks[(int(o.tests[at[i]].from)+k)*o.stride+a])
					}
				}
				at[i]++
			}
			t.Ranks = append(t.Ranks, ranks...)
		}
		e.Add(&t)
	}
}

func before(a, b *outcome) bool {
	if a.part != b.part {
		return a.part < b.part
	}
	return a.kind > b.kind // a part is asked for before its first click is
}
