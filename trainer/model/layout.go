package model

import (
	"github.com/freshet-ml/freshet/schema"
)

// layout is a group of sequences as tokens, one behind the other, without padding. A context token has item -1. Under Config.Tokens session
//
//	[c1, items of session 1, c2, items of session 2, ..., c of the request]   [c1, ...]   ...
//
// and each context token asks for what its session will be. Under item there are the items alone, and each asks for the next.
type layout struct {
	item     []int32 // place in gather, -1 for a context token
	action   []uint8 // of item tokens
	scene    []uint16
	hour     []uint8
	gap      []uint8
	user     []int32
	position []int32 // what the rotary positions see: the session, counted from the oldest kept, or the token
	sees     []int32 // tokens of its sequence before which a token sees everything; and itself
	at       []int32 // place in the sequence

	start  []int32 // of each sequence, and the end
	asked  []int32 // tokens that ask, rising
	asks   []int32 // where a sequence's asked tokens start, and the end
	bucket []uint8 // time buckets, T·T a sequence
	pairs  []int32 // where a sequence's buckets start
	past   []bool  // whether the sequence has a past
	since  []uint8 // gap bucket of each sequence's request: the time since its newest kept session
	work   float64 // pairs of tokens that see each other

	queries []query
	request []int32 // of each sequence: the query of its request, -1 where there is no token to ask
	targets []Row   // of all queries, with their actions
	actions []uint8

	keep  []kept             // scratch of add
	times []schema.EventTime // scratch: of each token of the sequence, as a key
	asker []schema.EventTime // scratch: as a query
}

// query is a question to one asked token: the items of the session that comes, or of one further ahead.
type query struct {
	ask      int32 // place in asked
	ahead    int32 // 0 for the session that comes
	example  int32 // of the batch
	session  int32 // place of the session it asks for in the example's past; -1 for the request
	scene    uint16
	from, to int32 // its targets in layout.targets; of session, all of them in layout
	history  bool  // whether the token has seen anything
	gap      uint8 // of a request, as in since
}

// live says whether the query is the request itself, whose terms are known.
func (q *query) live() bool { return q.session < 0 && q.ahead == 0 }

func (l *layout) reset() {
	l.item, l.action, l.scene, l.hour, l.gap, l.user = l.item[:0], l.action[:0], l.scene[:0], l.hour[:0], l.gap[:0], l.user[:0]
	l.position, l.sees, l.at = l.position[:0], l.sees[:0], l.at[:0]
	l.start, l.asked, l.asks = append(l.start[:0], 0), l.asked[:0], append(l.asks[:0], 0)
	l.bucket, l.pairs, l.past, l.work = l.bucket[:0], l.pairs[:0], l.past[:0], 0
	l.since = l.since[:0]
	l.queries, l.request, l.targets, l.actions = l.queries[:0], l.request[:0], l.targets[:0], l.actions[:0]
}

func (l *layout) sequences() int { return len(l.past) }
func (l *layout) tokens() int    { return len(l.item) }

// kept is a session that fits: its place in the past, and its events from the first that fits.
type kept struct{ place, first int }

// choose keeps the newest sessions, at most MaxSessions and within MaxTokens; of the last one that fits in part, the latest items. Newest first.
func (l *layout) choose(c *Config, past []Session) []kept {
	l.keep = l.keep[:0]
	head := 1 // tokens that a session has besides its items
	if c.Tokens == item {
		head = 0
	}
	room := c.MaxTokens - head
	for i := len(past) - 1; i >= 0 && len(l.keep) < c.MaxSessions && room > head; i-- {
		n := len(past[i].Events)
		if n == 0 {
			continue
		}
		first := max(0, n-(room-head))
		l.keep = append(l.keep, kept{i, first})
		room -= head + n - first
	}
	return l.keep
}

// sinceNewest is the gap bucket of a request.
func sinceNewest(keep []kept, past []Session, at schema.EventTime) uint8 {
	if len(keep) == 0 {
		return gapNone
	}
	return gapBucket(past[keep[0].place].At, at)
}

