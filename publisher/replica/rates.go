package replica

import (
	"net"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxCallers bounds how many callers are told apart. Who was longest silent is forgotten, and begins again with a whole second's worth.
const maxCallers = 4096

// rates holds callers to their share of requests, and all of them to the replica's.
type rates struct {
	all *rate.Limiter // nil = no limit

	each    rate.Limit // of one caller; 0 = no limit
	mu      sync.Mutex
	callers *lru.LRU[string, *rate.Limiter]
}

func newRates(all, each float64) *rates {
	r := &rates{each: rate.Limit(each)}
	if all > 0 {
		r.all = limiter(rate.Limit(all))
	}
	if each > 0 {
		r.callers, _ = lru.NewLRU[string, *rate.Limiter](maxCallers, nil) // it fails without a size
	}
	return r
}

// limiter lets a second's worth through at once.
func limiter(per rate.Limit) *rate.Limiter { return rate.NewLimiter(per, max(1, int(per))) }

// allow counts a request of a caller. Where it is too many it says why, and when the next one is due. A caller over its own share takes nothing from the others'.
func (r *rates) allow(caller string, now time.Time) (reason shedReason, retry time.Duration) {
	if r.each > 0 {
		if wait := due(r.of(caller), now); wait > 0 {
			return shedCaller, wait
		}
	}
	if r.all != nil {
		if wait := due(r.all, now); wait > 0 {
			return shedRate, wait
		}
	}
	return "", 0
}

func (r *rates) of(caller string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, known := r.callers.Get(caller)
	if !known {
		l = limiter(r.each)
		r.callers.Add(caller, l)
	}
	return l
}

// due takes one of l's tokens, or returns when there will be one.
func due(l *rate.Limiter, now time.Time) time.Duration {
	next := l.ReserveN(now, 1)
	wait := next.DelayFrom(now)
	if wait > 0 {
		next.CancelAt(now)
	}
	return wait
}

// callerAddress names the caller of a connection without a token: its IPv4 address, or its /64 of IPv6, which one caller has all to itself. Headers of proxies are
// not believed, since callers can write them too: behind a proxy, tell callers apart by tokens.
func callerAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if address = address.Unmap().WithZone(""); address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}
