package baseline

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// HalfLives is the number of popularities.
const HalfLives = 4

// compared is the popularity that marks are compared with.
const compared = model.TermPopular1

// Places is how far down a list of an arm reaches.
const Places = 100

// NeverClicked is the Log2 of a row without clicks: finite, because published tables hold finite numbers only.
const NeverClicked = -math.MaxFloat32

// leastShare is the share of the clicks that an item has at least, so that logarithms stay finite.
const leastShare = 1e-6

var leastLog2 = float32(math.Log2(leastShare))

// counted is what was counted of an item.
//
// A click at time t adds 2^(t/halfLife) to a weight (Cormode et al., "Forward Decay", ICDE 2009), so that nothing need be touched as time passes. What is
// kept is the base-2 logarithm of the weight: it needs no landmark that would have to move, and a share is a difference. A float64 gives it to some 1e-9.
type counted struct {
	log2   [HalfLives]float64 // of nothing where clicks is 0
	clicks uint32
}

// counts are those of all items.
type counts struct {
	chunked[counted]
	total counted                // of all clicks
	top   [HalfLives][]model.Row // the heaviest Places+1, falling; of equal ones the lower row first
}

// plus returns log2(2^a + 2^b).
func plus(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log2(1+math.Exp2(b-a))
}

// add counts a click whose weights are 2^at.
func (c *counted) add(at *[HalfLives]float64) {
	for k := range c.log2 {
		if c.clicks == 0 {
			c.log2[k] = at[k]
		} else {
			c.log2[k] = plus(c.log2[k], at[k])
		}
	}
	if c.clicks < math.MaxUint32 {
		c.clicks++
	}
}

func (c *counts) learn(row model.Row, at schema.EventTime, halfLives *[HalfLives]float64) {
	var log2 [HalfLives]float64
	for k := range log2 {
		log2[k] = float64(at) / halfLives[k]
	}
	c.grow(int(row))
	c.at(int(row)).add(&log2)
	c.total.add(&log2)
	c.promote(row)
}

// heavier is the order of top.
func (c *counts) heavier(k int, a, b model.Row) bool {
	x, y := c.at(int(a)).log2[k], c.at(int(b)).log2[k]
	return x > y || x == y && a < b
}

// promote puts a row that gained weight into its places. No other row moves against the others: a weight grows by clicks alone.
func (c *counts) promote(row model.Row) {
	for k := range c.top {
		top := c.top[k]
		if len(top) > Places && row != top[Places] && !c.heavier(k, row, top[Places]) {
			continue // it is not among them
		}
		at := slices.Index(top, row)
		if at < 0 {
			if len(top) <= Places {
				top = append(top, row)
			} else {
				top[Places] = row
			}
			at = len(top) - 1
		}
		for ; at > 0 && c.heavier(k, row, top[at-1]); at-- {
			top[at] = top[at-1]
		}
		top[at] = row
		c.top[k] = top
	}
}

// rechart finds the places anew.
func (c *counts) rechart() {
	for k := range c.top {
		c.top[k] = make([]model.Row, 0, Places+1)
	}
	for r := range c.n {
		if c.at(r).clicks > 0 {
			c.promote(model.Row(r))
		}
	}
}

// rank returns how many items weigh at least as much as row, or 0 when they are more than Places or row was never clicked.
func (c *counts) rank(k int, row model.Row) int {
	own := c.get(int(row))
	if own.clicks == 0 {
		return 0
	}
	top := c.top[k]
	if last := c.at(int(top[len(top)-1])).log2[k]; own.log2[k] < last {
		return 0
	}
	low, high := 0, len(top)
	for low < high {
		if mid := (low + high) / 2; c.at(int(top[mid])).log2[k] >= own.log2[k] {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low > Places {
		return 0
	}
	return low
}

// share returns the share of the clicks that a row has, at least leastShare.
func (c *counts) share(k int, row model.Row) float64 {
	if own := c.get(int(row)); own.clicks > 0 {
		return max(math.Exp2(own.log2[k]-c.total.log2[k]), leastShare)
	}
	return leastShare
}

// rareness holds 1/(1+n) and 1/sqrt(1+n) of small n: most items have few clicks, and a division costs more than all other terms.
var rareness = func() (of [1024][2]float32) {
	for n := range of {
		of[n] = rarenessOf(uint32(n))
	}
	return of
}()

func rarenessOf(n uint32) [2]float32 {
	return [2]float32{float32(1 / (1 + float64(n))), float32(1 / math.Sqrt(1+float64(n)))}
}

// terms sets dst to the terms of one row.   dst (ItemTerms)
func (c *counted) terms(dst *[model.ItemTerms]float32, total *[HalfLives]float64) {
	n := c.clicks
	if n == 0 {
		*dst = termsOfNone
		return
	}
	for k := range HalfLives { // the first four terms
		share := float32(c.log2[k] - total[k])
		if share < leastLog2 { // max would look for what is not a number
			share = leastLog2
		}
		dst[k] = share * math.Ln2
	}
	if n < uint32(len(rareness)) {
		dst[model.TermRare], dst[model.TermRareSlow] = rareness[n][0], rareness[n][1]
	} else {
		rare := rarenessOf(n)
		dst[model.TermRare], dst[model.TermRareSlow] = rare[0], rare[1]
	}
}

// termsOfNone are those of an item that was never clicked.
var termsOfNone = func() (dst [model.ItemTerms]float32) {
	for k := range HalfLives {
		dst[k] = leastLog2 * math.Ln2
	}
	dst[model.TermRare], dst[model.TermRareSlow] = 1, 1
	return dst
}()

// ItemTerms sets dst to the terms of the rows from, from+1, ….   dst (rows, ItemTerms)
func (c *counts) ItemTerms(dst []float32, from model.Row) {
	total := c.total.log2
	r := int(from)
	for r < c.n && len(dst) >= model.ItemTerms {
		in := r % chunkSize
		rows := c.chunks[r/chunkSize][in:min(chunkSize, in+c.n-r, in+len(dst)/model.ItemTerms)]
		for i := range rows {
			rows[i].terms((*[model.ItemTerms]float32)(dst[i*model.ItemTerms:]), &total)
		}
		r += len(rows)
		dst = dst[len(rows)*model.ItemTerms:]
	}
	for ; len(dst) >= model.ItemTerms; dst = dst[model.ItemTerms:] {
		*(*[model.ItemTerms]float32)(dst) = termsOfNone
	}
}

// ItemTermsOf sets dst to the terms of some rows.   dst (len(rows), ItemTerms)
func (c *counts) ItemTermsOf(dst []float32, rows []model.Row) {
	for i, r := range rows {
		own := c.get(int(r))
		own.terms((*[model.ItemTerms]float32)(dst[i*model.ItemTerms:]), &c.total.log2)
	}
}
