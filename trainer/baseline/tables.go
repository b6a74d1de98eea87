package baseline

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// The tables of a checkpoint. Together they are all that the next click depends on (I3).
//
//	live_counts       clicks, popularity_0 … popularity_3, first, last       by row. Meta: config, total clicks, their popularities, sessions
//	live_transitions  successors, weights, counted, additions                by row: what follows within a session
//	live_arrivals     the same: what a session begins with
//	live_sessions     key, at, rows                                          by slot. Meta: next, the slot of the next session
//	live_postings     sessions                                               by row: the slots of sessions that it is in
const (
	tableCounts      = "live_counts"
	tableTransitions = "live_transitions"
	tableArrivals    = "live_arrivals"
	tableSessions    = "live_sessions"
	tablePostings    = "live_postings"

	metaConfig   = "config"
	metaClicks   = "clicks"
	metaSessions = "sessions"
	metaNext     = "next"
	metaRows     = "rows"
)

// Tables returns everything that Restore needs to go on as if nothing had happened. They share no memory with l.
func (l *Live) Tables() ([]model.NamedTable, error) {
	config, err := json.Marshal(l.cfg)
	if err != nil {
		return nil, fmt.Errorf("save the config of the live tables: %w", err)
	}
	counts := l.counts.table(every(l.counts.n))
	first, last := make([]int64, l.counts.n), make([]int64, l.counts.n)
	for r := range first {
		span := l.spans.get(r)
		first[r], last[r] = int64(span.First), int64(span.Last)
	}
	counts.Columns = append(counts.Columns, schema.Column{Name: "first", Data: first}, schema.Column{Name: "last", Data: last})
	counts.Meta = l.meta(string(config), l.counts.n)
	sessions := l.sessions.table(every(l.sessions.heads.n))
	sessions.Meta = [][2]string{{metaNext, strconv.Itoa(l.index.next)}}
	return []model.NamedTable{
		{Name: tableCounts, Table: counts},
		{Name: tableTransitions, Table: l.follows.whole()},
		{Name: tableArrivals, Table: l.arrives.whole()},
		{Name: tableSessions, Table: sessions},
		{Name: tablePostings, Table: l.sessions.postings(every(l.sessions.posts.n))},
	}, nil
}

// meta is what the counts of n rows mean.
func (v *view) meta(config string, n int) [][2]string {
	m := [][2]string{
		{metaConfig, config}, {metaRows, strconv.Itoa(n)}, {metaSessions, strconv.FormatInt(v.sessions.ever, 10)},
		{metaClicks, strconv.FormatUint(uint64(v.counts.total.clicks), 10)},
	}
	for k, w := range v.counts.total.log2 {
		m = append(m, [2]string{popularityName(k), strconv.FormatFloat(w, 'g', -1, 64)})
	}
	return m
}

func popularityName(k int) string { return "popularity_" + strconv.Itoa(k) }

