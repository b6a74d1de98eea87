package baseline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// The objects that a Served is made from. Lines stand by rising row, or slot; a delta has those that changed since the publication before.
//
//	counts       row, clicks, popularity_0 … popularity_3        Meta: config, rows, clicks, popularity_0 … popularity_3, sessions
//	transitions  arrival, row, successors, weights, whole        first those within sessions, arrival 0; then arrivals, 1. Where whole is 0 the line has the successors
//	                                                             that changed, with weight 0 those that are gone; a full publication has no whole. Meta: rows, arrivals
//	neighbours   slot, key, at, rows                             under Config.Neighbours. Meta: slots
//	postings     row, sessions                                   the same. Meta: rows
const (
	ObjectCounts      = "counts"
	ObjectTransitions = "transitions"
	ObjectNeighbours  = "neighbours"
	ObjectPostings    = "postings"

	metaArrivals = "arrivals"
	metaSlots    = "slots"
)

// Publish returns the objects that bring a Served of the publication before up to date, or with full those that make one. They share no memory with l, and may be
// encoded elsewhere.
func (l *Live) Publish(full bool) ([]model.Object, error) {
	config, err := json.Marshal(l.cfg)
	if err != nil {
		return nil, fmt.Errorf("publish the live tables: %w", err)
	}
	rows := l.changed.counts.take(l.counts.n, full)
	counts := l.counts.table(rows)
	counts.Columns = slices.Insert(counts.Columns, 0, schema.Column{Name: "row", Data: rows})
	counts.Meta = l.meta(string(config), l.counts.n)

	next, arrivals := l.changed.next.take(l.next.n, full), l.changed.arrivals.take(l.arrivals.n, full)
	transitions := schema.Table{
		Columns: []schema.Column{
			{Name: "arrival", Data: append(make([]int32, len(next)), slices.Repeat([]int32{1}, len(arrivals))...)},
			{Name: "row", Data: slices.Concat(next, arrivals)},
		},
		Meta: [][2]string{{metaRows, strconv.Itoa(l.next.n)}, {metaArrivals, strconv.Itoa(l.arrivals.n)}},
	}
	var news pairs
	whole := make([]int32, 0, len(next)+len(arrivals))
	for _, of := range []struct {
		c    *counter
		rows []int32
	}{{&l.follows, next}, {&l.arrives, arrivals}} {
		for _, r := range of.rows {
			if of.c.news(&news, int(r), full) {
				whole = append(whole, 1)
			} else {
				whole = append(whole, 0)
			}
		}
	}
	successors, weights := news.lists()
	transitions.Columns = append(transitions.Columns, schema.Column{Name: "successors", Data: successors}, schema.Column{Name: "weights", Data: weights})
	if !full {
		transitions.Columns = append(transitions.Columns, schema.Column{Name: "whole", Data: whole})
	}

	objects := []model.Object{{Name: ObjectCounts, Table: counts}, {Name: ObjectTransitions, Table: transitions}}
	if l.cfg.Neighbours {
		slots := l.changed.sessions.take(l.sessions.heads.n, full)
		sessions := l.sessions.table(slots)
		sessions.Columns = slices.Insert(sessions.Columns, 0, schema.Column{Name: "slot", Data: slots})
		sessions.Meta = [][2]string{{metaSlots, strconv.Itoa(l.sessions.heads.n)}}
		rows := l.changed.posts.take(l.sessions.posts.n, full)
		posts := l.index.published(rows, full)
		posts.Columns = slices.Insert(posts.Columns, 0, schema.Column{Name: "row", Data: rows})
		posts.Meta = [][2]string{{metaRows, strconv.Itoa(l.sessions.posts.n)}}
		objects = append(objects, model.Object{Name: ObjectNeighbours, Table: sessions}, model.Object{Name: ObjectPostings, Table: posts})
	}
	return objects, nil
}

// published returns what of the lists of rows is to be published, all of them or what is new.
func (x *index) published(rows []int32, full bool) schema.Table {
	cut, gone, whole := make([][]int32, len(rows)), make([][]int32, len(rows)), make([]int32, len(rows))
	for i, r := range rows {
		x.news.grow(int(r))
		posts, news := *x.posts.at(int(r)), x.news.at(int(r))
		if cut[i] = posts[len(posts)-news.added:]; full || news.anew {
			cut[i], whole[i] = posts, 1
		}
		gone[i] = news.gone
		*news = postNews{}
	}
	t := schema.Table{Columns: []schema.Column{{Name: "sessions", Data: copied(len(rows), func(i int) []int32 { return cut[i] }, func(slot int32) int32 { return slot })}}}
	if !full {
		t.Columns = append(t.Columns, schema.Column{Name: "gone", Data: gone}, schema.Column{Name: "whole", Data: whole})
	}
	return t
}
