package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// deltaLine is a learner whose versions are served a minute of the stream at a time.
type deltaLine struct {
	t     *testing.T
	cfg   learn.Config
	known *userParts
	l     *learn.Learner
	batch []schema.Part

	served *model.Served
	tables *baseline.Served
	bytes  measured // of the objects

	tests, hits float64
}

// newDeltaLine publishes as how says.
func newDeltaLine(t *testing.T, how model.Publishing) *deltaLine {
	d := &deltaLine{t: t, cfg: learn.DefaultConfig(), known: &userParts{of: map[string][]schema.Part{}}, bytes: measured{}}
	d.cfg.Others = false
	var err error
	if d.l, err = learn.New(d.cfg, d.known); err != nil {
		t.Fatal(err)
	}
	d.l.Model().Publishes(how)
	return d
}

// learn trains on what there is.
func (d *deltaLine) learn() {
	if len(d.batch) == 0 {
		return
	}
	b, err := d.l.Prepare(d.batch, d.cfg.HistoryParts)
	if err != nil {
		d.t.Fatal(err)
	}
	d.l.Learn(b, recency.Decision{Keep: 1})
	d.batch = d.batch[:0]
}

// publish makes a version and serves it as a replica does: from its bytes. It returns their number.
func (d *deltaLine) publish(full bool) (total float64) {
	d.learn()
	objects := d.l.Model().Snapshot(full, d.l.Live().Log2).Objects()
	live, err := d.l.Live().Publish(full)
	if err != nil {
		d.t.Fatal(err)
	}
	all := map[string]schema.Table{}
	for _, o := range append(objects, live...) {
		b, err := o.Table.Bytes()
		if err == nil {
			all[o.Name], err = schema.DecodeTable(b)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.bytes.add(map[bool]string{true: "base ", false: "delta "}[full]+o.Name, float64(len(b)))
		total += float64(len(b))
	}
	if full {
		if d.served, err = model.LoadServed(all["items"], all["params"]); err == nil {
			d.tables, err = baseline.LoadServed(all)
		}
	} else if d.served, err = d.served.Apply(all["items"], all["params"]); err == nil {
		d.tables, err = d.tables.Apply(all)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.served = d.served.With(d.tables)
	return total
}

// test asks for the click of a part: is it among the best 20?
func (d *deltaLine) test(p *schema.Part) {
	past, _ := d.known.History(0, p.UserID, p.Emit, d.cfg.HistoryParts)
	if len(past) == 0 || !d.served.Has(p.Clicks[0].ItemID) {
		return
	}
	q := model.Query{At: p.Due}
	var earlier, session []model.Row
	for _, b := range past {
		q.Past = append(q.Past, model.NewServedSession(b.Clicks))
		if r, ok := d.served.Row(b.Clicks[0].ItemID); ok && b.SessionStart == p.SessionStart {
			session = append(session, r)
		} else if ok {
			earlier = append(earlier, r)
		}
	}
	if len(earlier)+len(session) == 0 {
		return
	}
	q.Marks = d.tables.Marks(nil, baseline.Request{Clicks: append(earlier, session...), Begin: len(earlier),
		Session: baseline.SessionKey(p.UserID, p.SessionStart), Now: p.Due, Kinds: baseline.AllKinds})
	list, ok := d.served.Recommend(q, 20)
	if !ok {
		return
	}
	d.tests++
	for _, s := range list {
		if s.ItemID == p.Clicks[0].ItemID {
			d.hits++
		}
	}
}

// TestMeasureDeltas measures what a delta weighs beside its base, and what a line costs in recall, on the first FRESHET_MEASURE_CLICKS clicks of the stream that
// FRESHET_MEASURE names: a version each minute of the stream's time over its last tenth, published as each word of FRESHET_MEASURE_PUBLISH says
// (float32:0 float32:0.03 int8:0.03: rows and min_change). It has nothing to say without a stream.
func TestMeasureDeltas(t *testing.T) {
	name := os.Getenv("FRESHET_MEASURE")
	if name == "" {
		t.Skip("FRESHET_MEASURE names no stream")
	}
	most, err := strconv.Atoi(os.Getenv("FRESHET_MEASURE_CLICKS"))
	if err != nil {
		t.Fatal(err)
	}
	exact := 0. // bytes of the base in float32
	for _, word := range strings.Fields(os.Getenv("FRESHET_MEASURE_PUBLISH")) {
		rows, change, _ := strings.Cut(word, ":")
		share, err := strconv.ParseFloat(change, 64)
		if err != nil {
			t.Fatal(err)
		}
		d := newDeltaLine(t, model.Publishing{Rows: model.Precision(rows), MinChange: share})
		began, clicks, next, span, deltas := time.Now(), 0, schema.EventTime(0), schema.EventTime(0), measured{}
		measuredClicks(t, name, most, func(c schema.Click) {
			if clicks++; len(d.batch) == d.cfg.TestParts*4 || c.EventTime/10_000 != span {
				d.learn()
			}
			span = c.EventTime / 10_000
			if clicks > most*9/10 && c.EventTime >= next {
				if next = c.EventTime + 60_000; d.served == nil {
					d.publish(true)
				} else {
					deltas.add("delta", d.publish(false))
				}
			}
			p := d.known.add(c)
			if d.batch = append(d.batch, p); d.served != nil {
				d.test(&p)
			}
		})
		maps.DeleteFunc(d.bytes, func(o string, _ []float64) bool { return strings.HasPrefix(o, "base ") }) // the one at the end counts
		base := d.publish(true)
		if exact == 0 {
			exact = base
		}
		fmt.Printf("%s: %s, %d clicks, %d items, in %v: base %.0f bytes; recall@20 %.5f over %.0f requests\n", name, word, clicks, d.l.Model().Items(),
			time.Since(began).Round(time.Second), base, d.hits/d.tests, d.tests)
		deltas.print("bytes")
		all := slices.Sorted(slices.Values(deltas["delta"]))
		delta := all[len(all)/2]
		fmt.Printf("  the median delta is %.2f %% of its base and %.2f %% of the first line's\n", 100*delta/base, 100*delta/exact)
		d.bytes.print("bytes")
	}
}
