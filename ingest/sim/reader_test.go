package sim

import (
	"cmp"
	"math"
	"slices"
)

// told is what a reader need not infer.
type told struct{ tastes, weights, next bool }

const (
	weightHalfLife  = 1_200_000 // of a click, in ms, where weights are inferred: items live for an hour
	weightPrior     = 0.3       // clicks that an item has before its first
	weightElsewhere = 0.1       // what a click counts that did not come from a shelf
	nextPrior       = 2         // followers an item has before the first
	nextElsewhere   = 0.05      // what a click counts that did not come from the last item's next
	tastePrior      = 1         // visits that a user has before the first
	tasteMemory     = 0.95      // of one visit in the next
	frontGuess      = 40        // how many items are taken for the front page
)

// good is what a reader knows of an item.
type good struct {
	seen          bool
	slot          slot
	cluster, band int32
	weight        float64           // clicks, those of a half-life later counting twice
	next          map[int64]float64 // by serial
	followed      float64           // sum of next
}

// guest is what a reader knows of a user.
type guest struct {
	visits []int32            // clusters of first clicks
	band   [bandCount]float64 // logarithm of how likely it is the user's

	parts  int
	partAt int64
	then   user           // as the user was when the part began
	was    guestThen      // and what was known
	asked  map[int64]bool // items of the part
}

type guestThen struct {
	visits int
	band   [bandCount]float64
}

// reader learns the shop from its clicks. It looks at the catalogue for what it is told, for where an item stands, and for whether one is alive.
type reader struct {
	k      *catalogue
	start  int64
	goods  []good
	demand []float64 // clicks by cluster
	clicks float64
	guests []guest
	// of the last weigh and distribute
	weights []float64
	likely  []float64
}

func (r *reader) good(serial int64) *good {
	for int64(len(r.goods)) <= serial {
		r.goods = append(r.goods, good{})
	}
	return &r.goods[serial]
}

// weigh sets r.weights, and returns their sums by cluster and band.
func (r *reader) weigh(know told) [][bandCount]float64 {
	r.weights = append(r.weights[:0], make([]float64, len(r.goods))...)
	sums := make([][bandCount]float64, r.k.clusters)
	for i := range r.goods {
		g := &r.goods[i]
		switch it := &r.k.items[g.slot]; {
		case !g.seen || know.weights && it.serial != int64(i):
			continue
		case know.weights:
			r.weights[i] = it.weight
		default:
			r.weights[i] = g.weight
		}
		sums[g.cluster][g.band] += r.weights[i]
	}
	return sums
}

// bands returns how likely each band is the user's.
func (r *reader) bands(u *user, log [bandCount]float64, know told) (p [bandCount]float64) {
	if know.tastes {
		p[u.band] = 1
		return p
	}
	sum, most := 0., slices.Max(log[:])
	for b := range p {
		p[b] = math.Exp(log[b] - most)
		sum += p[b]
	}
	for b := range p {
		p[b] /= sum
	}
	return p
}

// likes returns how likely each cluster is that of a shelf that u goes to.
func (r *reader) likes(u *user, visits []int32, know told) []float64 {
	likes := make([]float64, r.k.clusters)
	switch {
	case u.acts > 0:
		likes[u.intent] = 1
	case know.tastes:
		for i, f := range u.favourites {
			likes[f] = tasteShares[i]
		}
	default:
		for c := range likes {
			likes[c] = tastePrior * (r.demand[c] + 0.1) / (r.clicks + 0.1*float64(len(likes)))
		}
		sum, share := float64(tastePrior), 1.
		for i := len(visits) - 1; i >= 0; i-- {
			likes[visits[i]] += share
			sum += share
			share *= tasteMemory
		}
		for c := range likes {
			likes[c] /= sum
		}
	}
	return likes
}

// front returns the front page and the share of each of its items.
func (r *reader) front(sums [][bandCount]float64, know told) (serials []int64, shares []float64) {
	if know.weights {
		for _, s := range r.k.front {
			serials = append(serials, r.k.items[s].serial)
		}
		return serials, r.k.frontMass
	}
	sum := 0.
	for i := range r.goods {
		g := &r.goods[i]
		if !g.seen {
			continue
		}
		of := sums[g.cluster]
		wanted := r.demand[g.cluster] * r.weights[i] / (of[0] + of[1] + of[2])
		if full := len(shares) == frontGuess; full && wanted <= shares[frontGuess-1] || wanted == 0 {
			continue
		} else if full {
			sum -= shares[frontGuess-1]
			serials, shares = serials[:frontGuess-1], shares[:frontGuess-1]
		}
		at, _ := slices.BinarySearchFunc(shares, wanted, func(a, b float64) int { return cmp.Compare(b, a) })
		serials, shares = slices.Insert(serials, at, int64(i)), slices.Insert(shares, at, wanted)
		sum += wanted
	}
	for i := range shares {
		shares[i] /= sum
	}
	return serials, shares
}

