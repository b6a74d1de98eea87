package replay

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// Periods is sessions by the period they are in, in the order of the periods; within one by the time of their first event. Items have rows in the order
// of that, so that what is known at the end of a period is a beginning of the rows.
type Periods struct {
	Names   []string // of the items, by row
	Labels  []int    // of the periods, as the file numbers them, rising
	LeftOut int      // sessions of one event, which ask for nothing and teach nothing

	rows  []int32
	at    []schema.EventTime
	start []int // of each session in rows, and the end
	first []int // session of each period, and the end
	known []int // how many items have a row at the end of each period
}

// Sessions returns how many sessions there are.
func (p *Periods) Sessions() int { return len(p.start) - 1 }

// Items returns how many items there are.
func (p *Periods) Items() int { return len(p.Names) }

// Events returns how many events there are.
func (p *Periods) Events() int { return len(p.rows) }

// Cycles returns how often a model is brought up to date and tested: once for each period but the last.
func (p *Periods) Cycles() int { return len(p.Labels) - 1 }

// requested is how many items are read where each event of some sessions but the first is asked for given those before it, length of them at most.
func (p *Periods) requested(from, to, length int) (n int64) {
	for s := from; s < to; s++ {
		for i := 1; i < p.start[s+1]-p.start[s]; i++ {
			n += int64(min(i, length))
		}
	}
	return n
}

// of returns the items of a session, oldest first, and their times.
func (p *Periods) of(session int) ([]int32, []schema.EventTime) {
	from, to := p.start[session], p.start[session+1]
	return p.rows[from:to], p.at[from:to]
}

// PeriodBuilder collects events into Periods. The zero PeriodBuilder is ready.
type PeriodBuilder struct {
	sessions map[inPeriod]int32
	items    map[string]int32
	names    []string
	keys     []inPeriod // of each session
	session  []int32    // of each event
	row      []int32
	at       []schema.EventTime
}

// inPeriod is a session: one that goes on over the end of a period is two, or a model would be asked for what it was trained on.
type inPeriod struct {
	name   string
	period int
}

// AddAt adds an event. A session's events of one time stay in the order of the calls.
func (b *PeriodBuilder) AddAt(session, item string, period int, at schema.EventTime) {
	if b.items == nil {
		b.sessions, b.items = map[inPeriod]int32{}, map[string]int32{}
	}
	s, ok := b.sessions[inPeriod{session, period}]
	if !ok {
		s = int32(len(b.keys))
		key := inPeriod{strings.Clone(session), period}
		b.sessions[key] = s
		b.keys = append(b.keys, key)
	}
	r, ok := b.items[item]
	if !ok {
		r = int32(len(b.names))
		name := strings.Clone(item)
		b.items[name] = r
		b.names = append(b.names, name)
	}
	b.session, b.row, b.at = append(b.session, s), append(b.row, r), append(b.at, at)
}

// Finish returns what was collected. The PeriodBuilder is empty afterwards.
func (b *PeriodBuilder) Finish() (*Periods, error) {
	defer func() { *b = PeriodBuilder{} }()
	if len(b.row) == 0 {
		return nil, errors.New("there is no event in it: give a file with some")
	}
	if len(b.row) > math.MaxInt32 {
		return nil, fmt.Errorf("%d events are more than the %d that fit: give a part of the file", len(b.row), math.MaxInt32)
	}
	events := make([]int32, len(b.row))
	for i := range events {
		events[i] = int32(i)
	}
	slices.SortStableFunc(events, func(i, j int32) int {
		return cmp.Or(cmp.Compare(b.session[i], b.session[j]), cmp.Compare(b.at[i], b.at[j]))
	})
	type span struct {
		key      int32
		from, to int
	}
	var sessions []span
	for from := 0; from < len(events); {
		to := from + 1
		for to < len(events) && b.session[events[to]] == b.session[events[from]] {
			to++
		}
		sessions = append(sessions, span{b.session[events[from]], from, to})
		from = to
	}
	slices.SortFunc(sessions, func(x, y span) int {
		return cmp.Or(cmp.Compare(b.keys[x.key].period, b.keys[y.key].period), cmp.Compare(b.at[events[x.from]], b.at[events[y.from]]), cmp.Compare(x.key, y.key))
	})
	p := &Periods{start: []int{0}}
	rowOf := make([]int32, len(b.names))
	for i := range rowOf {
		rowOf[i] = -1
	}
	for _, s := range sessions {
		if period := b.keys[s.key].period; len(p.Labels) == 0 || p.Labels[len(p.Labels)-1] != period {
			p.close()
			p.Labels, p.first = append(p.Labels, period), append(p.first, p.Sessions())
		}
		if s.to-s.from < 2 {
			p.LeftOut++
			continue
		}
		for _, e := range events[s.from:s.to] {
			r := b.row[e]
			if rowOf[r] < 0 {
				rowOf[r] = int32(len(p.Names))
				p.Names = append(p.Names, b.names[r])
			}
			p.rows, p.at = append(p.rows, rowOf[r]), append(p.at, b.at[e])
		}
		p.start = append(p.start, len(p.rows))
	}
	p.close()
	p.first = append(p.first, p.Sessions())
	if len(p.Labels) < 2 {
		return nil, fmt.Errorf("all of it is in period %d: a model is trained up to one period and tested on the next, so it takes two", p.Labels[0])
	}
	for i, label := range p.Labels {
		if p.first[i] == p.first[i+1] {
			return nil, fmt.Errorf("period %d has no session of two events or more: nothing can be asked there, join it with its neighbour", label)
		}
	}
	return p, nil
}

// close ends the period that was being filled.
func (p *Periods) close() {
	if len(p.Labels) > 0 {
		p.known = append(p.known, len(p.Names))
	}
}
