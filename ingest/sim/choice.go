package sim

import (
	"math/rand/v2"
	"sort"
)

// The mixture from which the next item is drawn; each line sums to 1. What cannot be (no next item, nothing to return to)
// goes to the shelves.
const (
	firstShelf, firstFront, firstReturn, firstAny = 0.76, 0.14, 0.06, 0.04 // of a session
	laterShelf, laterFront, laterReturn, laterAny = 0.52, 0.11, 0.11, 0.07
	laterNext                                     = 0.19

	affinity = 3.0 // how much more a user wants an item of the own price band

	cartWithIntent, cartWithout, purchaseAfterCart = 0.10, 0.03, 0.40
)

// tasteShares are the shares of a user's favourite clusters, the dearest first.
var tasteShares = [favouriteCount]float64{0.62, 0.26, 0.12}

// returnShares are the weights of the items a user may return to, the last but one first.
var returnShares = [recentMax]float64{1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.1}

// choice is the true distribution of the item of a user's next click, cart or purchase: a constant for every item, more
// by weight for the items of a few shelves, and something extra for a few items.
type choice struct {
	k       *catalogue
	stay    float64 // the chance to take the last item a step further: cart or purchase
	last    slot
	any     float64 // of each item
	shelves []shelfPart
	extras  []extraPart
	extra   []float64 // by slot: the sum of its extras; zero elsewhere
	touched []slot    // where extra is not zero, each once
}

type shelfPart struct {
	shelf int
	mass  float64
	unit  float64 // mass over the weight of the shelf
}

type extraPart struct {
	slot slot
	mass float64
}

func newChoice(k *catalogue) *choice { return &choice{k: k, extra: make([]float64, len(k.items))} }

// of sets c to the distribution of the next item of u. It draws nothing.
func (c *choice) of(u *user) {
	for _, s := range c.touched {
		c.extra[s] = 0
	}
	c.touched, c.extras, c.shelves = c.touched[:0], c.extras[:0], c.shelves[:0]

	c.stay, c.last = u.stay(c.k)
	move := 1 - c.stay
	first := u.acts == 0
	shelfMass, nextMass, frontMass, returnMass, anyMass := laterShelf, laterNext, laterFront, laterReturn, laterAny
	if first {
		shelfMass, nextMass, frontMass, returnMass, anyMass = firstShelf, 0, firstFront, firstReturn, firstAny
	}
	c.any = move * anyMass / float64(len(c.k.items))
	if c.stay > 0 {
		c.add(c.last, c.stay) // the first of extras, see draw
	}

	if !first && c.k.alive(u.recent[0]) {
		for i, r := range c.k.items[u.recent[0].slot].nextRefs {
			c.add(r.slot, float64(move*nextMass)*nextShares[i])
		}
	} else {
		shelfMass += nextMass
	}
	for i, s := range c.k.front {
		c.add(s, float64(move*frontMass)*c.k.frontMass[i])
	}
	earlier := u.earlier()
	var sum float64
	for i, r := range earlier {
		if c.k.alive(r) {
			sum += returnShares[i]
		}
	}
	if sum > 0 {
		for i, r := range earlier {
			if c.k.alive(r) {
				c.add(r.slot, float64(move*returnMass)*returnShares[i]/sum)
			}
		}
	} else {
		shelfMass += returnMass
	}
	if first {
		for i, cluster := range u.favourites {
			c.addShelves(cluster, u.band, float64(move*shelfMass)*tasteShares[i])
		}
	} else {
		c.addShelves(u.intent, u.band, move*shelfMass)
	}
}

func (c *choice) add(s slot, mass float64) {
	if c.extra[s] == 0 {
		c.touched = append(c.touched, s)
	}
	c.extra[s] += mass
	c.extras = append(c.extras, extraPart{s, mass})
}

// addShelves spreads mass over the items of a cluster by weight, those of the user's band counting more.
func (c *choice) addShelves(cluster, band int32, mass float64) {
	var sum float64
	for b := range int32(bandCount) {
		sum += c.liking(cluster, b, band)
	}
	for b := range int32(bandCount) {
		i := int(cluster*bandCount + b)
		m := mass * c.liking(cluster, b, band) / sum
		c.shelves = append(c.shelves, shelfPart{i, m, m / c.k.shelves[i].total})
	}
}

func (c *choice) liking(cluster, band, own int32) float64 {
	w := c.k.shelves[cluster*bandCount+band].total
	if band == own {
		w *= affinity
	}
	return w
}

// draw picks an item, and says whether it is the last one taken a step further.
func (c *choice) draw(rng *rand.Rand) (s slot, stays bool) {
	u := rng.Float64()
	for i, e := range c.extras {
		if u < e.mass {
			return e.slot, i == 0 && c.stay > 0
		}
		u -= e.mass
	}
	for _, p := range c.shelves {
		if u < p.mass {
			return c.k.shelves[p.shelf].draw(rng.Float64()), false
		}
		u -= p.mass
	}
	return slot(rng.IntN(len(c.k.items))), false
}

// prob returns the probability of the item of s.
func (c *choice) prob(s slot) float64 { return c.plain(s) + c.extra[s] }

// plain is prob without the extras.
func (c *choice) plain(s slot) float64 {
	it := &c.k.items[s]
	shelf := int(it.cluster*bandCount + it.band)
	for _, part := range c.shelves {
		if part.shelf == shelf {
			return c.any + float64(part.unit*it.weight)
		}
	}
	return c.any
}

// rank returns the place of the item of s when the items stand in order of falling probability, 1 the first. Items as
// likely as s count as before it. It looks at the items with extras one by one and finds the others by bisection, because
// the probability falls along a shelf.
func (c *choice) rank(s slot) int {
	p := c.prob(s)
	if p <= c.any {
		return len(c.k.items) // nothing is less likely
	}
	rank := 0
	for _, part := range c.shelves {
		slots := c.k.shelves[part.shelf].slots
		rank += sort.Search(len(slots), func(i int) bool {
			return c.any+float64(part.unit*c.k.items[slots[i]].weight) < p
		})
	}
	for _, t := range c.touched { // the bisection took them for plain items
		if c.plain(t) >= p {
			rank--
		}
		if c.prob(t) >= p {
			rank++
		}
	}
	return rank // s has counted itself
}