// distribute sets r.likely to the distribution of the next item of u over those that were clicked before. It returns what of the probability of the item of serial comes from the
// shelves and from what is next to the last item.
func (r *reader) distribute(u *user, known guestThen, visits []int32, know told, serial int64) (fromShelf, fromNext float64) {
	sums := r.weigh(know)
	likes, bands := r.likes(u, visits[:known.visits], know), r.bands(u, known.band, know)
	r.likely = append(r.likely[:0], make([]float64, len(r.goods))...)
	add := func(serial int64, mass float64) {
		if serial < int64(len(r.likely)) {
			r.likely[serial] += mass
		}
	}
	shelf, next, front, again, anywhere := laterShelf, laterNext, laterFront, laterReturn, laterAny
	if u.acts == 0 {
		shelf, next, front, again, anywhere = firstShelf, 0, firstFront, firstReturn, firstAny
	}
	stay, last := u.stay(r.k)
	move := 1 - stay
	if stay > 0 {
		add(r.k.items[last].serial, stay)
	}
	switch {
	case u.acts == 0 || !r.k.alive(u.recent[0]):
		shelf += next
	case know.next:
		for i, of := range r.k.items[u.recent[0].slot].nextRefs {
			add(of.serial, move*next*nextShares[i])
			if of.serial == serial {
				fromNext += move * next * nextShares[i]
			}
		}
	default:
		g := r.good(u.recent[0].serial)
		for of, n := range g.next {
			add(of, move*next*n/(g.followed+nextPrior))
		}
		fromNext = move * next * g.next[serial] / (g.followed + nextPrior)
		shelf += next * nextPrior / (g.followed + nextPrior)
	}
	sum := 0.
	for i, of := range u.earlier() {
		if r.k.alive(of) {
			sum += returnShares[i]
		}
	}
	for i, of := range u.earlier() {
		if r.k.alive(of) {
			add(of.serial, move*again*returnShares[i]/sum)
		}
	}
	if sum == 0 {
		shelf += again
	}
	serials, shares := r.front(sums, know)
	for i, of := range serials {
		add(of, move*front*shares[i])
	}
	unit := make([][bandCount]float64, len(sums)) // mass for a weight of 1
	for c, of := range sums {
		for own := range bands {
			if all := of[0] + of[1] + of[2] + (affinity-1)*of[own]; all > 0 {
				for b := range unit[c] {
					unit[c][b] += move * shelf * likes[c] * bands[own] / all
				}
				unit[c][own] += (affinity - 1) * move * shelf * likes[c] * bands[own] / all
			}
		}
	}
	each := move * anywhere / float64(len(r.k.items))
	for i := range r.goods {
		if g := &r.goods[i]; g.seen {
			r.likely[i] += each + unit[g.cluster][g.band]*r.weights[i]
		} else {
			r.likely[i] = 0
		}
	}
	if g := r.good(serial); g.seen {
		fromShelf = unit[g.cluster][g.band] * r.weights[serial]
		return fromShelf / r.likely[serial], fromNext / r.likely[serial]
	}
	return 0, 0
}

// learn takes a click of u, who was as before.
func (r *reader) learn(guest *guest, before *user, of ref, at int64) {
	g, it := r.good(of.serial), &r.k.items[of.slot]
	scale := math.Exp2(float64(at-r.start) / weightHalfLife)
	if !g.seen {
		*g = good{seen: true, slot: of.slot, cluster: it.cluster, band: it.band, weight: weightPrior * scale, next: map[int64]float64{}}
	}
	fromShelf, fromNext := r.distribute(before, guestThen{len(guest.visits), guest.band}, guest.visits, told{}, of.serial)
	all := 0.
	var sums [bandCount]float64
	for i, w := range r.weights { // as distribute has set them
		if of := &r.goods[i]; of.seen && of.cluster == g.cluster {
			sums[of.band] += w
			all += w
		}
	}
	for own := range guest.band {
		more := 1.
		if int(g.band) == own {
			more = affinity
		}
		guest.band[own] += fromShelf * math.Log(more*all/(all+(affinity-1)*sums[own]))
	}
	g.weight += (fromShelf + weightElsewhere) * scale
	r.demand[g.cluster]++
	r.clicks++
	if before.acts == 0 {
		guest.visits = append(guest.visits, g.cluster)
	} else if last := r.good(before.recent[0].serial); last.seen {
		n := fromNext + nextElsewhere*(1-fromNext)
		last.next[of.serial] += n
		last.followed += n
	}
}
