package sim

import (
	"math"
	"math/rand/v2"
	"slices"
)

// recentMax is how many different items a user may return to. It bounds a user's memory.
const recentMax = 8

// user is one of the shop's users: a taste, and where the user is in the present session.
type user struct {
	id         int32
	favourites [favouriteCount]int32 // clusters, the dearest first, all different
	band       int32                 // the price band the user likes

	session int64 // serial; 0 is none
	begun   bool
	acts    int   // clicks, carts and purchases of the session so far
	intent  int32 // the cluster of the session's first click; holds once acts > 0
	did     did   // the last of acts
	recent  [recentMax]ref
	recents int // how many of recent are set; the latest first

	page     bool  // what the user waits for is a page, not a click
	clicksAt int64 // when the click after the page comes

	deliveredMax int64   // the latest event time of a clean record of the user that has left the shop
	held         *parcel // waits until it is late for certain
}

// did is what a user did last.
type did uint8

const (
	didClick did = iota
	didCart
	didPurchase
)

// earlier returns the items that the user may return to.
func (u *user) earlier() []ref {
	if u.acts == 0 {
		return u.recent[:u.recents]
	}
	return u.recent[1:u.recents]
}

// stay returns the chance that the user takes the last item a step further, and that item.
func (u *user) stay(k *catalogue) (chance float64, last slot) {
	if u.acts == 0 || !k.alive(u.recent[0]) {
		return 0, 0
	}
	last = u.recent[0].slot
	switch {
	case u.did == didCart:
		return purchaseAfterCart, last
	case u.did == didPurchase:
		return 0, last
	case k.items[last].cluster == u.intent:
		return cartWithIntent, last
	}
	return cartWithout, last
}

// remember makes r the latest of the user's recent items.
func (u *user) remember(r ref) {
	at := slices.Index(u.recent[:u.recents], r)
	if at < 0 {
		u.recents = min(u.recents+1, recentMax)
		at = u.recents - 1
	}
	copy(u.recent[1:at+1], u.recent[:at])
	u.recent[0] = r
}

// crowd is everybody who comes to the shop.
type crowd struct {
	rng    *rand.Rand
	demand []float64
	users  []user

	drift, jump float64
	leaves      float64 // the chance that a session ends after a click
	thinkMillis float64
	idleMillis  float64
}

func newCrowd(c Config, rng *rand.Rand, demand []float64) *crowd {
	w := &crowd{
		rng:    rng,
		demand: demand,
		users:  make([]user, c.Users),
		drift:  c.TasteDrift, jump: c.TasteJump,
		leaves:      1 / c.SessionClicks,
		thinkMillis: float64(c.Think.Milliseconds()),
		idleMillis:  c.cycleMillis() - c.sessionMillis(),
	}
	for i := range w.users {
		u := &w.users[i]
		u.id = int32(i)
		u.band = rng.Int32N(bandCount)
		u.favourites = w.favourites()
	}
	return w
}

// favourites draws different clusters by demand.
func (w *crowd) favourites() (f [favouriteCount]int32) {
	for i := range f {
		f[i] = w.favouriteNot(f[:i])
	}
	return f
}

func (w *crowd) favouriteNot(taken []int32) int32 {
	for {
		u, cluster := w.rng.Float64(), int32(0)
		for int(cluster) < len(w.demand)-1 && u >= w.demand[cluster] {
			u -= w.demand[cluster]
			cluster++
		}
		if !slices.Contains(taken, cluster) {
			return cluster
		}
	}
}

// shift lets the taste of u move before a session: mostly not at all, sometimes one favourite, seldom all of them. It reports whether it did.
func (w *crowd) shift(u *user) bool {
	switch x := w.rng.Float64(); {
	case x < w.jump:
		u.favourites = w.favourites()
		return true
	case x < w.jump+w.drift:
		i := w.rng.IntN(favouriteCount)
		u.favourites[i] = w.favouriteNot(u.favourites[:])
		j := w.rng.IntN(favouriteCount)
		u.favourites[i], u.favourites[j] = u.favourites[j], u.favourites[i]
		return true
	}
	return false
}

// think draws the time to the next click of a session.
func (w *crowd) think() int64 {
	return max(1, int64(w.thinkMillis*math.Exp(thinkSigma*w.rng.NormFloat64())))
}

// idle draws the time to the next session.
func (w *crowd) idle() int64 { return max(1, int64(w.idleMillis*w.rng.ExpFloat64())) }
