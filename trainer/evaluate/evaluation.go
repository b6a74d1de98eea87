package evaluate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Config says what is evaluated. Zero durations and a zero Fading are the defaults.
type Config struct {
	Arms []string // names of the arms, in the order of Test.Ranks; the first is the one that Report compares with the others
	// Fading is the α of the faded scores: a test weighs α^n after n others. Default .999, an average over the last thousand or so tests.
	Fading float64
	// Period is the shortest period of the curve over event time. Default 1 h.
	Period time.Duration
	// CoveragePeriod is the time over which distinct recommended items are counted. Default 24 h: shorter ones see too few lists of a slow stream.
	CoveragePeriod time.Duration
}

// maxArms bounds the arms: hits are bits of a word.
const maxArms = 32

func (c Config) withDefaults() Config {
	if c.Fading == 0 {
		c.Fading = 0.999
	}
	if c.Period == 0 {
		c.Period = time.Hour
	}
	if c.CoveragePeriod == 0 {
		c.CoveragePeriod = 24 * time.Hour
	}
	return c
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	if len(c.Arms) < 1 || len(c.Arms) > maxArms {
		faults = append(faults, fmt.Errorf("%d arms: must be between 1 and %d", len(c.Arms), maxArms))
	}
	for i, name := range c.Arms {
		if name == "" || slices.Index(c.Arms, name) < i {
			faults = append(faults, fmt.Errorf("arm %q: a name must be there, and once", name))
		}
	}
	if !(c.Fading > 0 && c.Fading < 1) {
		faults = append(faults, fmt.Errorf("fading %v: must be between 0 and 1, such as .999", c.Fading))
	}
	if c.Period < time.Second {
		faults = append(faults, fmt.Errorf("period %v: must be a second or more", c.Period))
	}
	if c.CoveragePeriod < time.Second {
		faults = append(faults, fmt.Errorf("coverage period %v: must be a second or more", c.CoveragePeriod))
	}
	return errors.Join(faults...)
}

// Evaluation adds up tests. It is not safe for use by several goroutines.
type Evaluation struct {
	cfg      Config
	boards   [kinds]board
	coverage coverage

	test, one []float64 // a test's sums, and one of its targets'; (stride), between calls meaningless
	rank      [1]int
}

// board is what is kept of one kind of test.
type board struct {
	untested int64
	whole    []float64
	faded    []float64
	curve    curve
	periods  periods
	slices   [slicings]slicing
	pairs    pairs
}

// New returns an empty Evaluation. It panics on a Config that is not valid.
func New(cfg Config) *Evaluation {
	if err := cfg.Validate(); err != nil {
		panic(fmt.Sprintf("evaluate: %v", err))
	}
	cfg = cfg.withDefaults()
	cfg.Arms = slices.Clone(cfg.Arms)
	n := len(cfg.Arms)
	w := stride(n)
	e := &Evaluation{cfg: cfg, test: make([]float64, w), one: make([]float64, w), coverage: newCoverage(n, cfg.CoveragePeriod)}
	for k := range e.boards {
		e.boards[k] = board{
			whole: make([]float64, w), faded: make([]float64, w),
			periods: periods{lengthMs: cfg.Period.Milliseconds()}, slices: newSlicings(w), pairs: newPairs(n),
		}
	}
	return e
}

// Arms returns the names of the arms, in the order of Test.Ranks.
func (e *Evaluation) Arms() []string { return slices.Clone(e.cfg.Arms) }

