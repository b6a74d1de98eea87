package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// slot is a place in the catalogue. It has one cluster and one price band for ever, and one item at a time.
type slot int32

// ref names an item: a slot and which of the slot's items.
type ref struct {
	slot   slot
	serial int64
}

const (
	refreshMillis  = 5000 // popularity stands still in between
	nextCount      = 5
	frontCount     = 30
	appealExponent = 1.1 // Zipf's, within a cluster
	demandExponent = 0.7 // Zipf's, over the clusters
	lifeSigma      = 0.5
	peakAge        = 0.2 // of a life
	trendFloor     = 0.05
	sellersOfShelf = 4
)

// nextShares are the shares of an item's next items, the likeliest first.
var nextShares = [nextCount]float64{0.4, 0.25, 0.15, 0.12, 0.08}

type item struct {
	serial   int64
	cluster  int32
	band     int32
	seller   int32
	price    float64
	appeal   float64 // (0, 1]
	bornAt   int64
	diesAt   int64
	weight   float64 // appeal times trend, as of the last refresh
	nextRefs [nextCount]ref
}

// shelf holds the items of one cluster and price band, the most popular first.
type shelf struct {
	slots []slot
	below []float64 // below[j] is the sum of the weights of slots[:j+1]
	total float64
}

// catalogue is what the shop sells. Items are born, rise, fall and die; the dead are forgotten.
type catalogue struct {
	rng        *rand.Rand
	lifeMillis float64
	clusters   int
	items      []item
	shelves    []shelf   // cluster*bandCount + band
	demand     []float64 // by cluster; sums to 1
	companion  []int32   // by cluster: where half of the next items are
	front      []slot    // the most wanted of all, the first one first
	frontMass  []float64 // share of each of front; sums to 1
	refreshAt  int64
	serial     int64
	born       int64 // since the opening
	died       int64
}

func newCatalogue(c Config, rng *rand.Rand) *catalogue {
	k := &catalogue{
		rng:        rng,
		lifeMillis: float64(c.ItemLife.Milliseconds()),
		clusters:   c.Clusters,
		items:      make([]item, c.Items),
		shelves:    make([]shelf, c.Clusters*bandCount),
		demand:     make([]float64, c.Clusters),
		companion:  make([]int32, c.Clusters),
	}
	var sum float64
	for i, rank := range rng.Perm(c.Clusters) {
		k.demand[i] = math.Pow(float64(rank+1), -demandExponent)
		sum += k.demand[i]
	}
	order := rng.Perm(c.Clusters)
	for i := range order {
		k.demand[i] /= sum
		k.companion[order[i]] = int32(order[(i+1)%len(order)])
	}
	start := int64(c.Start)
	for i := range k.items {
		it := &k.items[i]
		it.cluster = int32(i % c.Clusters)
		it.band = int32(i / c.Clusters % bandCount)
		k.bear(it, start)
		age := int64(rng.Float64() * float64(it.diesAt-it.bornAt)) // the shop opens with items of every age
		it.bornAt -= age
		it.diesAt -= age
		s := &k.shelves[it.cluster*bandCount+it.band]
		s.slots = append(s.slots, slot(i))
	}
	for i := range k.shelves {
		k.shelves[i].below = make([]float64, len(k.shelves[i].slots))
	}
	for i := range k.items {
		for j := range k.items[i].nextRefs {
			k.items[i].nextRefs[j] = k.findNext(slot(i))
		}
	}
	k.weigh(start)
	k.refreshAt = start + refreshMillis
	return k
}

// bear puts a new item into the slot of it.
func (k *catalogue) bear(it *item, at int64) {
	k.serial++
	it.serial = k.serial
	n := float64(len(k.items)) / float64(k.clusters)
	it.appeal = math.Pow(1+k.rng.Float64()*(n-1), -appealExponent)
	it.seller = (it.cluster*bandCount+it.band)*sellersOfShelf + k.rng.Int32N(sellersOfShelf)
	it.price = math.Round(100*5*math.Pow(4, float64(it.band))*math.Exp(0.3*k.rng.NormFloat64())) / 100
	it.bornAt = at
	it.diesAt = at + max(refreshMillis, int64(k.lifeMillis*math.Exp(lifeSigma*k.rng.NormFloat64())))
}