// add appends the sequence of one example. number is its place in the batch; rows gives items their places in gather.
func (l *layout) add(c *Config, e *Example, number int, place func(Row) int32) {
	keep := l.choose(c, e.Past)
	first := l.tokens()
	l.times, l.asker = l.times[:0], l.asker[:0]
	if c.Tokens == item {
		l.addItems(c, e, keep, first, number, place)
	} else {
		l.addSessions(c, e, keep, first, number, place)
	}
	for i := first; i < l.tokens(); i++ {
		l.work += float64(l.sees[i] + 1)
	}
	l.start = append(l.start, int32(l.tokens()))
	l.asks = append(l.asks, int32(len(l.asked)))
	l.past = append(l.past, len(keep) > 0)
	l.since = append(l.since, sinceNewest(keep, e.Past, e.At))
	if q := l.request[len(l.request)-1]; q >= 0 {
		l.queries[q].gap = l.since[len(l.since)-1]
	}
	if c.TimeBias {
		l.fillBuckets(l.tokens() - first)
	}
}

func (l *layout) addSessions(c *Config, e *Example, keep []kept, first, number int, place func(Row) int32) {
	user := c.userOf(e.User)
	learned := len(e.Past) - e.Learn // sessions from here on are learned from
	position := int32(0)
	before := schema.EventTime(0)
	context := func(at schema.EventTime, scene string) {
		l.context(c, at, scene, position, before, user, first)
		before = at
	}
	asked := len(l.asked) // contexts ask for their session, and for later ones, once these are there
	ask := func(session int, targets []Event, rows []Row, actions []schema.Action, scene uint16) {
		l.asked = append(l.asked, int32(l.tokens()-1))
		from := int32(len(l.targets))
		for _, t := range targets {
			l.targets, l.actions = append(l.targets, t.Row), append(l.actions, actionIndex(t.Action))
		}
		for i, r := range rows {
			a := uint8(actionClick)
			if actions != nil {
				a = actionIndex(actions[i])
			}
			l.targets, l.actions = append(l.targets, r), append(l.actions, a)
		}
		if session < 0 {
			l.request = append(l.request, int32(len(l.queries)))
		}
		for ahead := 0; ahead < c.Horizon && len(l.asked)-1-ahead >= asked; ahead++ {
			who := len(l.asked) - 1 - ahead
			l.queries = append(l.queries, query{
				ask: int32(who), ahead: int32(ahead), example: int32(number), session: int32(session), scene: scene,
				from: from, to: int32(len(l.targets)), history: int(l.asked[who]) > first,
			})
		}
	}
	reach := c.Horizon - 1 // of the kept sessions, newest first, so many ask: those learned from, and those before them that look ahead
	for i := range keep {
		if keep[i].place >= learned {
			reach++
		}
	}
	for k := len(keep) - 1; k >= 0; k-- {
		s := &e.Past[keep[k].place]
		context(s.At, s.Scene)
		if keep[k].place >= learned {
			ask(keep[k].place, s.Events[keep[k].first:], nil, nil, l.scene[l.tokens()-1])
		} else if k < reach {
			l.asked = append(l.asked, int32(l.tokens()-1))
		}
		l.session(c, s, keep[k].first, position, first, place)
		position++
	}
	context(e.At, e.Scene)
	ask(-1, nil, e.Targets, e.Actions, l.scene[l.tokens()-1])
}

// addItems lays out the items alone. A token's time as a query is that of the next item: it is asked for then (HSTU's convention).
func (l *layout) addItems(c *Config, e *Example, keep []kept, first, number int, place func(Row) int32) {
	learned := len(e.Past) - e.Learn
	for k := len(keep) - 1; k >= 0; k-- {
		s := &e.Past[keep[k].place]
		for j := keep[k].first; j < len(s.Events); j++ {
			event := &s.Events[j]
			i := l.tokens()
			if i > first {
				l.asker[i-first-1] = s.At
				if keep[k].place >= learned {
					l.askItem(int32(i-1), number, keep[k].place, event.Row, actionIndex(event.Action))
				}
			}
			l.event(c, s, *event, first, place)
		}
	}
	if l.tokens() == first { // a sequence without tokens asks nothing
		l.request = append(l.request, -1)
		return
	}
	last := l.tokens() - 1
	l.asker[last-first] = e.At
	l.asked = append(l.asked, int32(last))
	from := int32(len(l.targets))
	for i, r := range e.Targets {
		a := uint8(actionClick)
		if e.Actions != nil {
			a = actionIndex(e.Actions[i])
		}
		l.targets, l.actions = append(l.targets, r), append(l.actions, a)
	}
	l.request = append(l.request, int32(len(l.queries)))
	l.queries = append(l.queries, query{ask: int32(len(l.asked) - 1), example: int32(number), session: -1, scene: sceneBucket(e.Scene, c.Scenes), from: from, to: int32(len(l.targets)), history: true})
}