// Add adds a test to all that is kept. It panics on a test without a target, or with as many arms or ranks as there are not.
func (e *Evaluation) Add(t *Test) {
	e.check(t)
	b := &e.boards[t.Kind]
	at := min(max(t.At, -maxExact), maxExact)

	v := e.test
	clear(v)
	v[atTests], v[atTargets] = 1, float64(len(t.Targets))
	for _, target := range t.Targets {
		if target.Unseen {
			v[atUnseen]++
		}
	}
	for arm, ranks := range t.Ranks {
		if ranks != nil {
			measure(v[armAt(arm):][:perArm], ranks)
		}
	}
	addTo(b.whole, v)
	fade(b.faded, v, e.cfg.Fading)
	b.curve.add(v)
	b.periods.add(at, v)
	b.pairs.add(v)
	b.slices[byPlace].add(classOf(placeFrom[:], int64(t.Place)), v)
	b.slices[byScene].addName(t.Scene, v)
	for i, target := range t.Targets {
		if len(t.Targets) > 1 {
			v = e.targetOf(t, i)
		}
		b.slices[byClicks].add(classOf(clicksFrom[:], target.Clicks), v)
		b.slices[byAge].add(classOf(ageFrom[:], target.Age), v)
		b.slices[byAction].addName(string(target.Action), v)
		b.slices[byRepeat].add(repeatOf(target), v)
	}
	e.coverage.add(t, at)
}

func (e *Evaluation) check(t *Test) {
	if len(t.Targets) == 0 || len(t.Ranks) != len(e.cfg.Arms) || t.Lists != nil && len(t.Lists) != len(e.cfg.Arms) {
		panic(fmt.Sprintf("evaluate: test with %d targets, ranks of %d arms and lists of %d, want a target and %d arms", len(t.Targets), len(t.Ranks), len(t.Lists), len(e.cfg.Arms)))
	}
	for arm, ranks := range t.Ranks {
		if ranks != nil && len(ranks) != len(t.Targets) {
			panic(fmt.Sprintf("evaluate: %s ranks %d of %d targets", e.cfg.Arms[arm], len(ranks), len(t.Targets)))
		}
	}
}

// targetOf returns one target of a test as a test of its own.
func (e *Evaluation) targetOf(t *Test, i int) []float64 {
	v := e.one
	clear(v)
	v[atTests], v[atTargets] = 1, 1
	if t.Targets[i].Unseen {
		v[atUnseen] = 1
	}
	for arm, ranks := range t.Ranks {
		if ranks != nil {
			e.rank[0] = ranks[i]
			measure(v[armAt(arm):][:perArm], e.rank[:])
		}
	}
	return v
}

// Untested counts n clicks, parts or sessions that could have been tests and were not, such as a user's first.
func (e *Evaluation) Untested(k Kind, n int) { e.boards[k].untested += int64(n) }

// Whole returns the scores over all tests of a kind.
func (e *Evaluation) Whole(k Kind) Group { return groupOf(e.cfg.Arms, e.boards[k].whole) }

// Last returns the scores over the last share of the tests of a kind, to the width of a point of the curve (a 128th at most, once there
// are 16,384 tests): Last(NextClick, 1.0/3) is the last third.
func (e *Evaluation) Last(k Kind, share float64) Group {
	v := make([]float64, len(e.test))
	e.boards[k].curve.last(v, share)
	return groupOf(e.cfg.Arms, v)
}

// Faded returns the faded scores of a kind. Their Tests are the sum of the weights, at most 1/(1-α).
func (e *Evaluation) Faded(k Kind) Group { return groupOf(e.cfg.Arms, e.boards[k].faded) }

// Over returns the scores of a kind over event time, by periods that have tests.
func (e *Evaluation) Over(k Kind) []Point { return e.boards[k].periods.report(e.cfg.Arms) }

// Slices returns the scores of a kind by facts of targets and tests; classes without tests are left out.
func (e *Evaluation) Slices(k Kind) (all []Slice) {
	w := len(e.test)
	for by := range slicings {
		s := &e.boards[k].slices[by]
		for class, name := range s.names {
			if v := s.sums[class*w:][:w]; v[atTests] > 0 {
				all = append(all, Slice{By: sliceNames[by], Class: name, Group: groupOf(e.cfg.Arms, v)})
			}
		}
	}
	return all
}

// maxExact bounds times to whole numbers that a float64 holds. No click is near.
const maxExact schema.EventTime = 1 << 52
