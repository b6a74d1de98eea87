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

// Restore is the inverse of Tables. Damage is ErrCorrupt. A config under which the tables would mean something else, because half-lives or bounds of the sessions
// differ, is refused. All rows count as changed, so that the next publication is whole.
func Restore(cfg Config, tables map[string]schema.Table) (*Live, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := New(cfg)
	if err := l.restore(tables); err != nil {
		return nil, fmt.Errorf("restore the live tables: %w", err)
	}
	return l, nil
}

func (l *Live) restore(tables map[string]schema.Table) error {
	for _, name := range []string{tableCounts, tableTransitions, tableArrivals, tableSessions, tablePostings} {
		if _, ok := tables[name]; !ok {
			return fmt.Errorf("%w: there is no table %s", schema.ErrCorrupt, name)
		}
	}
	if err := l.restoreCounts(tables[tableCounts]); err != nil {
		return fmt.Errorf("%s: %w", tableCounts, err)
	}
	if err := l.follows.restore(tables[tableTransitions]); err != nil {
		return fmt.Errorf("%s: %w", tableTransitions, err)
	}
	if err := l.arrives.restore(tables[tableArrivals]); err != nil {
		return fmt.Errorf("%s: %w", tableArrivals, err)
	}
	if err := l.index.restore(tables[tableSessions], tables[tablePostings]); err != nil {
		return fmt.Errorf("%s: %w", tableSessions, err)
	}
	return nil
}

func (l *Live) restoreCounts(t schema.Table) error {
	config, n, err := l.readMeta(t)
	if err != nil {
		return err
	}
	var was Config
	if err := json.Unmarshal([]byte(config), &was); err != nil {
		return fmt.Errorf("%w: config: %v", schema.ErrCorrupt, err)
	}
	if was.halfLives() != l.halfLives || was.Sessions != l.cfg.Sessions || was.SessionClicks != l.cfg.SessionClicks || was.Sample != l.cfg.Sample {
		return fmt.Errorf("the checkpoint counted with half-lives of %v ms, %d sessions of %d clicks and a sample of %d, the config says %v, %d, %d and %d: keep them, or start in a new data directory",
			was.halfLives(), was.Sessions, was.SessionClicks, was.Sample, l.halfLives, l.cfg.Sessions, l.cfg.SessionClicks, l.cfg.Sample)
	}
	all, err := countsOf(t)
	if err != nil {
		return err
	}
	first, err := schema.Col[[]int64](t, "first")
	if err != nil {
		return err
	}
	last, err := schema.Col[[]int64](t, "last")
	if err != nil {
		return err
	}
	if len(all) != n {
		return fmt.Errorf("%w: %d rows, want %d", schema.ErrCorrupt, len(all), n)
	}
	for r := range all {
		l.counts.grow(r)
		l.spans.grow(r)
		*l.counts.at(r), *l.spans.at(r) = all[r], Span{schema.EventTime(first[r]), schema.EventTime(last[r])}
	}
	l.counts.rechart()
	return nil
}

func (c *counter) restore(t schema.Table) error {
	lists, err := listsOf(t, func(int) bool { return true })
	if err != nil {
		return err
	}
	counted, err := schema.Col[[][]int32](t, "counted")
	if err != nil {
		return err
	}
	additions, err := schema.Col[[]int64](t, "additions")
	if err != nil {
		return err
	}
	for r := range lists {
		if len(counted[r]) != len(lists[r].rows) || additions[r] < 0 || additions[r] > math.MaxUint32 {
			return fmt.Errorf("%w: the age of list %d", schema.ErrCorrupt, r)
		}
		when := recency{now: uint32(additions[r])}
		young := 0
		for _, at := range counted[r] {
			when.last = append(when.last, uint32(at))
			if when.now-uint32(at) <= probation {
				young++
			}
		}
		if young > probation+1 {
			return fmt.Errorf("%w: list %d of successors has %d on probation", schema.ErrCorrupt, r, young)
		}
		c.grow(r)
		c.recency.grow(r)
		*c.at(r), *c.recency.at(r) = lists[r], when
	}
	return nil
}

func (x *index) restore(sessions, postings schema.Table) error {
	heads, rows, err := sessionsOf(sessions, x.clicks)
	if err != nil {
		return err
	}
	posts, err := postingsOf(postings, x.sample)
	if err != nil {
		return err
	}
	next, err := strconv.Atoi(sessions.MetaValue(metaNext))
	if err != nil || len(heads) > x.capacity || len(heads) < x.capacity && next != len(heads)%x.capacity || next < 0 || next >= x.capacity {
		return fmt.Errorf("%w: %d sessions of %d, the next in slot %q", schema.ErrCorrupt, len(heads), x.capacity, sessions.MetaValue(metaNext))
	}
	x.next = next
	for slot := range heads {
		if _, twice := x.slots[heads[slot].key]; twice {
			return fmt.Errorf("%w: two sessions have one key", schema.ErrCorrupt)
		}
		x.heads.grow(slot)
		x.rows.grow(slot)
		*x.heads.at(slot), *x.rows.at(slot) = heads[slot], rows[slot]
		x.slots[heads[slot].key] = int32(slot)
	}
	seen := make([]int, len(heads)) // 1 + the last item that a session was seen at
	for r, p := range posts {
		for _, slot := range p {
			if slot < 0 || int(slot) >= len(heads) || seen[slot] == r+1 || !slices.Contains(rows[slot], model.Row(r)) {
				return fmt.Errorf("%w: the sessions of row %d", schema.ErrCorrupt, r)
			}
			seen[slot] = r + 1
		}
		x.posts.grow(r)
		*x.posts.at(r) = p
	}
	for _, session := range rows {
		for _, r := range session {
			if int(r) >= len(posts) {
				return fmt.Errorf("%w: a session has row %d of %d", schema.ErrCorrupt, r, len(posts))
			}
		}
	}
	return nil
}