// context appends the context token of session number position, which the one of the time before precedes. first is where the sequence starts: below
// zero where its first tokens are elsewhere (Memory).
func (l *layout) context(c *Config, at schema.EventTime, scene string, position int32, before schema.EventTime, user int32, first int) {
	i := l.tokens()
	gap := gapNone
	if position > 0 {
		gap = gapBucket(before, at)
	}
	l.token(c, -1, position, int32(i-first), first, at, at)
	l.scene[i], l.hour[i], l.gap[i], l.user[i] = sceneBucket(scene, c.Scenes), hourOf(at), gap, user
}

// session appends the events of a session from number from on, behind its context token.
func (l *layout) session(c *Config, s *Session, from int, position int32, first int, place func(Row) int32) {
	own := int32(l.tokens() - first) // a sibling's place: items see up to their context token
	for _, event := range s.Events[from:] {
		sees := own
		if c.Mask == causal {
			sees = int32(l.tokens() - first)
		}
		i := l.tokens()
		l.token(c, place(event.Row), position, sees, first, s.At, s.At)
		l.action[i] = actionIndex(event.Action)
		l.scene[i] = l.scene[first+int(own)-1]
	}
}

// event appends an item of a sequence of items alone.
func (l *layout) event(c *Config, s *Session, event Event, first int, place func(Row) int32) {
	i := l.tokens()
	l.token(c, place(event.Row), int32(i-first), int32(i-first), first, s.At, s.At)
	l.action[i], l.scene[i] = actionIndex(event.Action), sceneBucket(s.Scene, c.Scenes)
}

func (l *layout) askItem(token int32, number, session int, row Row, action uint8) {
	l.asked = append(l.asked, token)
	l.targets, l.actions = append(l.targets, row), append(l.actions, action)
	n := int32(len(l.targets))
	l.queries = append(l.queries, query{ask: int32(len(l.asked) - 1), example: int32(number), session: int32(session), scene: l.scene[token], from: n - 1, to: n, history: true})
}

func (l *layout) token(c *Config, item, position, sees int32, first int, key, asks schema.EventTime) {
	at := int32(len(l.item) - first)
	if c.Rotary == token {
		position = at
	}
	l.at = append(l.at, at)
	l.item = append(l.item, item)
	l.position = append(l.position, position)
	l.sees = append(l.sees, sees)
	l.action, l.scene, l.hour, l.gap, l.user = append(l.action, 0), append(l.scene, 0), append(l.hour, 0), append(l.gap, 0), append(l.user, -1)
	l.times, l.asker = append(l.times, key), append(l.asker, asks)
}

// fillBuckets computes the bucket of each of the n tokens of the sequence with itself and those before it; the others are not read.
func (l *layout) fillBuckets(n int) {
	l.pairs = append(l.pairs, int32(len(l.bucket)))
	size := len(l.bucket) + n*n
	for cap(l.bucket) < size {
		l.bucket = append(l.bucket[:cap(l.bucket)], 0)
	}
	l.bucket = l.bucket[:size]
	b := l.bucket[size-n*n:]
	for i := range n {
		row, of := b[i*n:][:i+1], l.asker[i]
		if i > 0 && of == l.asker[i-1] { // a sibling
			copy(row, b[(i-1)*n:][:i])
			row[i] = timeBucket(of, l.times[i])
			continue
		}
		for j := range row {
			if j > 0 && l.times[j] == l.times[j-1] {
				row[j] = row[j-1]
			} else {
				row[j] = timeBucket(of, l.times[j])
			}
		}
	}
}
