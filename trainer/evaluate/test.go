package evaluate

import (
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Rule says how the figures come about. It is printed beside them.
const Rule = "test-then-train: every arm ranks before any of them learns from the click; " +
	"next click: one test per click, its item is the target; next part: one test per part, its distinct items are the targets; " +
	"next session: lists made at a session's first click, judged against the session's distinct items once it is over; exposures are no targets; " +
	"rank = items that score at least as high, so that ties count against; unseen items are misses and stay in the mean; repeats are allowed and count; " +
	"recall@k = targets in the first k / min(k, targets), MRR@k = 1 / rank of the best target within k, " +
	"NDCG@k = sum of 1/log2(1+rank) over targets within k / the same of min(k, targets) at the top; means over tests; " +
	"by facts of a target (clicks, age, action, repeat) each target is a test of its own"

// Kind is what a test asks for.
type Kind int

// The kinds of tests. Their figures are never mixed.
const (
	NextClick Kind = iota
	NextPart
	NextSession
	kinds
)

var kindNames = [kinds]string{"next_click", "next_part", "next_session"}

func (k Kind) String() string { return kindNames[k] }

// MarshalText returns the name of k.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no kind of test", text)
}

// Target is what is known of an item that should have been recommended, as of the test.
type Target struct {
	Clicks    int64         // of this item before
	Age       time.Duration // since its first click; 0 where it has none
	Unseen    bool          // never clicked before: no arm can know it
	Action    schema.Action
	InSession bool // the user has clicked it before in this session
	Earlier   bool // the user has clicked it before, in an earlier session
}

// Test is one test of all arms. Add does not hold on to it: its slices may be used again.
type Test struct {
	At      schema.EventTime
	Kind    Kind
	Scene   string
	Place   int      // of the click in its session, from 1; for a part, of its first click
	Targets []Target // distinct items; at least one

	// Ranks holds, by arm, the rank of each target from 1; 0 is a miss. An arm with nil did not judge this test.
	Ranks [][]int

	// Lists holds, by arm, what it recommends, best first, as rows of the catalogue; it is optional and for coverage, of which the first
	// 20 are looked at. Catalogue is how many items could be recommended. AgeOf returns the time since an item's first click; without it no item counts as new.
	Lists     [][]int32
	Catalogue int
	AgeOf     func(row int32) time.Duration
}