func every(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

func (c *counts) table(rows []int32) schema.Table {
	clicks := make([]int64, len(rows))
	var log2 [HalfLives][]float64
	for k := range log2 {
		log2[k] = make([]float64, len(rows))
	}
	for i, r := range rows {
		own := c.at(int(r))
		clicks[i] = int64(own.clicks)
		for k := range log2 {
			log2[k][i] = own.log2[k]
		}
	}
	t := schema.Table{Columns: []schema.Column{{Name: "clicks", Data: clicks}}}
	for k := range log2 {
		t.Columns = append(t.Columns, schema.Column{Name: popularityName(k), Data: log2[k]})
	}
	return t
}

// lists returns the successors and weights of some rows.
func (t *transitions) lists(rows []int32) []schema.Column {
	successors := copied(len(rows), func(i int) []model.Row { return t.at(int(rows[i])).rows }, number)
	weights := copied(len(rows), func(i int) []float32 { return t.at(int(rows[i])).weights }, func(w float32) float32 { return w })
	return []schema.Column{{Name: "successors", Data: successors}, {Name: "weights", Data: weights}}
}

func number(r model.Row) int32 { return int32(r) }

// copied returns n lists that share one piece of memory, which is several times as fast as a piece for each: training waits for it.
func copied[F, T any](n int, of func(i int) []F, as func(F) T) [][]T {
	total := 0
	for i := range n {
		total += len(of(i))
	}
	all, lists := make([]T, 0, total), make([][]T, n)
	for i := range lists {
		from := len(all)
		for _, x := range of(i) {
			all = append(all, as(x))
		}
		lists[i] = all[from:len(all):len(all)]
	}
	return lists
}

func rowsOf(numbers []int32) []model.Row {
	out := make([]model.Row, len(numbers))
	for i, r := range numbers {
		out[i] = model.Row(r)
	}
	return out
}

func (c *counter) whole() schema.Table {
	counted, additions := make([][]int32, c.n), make([]int64, c.n)
	for r := range c.n {
		when := c.recency.at(r)
		additions[r] = int64(when.now)
		for _, at := range when.last {
			counted[r] = append(counted[r], int32(at))
		}
	}
	return schema.Table{Columns: append(c.lists(every(c.n)), schema.Column{Name: "counted", Data: counted}, schema.Column{Name: "additions", Data: additions})}
}

func (s *sessions) table(slots []int32) schema.Table {
	keys, at := make([]uint64, len(slots)), make([]int64, len(slots))
	for i, slot := range slots {
		h := s.heads.at(int(slot))
		keys[i], at[i] = h.key, int64(h.at)
	}
	rows := copied(len(slots), func(i int) []model.Row { return *s.rows.at(int(slots[i])) }, number)
	return schema.Table{Columns: []schema.Column{{Name: "key", Data: keys}, {Name: "at", Data: at}, {Name: "rows", Data: rows}}}
}

func (s *sessions) postings(rows []int32) schema.Table {
	posts := copied(len(rows), func(i int) []int32 { return *s.posts.at(int(rows[i])) }, func(slot int32) int32 { return slot })
	return schema.Table{Columns: []schema.Column{{Name: "sessions", Data: posts}}}
}

// countsOf reads counts of n rows, which stand in the rows of t.
func countsOf(t schema.Table) ([]counted, error) {
	clicks, err := schema.Col[[]int64](t, "clicks")
	if err != nil {
		return nil, err
	}
	all := make([]counted, len(clicks))
	for i, n := range clicks {
		if n < 0 || n > math.MaxUint32 {
			return nil, fmt.Errorf("%w: %d clicks", schema.ErrCorrupt, n)
		}
		all[i].clicks = uint32(n)
	}
	for k := range HalfLives {
		log2, err := schema.Col[[]float64](t, popularityName(k))
		if err != nil {
			return nil, err
		}
		for i, w := range log2 {
			if math.IsNaN(w) || math.IsInf(w, 0) {
				return nil, fmt.Errorf("%w: a popularity is not finite", schema.ErrCorrupt)
			}
			all[i].log2[k] = w
		}
	}
	return all, nil
}

// readMeta sets the totals, and returns the config and the number of rows.
func (v *view) readMeta(t schema.Table) (config string, n int, err error) {
	if _, err := fmt.Sscan(t.MetaValue(metaClicks), &v.counts.total.clicks); err != nil {
		return "", 0, fmt.Errorf("%w: %s: %v", schema.ErrCorrupt, metaClicks, err)
	}
	if v.sessions.ever, err = strconv.ParseInt(t.MetaValue(metaSessions), 10, 64); err != nil || v.sessions.ever < 0 {
		return "", 0, fmt.Errorf("%w: %s is %q", schema.ErrCorrupt, metaSessions, t.MetaValue(metaSessions))
	}
	if n, err = strconv.Atoi(t.MetaValue(metaRows)); err != nil || n < 0 {
		return "", 0, fmt.Errorf("%w: %s is %q", schema.ErrCorrupt, metaRows, t.MetaValue(metaRows))
	}
	for k := range HalfLives {
		w, err := strconv.ParseFloat(t.MetaValue(popularityName(k)), 64)
		if err != nil || math.IsNaN(w) || math.IsInf(w, 0) {
			return "", 0, fmt.Errorf("%w: %s is %q", schema.ErrCorrupt, popularityName(k), t.MetaValue(popularityName(k)))
		}
		v.counts.total.log2[k] = w
	}
	return t.MetaValue(metaConfig), n, nil
}

// listsOf reads the successors and weights of rows. Of lists that are not whole a weight may be 0.
func listsOf(t schema.Table, whole func(i int) bool) ([]list, error) {
	successors, err := schema.Col[[][]int32](t, "successors")
	if err != nil {
		return nil, err
	}
	weights, err := schema.Col[[][]float32](t, "weights")
	if err != nil {
		return nil, err
	}
	lists := make([]list, len(successors))
	for i := range lists {
		s, w := successors[i], weights[i]
		most := maxSuccessors
		if !whole(i) {
			most += maxSuccessors + maxGone
		}
		bad := func(x float32) bool { return !(x >= 0 && x <= math.MaxFloat32) || x == 0 && whole(i) }
		if len(s) != len(w) || len(s) > most || !rising(s) || slices.ContainsFunc(w, bad) {
			return nil, fmt.Errorf("%w: list %d of successors", schema.ErrCorrupt, i)
		}
		if len(s) > 0 {
			lists[i] = list{rowsOf(s), w}
		}
	}
	return lists, nil
}

// rising says whether numbers are at least 0 and rise.
func rising(s []int32) bool {
	for i, n := range s {
		if n < 0 || i > 0 && n <= s[i-1] {
			return false
		}
	}
	return true
}

// sessionsOf reads what stands in slots. clicks bounds a session.
func sessionsOf(t schema.Table, clicks int) (heads []head, rows [][]model.Row, err error) {
	keys, err := schema.Col[[]uint64](t, "key")
	if err != nil {
		return nil, nil, err
	}
	at, err := schema.Col[[]int64](t, "at")
	if err != nil {
		return nil, nil, err
	}
	numbers, err := schema.Col[[][]int32](t, "rows")
	if err != nil {
		return nil, nil, err
	}
	heads, rows = make([]head, len(keys)), make([][]model.Row, len(keys))
	for i, n := range numbers {
		if len(n) > clicks || slices.ContainsFunc(n, func(r int32) bool { return r < 0 }) {
			return nil, nil, fmt.Errorf("%w: the clicks of session %d", schema.ErrCorrupt, i)
		}
		rows[i] = rowsOf(n)
		heads[i] = head{keys[i], schema.EventTime(at[i]), distinct(rows[i])}
	}
	return heads, rows, nil
}

// postingsOf reads the sessions of items: of each, sample at most.
func postingsOf(t schema.Table, sample int) ([][]int32, error) {
	posts, err := schema.Col[[][]int32](t, "sessions")
	if err != nil {
		return nil, err
	}
	for i, p := range posts {
		if len(p) > sample {
			return nil, fmt.Errorf("%w: %d sessions of item %d", schema.ErrCorrupt, len(p), i)
		}
	}
	return posts, nil
}
