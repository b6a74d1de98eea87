package replica

import (
	"container/list"
	"slices"
	"strings"
	"sync"

	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus"
)

// LiveClicks are what users did a moment ago: clicks that are durable at their node and in no part yet, because parts wait for the watermark. With them a click
// counts in the user's next answer, and not some fifteen seconds later. They are best effort: a click that is missed comes with its part.
//
// They take a bounded amount of memory: of a user the newest are kept, and whose last click is the oldest makes room. A nil *LiveClicks has none. Its methods may be
// called from several goroutines.
type LiveClicks struct {
	most int64 // bytes

	mu    sync.Mutex // guards what follows
	users map[string]*liveUser
	order list.List         // of *liveUser, who clicked last in front
	names map[string]string // the actions and scenes that came, each held once
	held  int               // clicks
	bytes int64

	heard, overtaken, evicted uint64 // clicks: ever, that made room for newer ones of their user, and for those of others
}

// liveUser is a user who clicked, with the newest clicks in the order in which they came.
type liveUser struct {
	name   string
	clicks []liveClick
	place  *list.Element
}

// liveClick is what is kept of a click: what answers read.
type liveClick struct {
	item, scene string
	action      schema.Action
	at          schema.EventTime
}

// key is what tells two clicks of a user apart.
func (c liveClick) key() liveClick {
	c.scene = ""
	return c
}

const (
	// liveClicksOfUser is how many of a user are kept: as many as windows let gather before they make a part of them.
	liveClicksOfUser = 50
	// liveTexts bounds the actions and scenes that are held once each; further ones are held with each click.
	liveTexts = 1024

	liveUserBytes  = 300 // of a user beside the clicks: the places in the map and the list, and what allocations round up
	liveClickBytes = 96  // of a click beside its item
)

// NewLiveClicks returns live clicks that take about as many bytes at most.
func NewLiveClicks(most int64) *LiveClicks {
	return &LiveClicks{most: most, users: map[string]*liveUser{}, names: map[string]string{}}
}

// Add adds a click. It keeps nothing of c, whose texts may be used again.
func (l *LiveClicks) Add(c *schema.Click) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard++
	u := l.users[c.UserID]
	if u == nil {
		u = &liveUser{name: strings.Clone(c.UserID)}
		u.place = l.order.PushFront(u)
		l.users[u.name] = u
		l.bytes += userBytes(u)
	} else {
		l.order.MoveToFront(u.place)
	}
	added := liveClick{item: strings.Clone(c.ItemID), scene: l.name(c.Scene), action: schema.Action(l.name(string(c.Action))), at: c.EventTime}
	if len(u.clicks) == liveClicksOfUser {
		l.account(u.clicks[0], -1)
		l.overtaken++
		copy(u.clicks, u.clicks[1:])
		u.clicks[len(u.clicks)-1] = added
	} else {
		u.clicks = append(u.clicks, added)
	}
	l.account(added, 1)
	for l.bytes > l.most && l.order.Len() > 0 {
		last := l.order.Back().Value.(*liveUser)
		l.evicted += uint64(len(last.clicks))
		l.remove(last)
	}
}

// name returns s in memory of its own.
func (l *LiveClicks) name(s string) string {
	if known, ok := l.names[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(l.names) < liveTexts {
		l.names[s] = s
	}
	return s
}

func userBytes(u *liveUser) int64 { return int64(liveUserBytes + len(u.name)) }

// account counts a click that came (n = 1) or went (-1).
func (l *LiveClicks) account(c liveClick, n int) {
	l.held += n
	l.bytes += int64(n * (liveClickBytes + len(c.item)))
}

func (l *LiveClicks) remove(u *liveUser) {
	for _, c := range u.clicks {
		l.account(c, -1)
	}
	l.order.Remove(u.place)
	delete(l.users, u.name)
	l.bytes -= userBytes(u)
}

// of returns the clicks of a user in the order in which they came. The slice is the caller's.
func (l *LiveClicks) of(user string) []liveClick {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.users[user]; u != nil {
		return slices.Clone(u.clicks)
	}
	return nil
}

// drop takes out those clicks of a user that are not wanted any more.
func (l *LiveClicks) drop(user string, unwanted func(liveClick) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.users[user]
	if u == nil {
		return
	}
	kept := u.clicks[:0]
	for _, c := range u.clicks {
		if unwanted(c) {
			l.account(c, -1)
		} else {
			kept = append(kept, c)
		}
	}
	clear(u.clicks[len(kept):])
	if u.clicks = kept; len(kept) == 0 {
		l.remove(u)
	}
}

var (
	liveHeard   = prometheus.NewDesc("freshet_live_clicks_total", "Clicks that came before their part.", nil, nil)
	liveDropped = prometheus.NewDesc("freshet_live_clicks_dropped_total", "Clicks that came before their part and made room before they were seen in it, by reason: for newer clicks of their user, or for other users.", []string{"reason"}, nil)
	liveHeld    = prometheus.NewDesc("freshet_live_clicks_held", "Clicks that came before their part and are held until it has come.", nil, nil)
	liveUsers   = prometheus.NewDesc("freshet_live_users", "Users of whom clicks are held that came before their part.", nil, nil)
	liveBytes   = prometheus.NewDesc("freshet_live_bytes", "Memory of the clicks that came before their part, about.", nil, nil)
)

// Describe sends what Collect sends.
func (l *LiveClicks) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{liveHeard, liveDropped, liveHeld, liveUsers, liveBytes} {
		out <- d
	}
}

// Collect sends the figures of now.
func (l *LiveClicks) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(liveHeard, l.heard)
	counter(liveDropped, l.overtaken, "user")
	counter(liveDropped, l.evicted, "room")
	out <- prometheus.MustNewConstMetric(liveHeld, prometheus.GaugeValue, float64(l.held))
	out <- prometheus.MustNewConstMetric(liveUsers, prometheus.GaugeValue, float64(len(l.users)))
	out <- prometheus.MustNewConstMetric(liveBytes, prometheus.GaugeValue, float64(l.bytes))
}
