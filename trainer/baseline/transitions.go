package baseline

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/model"
)

// Steps is how many clicks back transitions are counted and looked up; a click d steps back counts 1/d.
const Steps = 5

// maxSuccessors bounds the successors kept of one item; the lightest makes room.
const maxSuccessors = 256

// probation is how many additions to a full list a newcomer is safe for. Without it the lightest successor, which is the last newcomer as a rule, would make
// room for the next one, and nothing new could ever gain a place among heavy old ones.
const probation = 64

// list are the successors of an item, by rising row, and how much each was counted.
type list struct {
	rows    []model.Row
	weights []float32
}

// transitions says how often which item was followed by which. Every list is bounded by maxSuccessors: 3 KB an item.
type transitions struct{ chunked[list] }

// counter is transitions that are being counted.
type counter struct {
	*transitions
	recency chunked[recency]
	changed *changes
}

// recency says of the successors of a list when they were last counted, in additions to the list; and what of the list is to be published.
type recency struct {
	last []uint32
	now  uint32

	published uint32      // now, when the list was published last
	gone      []model.Row // successors that were removed since, maxGone at most
	anew      bool        // there were more, or the list began anew: all of it is to be published
}

// maxGone bounds what is kept for the next publication, which may never come.
const maxGone = 64

func (when *recency) lose(to model.Row) {
	if when.anew = when.anew || len(when.gone) == maxGone; when.anew {
		when.gone = nil
	} else {
		when.gone = append(when.gone, to)
	}
}

// add counts weight from an item to another.
func (c *counter) add(from, to model.Row, weight float32) {
	c.grow(int(from))
	c.recency.grow(int(from))
	c.changed.add(int(from))
	l, when := c.at(int(from)), c.recency.at(int(from))
	when.now++
	at, found := slices.BinarySearch(l.rows, to)
	if found {
		l.weights[at] += weight
		when.last[at] = when.now
		return
	}
	if len(l.rows) == maxSuccessors {
		out := lightest(l, when)
		when.lose(l.rows[out])
		l.remove(out)
		when.last = slices.Delete(when.last, out, out+1)
		if out < at {
			at--
		}
	}
	l.rows, l.weights, when.last = slices.Insert(l.rows, at, to), slices.Insert(l.weights, at, weight), slices.Insert(when.last, at, when.now)
}

// lightest returns the place of the lightest successor that is not on probation; of equal ones, of the one that was counted longest ago. There is one: a full list is
// longer than probation.
func lightest(l *list, when *recency) int {
	out, since := -1, uint32(0)
	for i, w := range l.weights {
		age := when.now - when.last[i] // holds when now runs over
		if age > probation && (out < 0 || w < l.weights[out] || w == l.weights[out] && age > since) {
			out, since = i, age
		}
	}
	return out
}

func (l *list) remove(i int) {
	l.rows, l.weights = slices.Delete(l.rows, i, i+1), slices.Delete(l.weights, i, i+1)
}

// forget removes rows as predecessors and as successors. gone is by row.
func (c *counter) forget(gone []bool) {
	for from := range c.n {
		l, when := c.at(from), c.recency.at(from)
		if from < len(gone) && gone[from] {
			if len(l.rows) > 0 {
				c.changed.add(from)
			}
			*l, *when = list{}, recency{anew: true}
			continue
		}
		kept := 0
		for i, to := range l.rows {
			if int(to) < len(gone) && gone[to] {
				when.lose(to)
				continue
			}
			l.rows[kept], l.weights[kept], when.last[kept] = to, l.weights[i], when.last[i]
			kept++
		}
		if kept < len(l.rows) {
			c.changed.add(from)
			l.rows, l.weights, when.last = l.rows[:kept], l.weights[:kept], when.last[:kept]
		}
	}
}

// pairs are lists one behind the other, in one piece of memory: training waits until they are copied.
type pairs struct {
	successors []int32
	weights    []float32
	ends       []int
}

func (p *pairs) add(to model.Row, weight float32) {
	p.successors, p.weights = append(p.successors, int32(to)), append(p.weights, weight)
}

// lists cuts them apart.
func (p *pairs) lists() (successors [][]int32, weights [][]float32) {
	successors, weights = make([][]int32, len(p.ends)), make([][]float32, len(p.ends))
	from := 0
	for i, to := range p.ends {
		successors[i], weights[i], from = p.successors[from:to:to], p.weights[from:to:to], to
	}
	return successors, weights
}

// news appends what is to be published of a list: all of it, or the successors that were counted since it was published last, and with weight 0 those that are gone.
func (c *counter) news(dst *pairs, from int, all bool) (whole bool) {
	own, when := c.at(from), c.recency.at(from)
	whole = all || when.anew
	slices.Sort(when.gone)
	gone := slices.Compact(when.gone)
	if whole {
		gone = nil
	}
	for i, to := range own.rows {
		for ; len(gone) > 0 && gone[0] <= to; gone = gone[1:] {
			if gone[0] < to { // else it is back
				dst.add(gone[0], 0)
			}
		}
		if whole || when.now-when.last[i] < when.now-when.published { // holds when now runs over
			dst.add(to, own.weights[i])
		}
	}
	for _, to := range gone {
		dst.add(to, 0)
	}
	dst.ends = append(dst.ends, len(dst.successors))
	when.published, when.gone, when.anew = when.now, nil, false
	return whole
}

// changed returns l with the successors of news in it: l stays as it is.
func (l list) changed(news list) (next list) {
	next.rows, next.weights = make([]model.Row, 0, len(l.rows)+len(news.rows)), make([]float32, 0, len(l.rows)+len(news.rows))
	add := func(to model.Row, weight float32) {
		if weight > 0 {
			next.rows, next.weights = append(next.rows, to), append(next.weights, weight)
		}
	}
	at := 0
	for i, to := range news.rows {
		for ; at < len(l.rows) && l.rows[at] < to; at++ {
			add(l.rows[at], l.weights[at])
		}
		if at < len(l.rows) && l.rows[at] == to {
			at++
		}
		add(to, news.weights[i])
	}
	for ; at < len(l.rows); at++ {
		add(l.rows[at], l.weights[at])
	}
	return next
}

// summed is an item with what was counted into it: from several clicks, and from the last alone.
type summed struct {
	row       model.Row
	all, last float32
}

// sum adds up the successors of the last Steps of clicks, oldest first; those of a click d steps back count 1/d. The result rises by row.
func (t *transitions) sum(dst []summed, clicks []model.Row) []summed {
	var lists [Steps]list
	n := min(Steps, len(clicks))
	for d := range n {
		lists[d] = t.get(int(clicks[len(clicks)-1-d]))
	}
	var at [Steps]int
	for {
		least, found := model.Row(0), false
		for d := range n {
			if i := at[d]; i < len(lists[d].rows) && (!found || lists[d].rows[i] < least) {
				least, found = lists[d].rows[i], true
			}
		}
		if !found {
			return dst
		}
		s := summed{row: least}
		for d := range n {
			if i := at[d]; i < len(lists[d].rows) && lists[d].rows[i] == least {
				s.all += lists[d].weights[i] / float32(d+1)
				if d == 0 {
					s.last = lists[d].weights[i]
				}
				at[d]++
			}
		}
		dst = append(dst, s)
	}
}
