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
//	transitions  arrival, row, successors, weights               first those within sessions, arrival 0; then arrivals, 1. Meta: rows, arrivals
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
	within, into := l.next.lists(next), l.arrivals.lists(arrivals)
	transitions.Columns = append(transitions.Columns,
		schema.Column{Name: within[0].Name, Data: append(within[0].Data.([][]int32), into[0].Data.([][]int32)...)},
		schema.Column{Name: within[1].Name, Data: append(within[1].Data.([][]float32), into[1].Data.([][]float32)...)})

	objects := []model.Object{{Name: ObjectCounts, Table: counts}, {Name: ObjectTransitions, Table: transitions}}
	if l.cfg.Neighbours {
		slots := l.changed.sessions.take(l.sessions.heads.n, full)
		sessions := l.sessions.table(slots)
		sessions.Columns = slices.Insert(sessions.Columns, 0, schema.Column{Name: "slot", Data: slots})
		sessions.Meta = [][2]string{{metaSlots, strconv.Itoa(l.sessions.heads.n)}}
		rows := l.changed.posts.take(l.sessions.posts.n, full)
		posts := l.sessions.postings(rows)
		posts.Columns = slices.Insert(posts.Columns, 0, schema.Column{Name: "row", Data: rows})
		posts.Meta = [][2]string{{metaRows, strconv.Itoa(l.sessions.posts.n)}}
		objects = append(objects, model.Object{Name: ObjectNeighbours, Table: sessions}, model.Object{Name: ObjectPostings, Table: posts})
	}
	return objects, nil
}
