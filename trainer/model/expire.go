package model

import (
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Of the budget a sweep makes a sixteenth free when less than half of that is: a look at all rows pays for many that are given up, and a batch finds room for
// the items that are new in it. Half of a sixteenth of the default is 32,768 of them.
const sweepShare = 16

// expirePeriods is how often rows are looked through within Config.ExpireAfter.
const expirePeriods = 16

// Sweep gives up the rows of items that were not clicked for Config.ExpireAfter, and, where Config.MaxItems leaves little room, of those that were not clicked for
// the longest. It returns their rows, rising, until the next Sweep: what keeps numbers by row must forget them, because Admit gives them to other items. now is a moment of the stream, not of the clock: what is given up depends on the clicks alone (I4).
//
// It is called between batches: rows that an Example names stay what they are until then, and what Forward has computed is void after it.
//
// A row knows the time of its last click, and a sweep looks at all of them. A list in the order of the clicks would find the oldest at once, but costs five
// scattered writes a click where this is one, and expiry needs the times anyway; the look costs some nanoseconds for each row that is given up.
func (m *Model) Sweep(now schema.EventTime) []Row {
	m.lives.given, m.lives.freed = m.lives.given[:0], m.lives.freed[:0]
	if after := schema.EventTime(m.cfg.ExpireAfter.Milliseconds()); after > 0 && now > schema.BeginningOfTime+after {
		switch period := max(1, after/expirePeriods); {
		case m.lives.swept == schema.BeginningOfTime:
			m.lives.swept = now
		case now-m.lives.swept >= period:
			m.lives.swept = now
			m.giveUpUntil(now-after, m.Live())
		}
	}
	if budget := m.cfg.MaxItems; budget > 0 {
		reserve := max(1, budget/sweepShare)
		live := m.Live() - len(m.lives.freed)
		if live > budget-max(1, reserve/2) {
			over := live - (budget - reserve)
			m.giveUpUntil(m.nthClick(over), over)
		}
	}
	freed := m.lives.freed
	if len(freed) > 0 {
		slices.Sort(freed)
		m.forgetTargets()
		m.plasticity.forget(m.cfg.Dim, func(r Row) bool { return m.ids[r] == "" })
		m.lives.free = append(m.lives.free, freed...)
		slices.SortFunc(m.lives.free, func(a, b Row) int { return int(b - a) })
		m.batch = nil
	}
	return freed
}

// giveUpUntil gives up the rows whose last click was before t, then those of t itself, in their order, up to a number.
func (m *Model) giveUpUntil(t schema.EventTime, most int) {
	for _, same := range [2]bool{false, true} {
		for r := Row(0); int(r) < m.items.n && most > 0; r++ {
			if at := m.lives.lastClick[r]; m.ids[r] != "" && (at < t || same && at == t) {
				m.giveUp(r)
				most--
			}
		}
	}
}

// nthClick returns the time of the n-th oldest of the last clicks on items that have a row, counted from 1.
func (m *Model) nthClick(n int) schema.EventTime {
	times := make([]schema.EventTime, 0, m.Live())
	for r, at := range m.lives.lastClick {
		if m.ids[r] != "" {
			times = append(times, at)
		}
	}
	for n--; len(times) > 1; { // Hoare's selection
		a, b, c := times[0], times[len(times)/2], times[len(times)-1]
		pivot := max(min(a, b), min(max(a, b), c))
		below, above := 0, len(times)
		for i := 0; i < above; {
			switch t := times[i]; {
			case t < pivot:
				times[i], times[below] = times[below], t
				below++
				i++
			case t > pivot:
				above--
				times[i], times[above] = times[above], t
			default:
				i++
			}
		}
		switch {
		case n < below:
			times = times[:below]
		case n < above:
			return pivot
		default:
			times, n = times[above:], n-above
		}
	}
	return times[0]
}

// forgetTargets takes the rows that have no item out of the ring.
func (m *Model) forgetTargets() {
	kept := make([]Row, 0, cap(m.ring))
	for i := range m.ring {
		if r := m.recent(i); m.ids[r] != "" {
			kept = append(kept, r)
		} else {
			m.frequency[r]--
		}
	}
	m.ring, m.ringNext = kept, 0
}
