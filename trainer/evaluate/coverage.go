package evaluate

import (
	"math/bits"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

const (
	coverPlace = 20             // of a list, as recall@20
	newItem    = 24 * time.Hour // younger items count as new
	maxRow     = 1 << 26        // beyond it a row is not counted: 8 MiB of bits an arm
)

// coverage counts which items are recommended. Within a period a bit per row says whether it was; of the periods before, the
// counts are kept and added up over neighbours when they are too many: distinct items of several periods cannot be had from theirs, their mean can.
//
// A test from before the period that is open counts in that one, so that the bits of one period are enough.
type coverage struct {
	lengthMs int64
	begun    bool
	number   int64 // of the open period, since 1970
	joined   int64 // how many periods a closed point holds before the next one begins
	open     []float64
	bits     [][]uint64 // by arm, by row
	points   []float64  // closed; (points, coverStride)
}

// A point of coverage:
//
//	first period  periods  lists  catalogue | distinct  recommended  new | ...
const (
	atFirst = iota
	atPeriods
	atLists
	atCatalogue
	coverHead

	atDistinct    = 0
	atRecommended = 1
	atNew         = 2
	coverPerArm   = 3
)

func newCoverage(arms int, period time.Duration) coverage {
	return coverage{lengthMs: period.Milliseconds(), joined: 1, open: make([]float64, coverHead+arms*coverPerArm), bits: make([][]uint64, arms)}
}

func (c *coverage) add(t *Test, at schema.EventTime) {
	if t.Lists == nil {
		return
	}
	number := floorDiv(int64(at), c.lengthMs)
	if !c.begun || number > c.number {
		c.close()
		c.begun, c.number = true, number
		c.open[atFirst], c.open[atPeriods] = float64(number), 1
	}
	c.open[atLists]++
	c.open[atCatalogue] = max(c.open[atCatalogue], float64(t.Catalogue))
	for arm, list := range t.Lists {
		sums := c.open[coverHead+arm*coverPerArm:][:coverPerArm]
		for _, row := range list[:min(coverPlace, len(list))] {
			sums[atRecommended]++
			if t.AgeOf != nil && t.AgeOf(row) < newItem {
				sums[atNew]++
			}
			if row < 0 || row >= maxRow {
				continue
			}
			if c.set(arm, int(row)) {
				sums[atDistinct]++
			}
		}
	}
}

// set sets the bit of a row and says whether it was not set before.
func (c *coverage) set(arm, row int) bool {
	word, bit := row/64, uint64(1)<<(row%64)
	for word >= len(c.bits[arm]) {
		c.bits[arm] = append(c.bits[arm], 0)
	}
	before := c.bits[arm][word]
	c.bits[arm][word] |= bit
	return before&bit == 0
}

// close moves the open period to the points.
func (c *coverage) close() {
	if !c.begun {
		return
	}
	w := len(c.open)
	n := len(c.points) / w
	if n > 0 && c.points[(n-1)*w+atPeriods] < float64(c.joined) {
		joinCover(c.points[(n-1)*w:][:w], c.open)
	} else {
		if n == maxPoints {
			for i := range n / 2 {
				copy(c.points[i*w:][:w], c.points[2*i*w:][:w])
				joinCover(c.points[i*w:][:w], c.points[(2*i+1)*w:][:w])
			}
			c.points = c.points[:n/2*w]
			c.joined *= 2
		}
		c.points = append(c.points, c.open...)
	}
	clear(c.open)
	for arm := range c.bits {
		c.bits[arm] = c.bits[arm][:0]
	}
}

func joinCover(dst, v []float64) {
	first := dst[atFirst]
	addTo(dst, v)
	dst[atFirst] = first
}

// Coverage is what the arms recommend in the first 20 places, over one or several periods.
type Coverage struct {
	From      time.Time     `json:"from"`
	Periods   int64         `json:"periods"` // with lists; figures are means over them
	Lists     float64       `json:"lists"`   // lists a period, of each arm
	Catalogue float64       `json:"catalogue"`
	Arms      []ArmCoverage `json:"arms"`
}

// ArmCoverage is the coverage of one arm.
type ArmCoverage struct {
	Arm      string  `json:"arm"`
	Distinct float64 `json:"distinct_at_20"`  // distinct items recommended in a period
	Coverage float64 `json:"coverage_at_20"`  // the same as a share of the catalogue
	NewShare float64 `json:"new_share_at_20"` // share of the recommended that were first seen less than a day ago
}

// Coverage returns the coverage over event time; the last point is the period that is open.
func (e *Evaluation) Coverage() (all []Coverage) {
	c := &e.coverage
	w := len(c.open)
	for p := range slices.Chunk(c.points, w) {
		all = append(all, c.report(e.cfg.Arms, p))
	}
	if c.begun {
		all = append(all, c.report(e.cfg.Arms, c.open))
	}
	return all
}

func (c *coverage) report(arms []string, v []float64) Coverage {
	n := v[atPeriods]
	out := Coverage{
		From: schema.EventTime(int64(v[atFirst]) * c.lengthMs).Time(), Periods: int64(n), Lists: v[atLists] / n, Catalogue: v[atCatalogue] / n,
		Arms: make([]ArmCoverage, len(arms)),
	}
	for arm, name := range arms {
		a := v[coverHead+arm*coverPerArm:]
		out.Arms[arm] = ArmCoverage{Arm: name, Distinct: a[atDistinct] / n, Coverage: ratio(a[atDistinct], v[atCatalogue]), NewShare: ratio(a[atNew], a[atRecommended])}
	}
	return out
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// rowsOf appends to rows those whose bits are set, ascending.
func rowsOf(words []uint64, rows []float64) []float64 {
	for i, word := range words {
		for ; word != 0; word &= word - 1 {
			rows = append(rows, float64(i*64+bits.TrailingZeros64(word)))
		}
	}
	return rows
}