// findNext draws an item to follow the one in s: of its own cluster or of the companion's, by appeal. It may be new.
func (k *catalogue) findNext(s slot) ref {
	cluster := k.items[s].cluster
	if k.rng.Uint64()&1 == 0 {
		cluster = k.companion[cluster]
	}
	of := (len(k.items) - int(cluster) + k.clusters - 1) / k.clusters
	place := k.rng.IntN(of)
	for tries := 64; ; tries-- { // one in about ten is taken; in the end any that is possible, of at least nine
		found := slot(int(cluster) + k.clusters*place)
		if found != s && !k.follows(s, found) && (tries <= 0 || k.rng.Float64() < k.items[found].appeal) {
			return ref{found, k.items[found].serial}
		}
		if place = (place + 1) % of; tries > 0 {
			place = k.rng.IntN(of)
		}
	}
}

func (k *catalogue) follows(s, t slot) bool {
	for _, r := range k.items[s].nextRefs {
		if r.slot == t && r.serial == k.items[t].serial {
			return true
		}
	}
	return false
}

// alive says whether the item of r has not died.
func (k *catalogue) alive(r ref) bool { return k.items[r.slot].serial == r.serial }

// refresh brings births, deaths and popularity up to time at.
func (k *catalogue) refresh(at int64) {
	if at < k.refreshAt {
		return
	}
	at -= (at - k.refreshAt) % refreshMillis
	k.refreshAt = at + refreshMillis
	before := k.died
	for i := range k.items {
		if it := &k.items[i]; it.diesAt <= at {
			k.bear(it, at)
			k.born++
			k.died++
			it.nextRefs = [nextCount]ref{}
		}
	}
	if k.died > before {
		for i := range k.items {
			for j, r := range k.items[i].nextRefs {
				if r.serial == 0 || !k.alive(r) {
					k.items[i].nextRefs[j] = k.findNext(slot(i))
				}
			}
		}
	}
	k.weigh(at)
}

// trend is the rise and fall of an item: 0 to 1 over its life, highest at peakAge.
func trend(age float64) float64 {
	x := max(0, age) / peakAge
	return trendFloor + float64(x*math.Exp(1-x))
}

// weigh recomputes every weight, the order of the shelves and the front page.
func (k *catalogue) weigh(at int64) {
	for i := range k.items {
		it := &k.items[i]
		it.weight = it.appeal * trend(float64(at-it.bornAt)/float64(it.diesAt-it.bornAt))
	}
	k.front = k.front[:0]
	for i := range k.shelves {
		s := &k.shelves[i]
		slices.SortFunc(s.slots, func(a, b slot) int {
			return cmp.Or(cmp.Compare(k.items[b].weight, k.items[a].weight), cmp.Compare(a, b))
		})
		s.total = 0
		for j, t := range s.slots {
			s.total += k.items[t].weight
			s.below[j] = s.total
		}
		for _, t := range s.slots {
			if !k.toFront(t) {
				break // the rest of the shelf weighs less
			}
		}
	}
	k.frontMass = k.frontMass[:0]
	var sum float64
	for _, t := range k.front {
		sum += k.wanted(t)
	}
	for _, t := range k.front {
		k.frontMass = append(k.frontMass, k.wanted(t)/sum)
	}
}

// wanted is how much the whole shop wants the item of t.
func (k *catalogue) wanted(t slot) float64 {
	return float64(k.demand[k.items[t].cluster] * k.items[t].weight)
}

// toFront inserts t into the front page and reports whether it had a place there.
func (k *catalogue) toFront(t slot) bool {
	w := k.wanted(t)
	if len(k.front) == frontCount {
		if k.wanted(k.front[frontCount-1]) >= w {
			return false
		}
		k.front = k.front[:frontCount-1]
	}
	i := len(k.front)
	for i > 0 && k.wanted(k.front[i-1]) < w {
		i--
	}
	k.front = slices.Insert(k.front, i, t)
	return true
}

// draw picks an item of the shelf by weight; u is in [0, 1).
func (s *shelf) draw(u float64) slot {
	i, _ := slices.BinarySearch(s.below, u*s.total)
	return s.slots[min(i, len(s.slots)-1)]
}
