package main

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// userParts are the parts of a stream, one for each click, by user.
type userParts struct {
	of map[string][]schema.Part
	n  schema.Emit
}

func (u *userParts) History(_ schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	parts := u.of[user]
	for len(parts) > 0 && parts[len(parts)-1].Emit >= before {
		parts = parts[:len(parts)-1]
	}
	return parts[max(0, len(parts)-n):], nil
}

// Users returns nobody: there are no runs over buckets here.
func (u *userParts) Users(schema.Partition, string, int, func([]byte) bool) ([]string, error) {
	return nil, nil
}

func (u *userParts) add(c schema.Click) schema.Part {
	p := schema.Part{UserID: c.UserID, SessionStart: c.EventTime, Due: c.EventTime, Emit: u.n, Clicks: []schema.Click{c}}
	if before := u.of[c.UserID]; len(before) > 0 {
		if last := &before[len(before)-1]; c.EventTime <= last.Due.Add(30*time.Minute) {
			p.SessionStart = last.SessionStart
		}
	}
	u.of[c.UserID], u.n = append(u.of[c.UserID], p), u.n+1
	return p
}

// measuredClicks yields the clicks of FRESHET_MEASURE: "sim", or a CSV.gz with the columns user, item and ts (ms), by rising time.
func measuredClicks(t *testing.T, name string, most int, each func(c schema.Click)) {
	t.Helper()
	if name == "sim" {
		c := sim.DefaultConfig()
		c.Records = 2 * most // exposures are passed over
		c.Duplicate, c.Undecodable, c.Invalid, c.Late, c.OutOfOrder = 0, 0, 0, 0, 0
		shop, err := sim.New(c)
		if err != nil {
			t.Fatal(err)
		}
		decoder := decode.JSON()
		for {
			r, err := shop.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			var click schema.Click
			if err == nil {
				err = decoder.Decode(slices.Clone(r.Value), &click)
			}
			if err != nil {
				t.Fatal(err)
			}
			if click.Action != schema.ActionExposure {
				each(click)
			}
		}
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	in := csv.NewReader(z)
	head, err := in.Read()
	if err != nil {
		t.Fatal(err)
	}
	user, item, ts := slices.Index(head, "user"), slices.Index(head, "item"), slices.Index(head, "ts")
	for range most {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var at int64
		if err == nil {
			at, err = strconv.ParseInt(row[ts], 10, 64)
		}
		if err != nil {
			t.Fatal(err)
		}
		each(schema.Click{UserID: row[user], ItemID: row[item], Action: schema.ActionClick, EventTime: schema.EventTime(at)})
	}
}

// measured collects numbers of one kind.
type measured map[string][]float64

func (m measured) add(name string, x float64) { m[name] = append(m[name], x) }

func (m measured) print(unit string) {
	for _, name := range sortedKeys(m) {
		s := slices.Sorted(slices.Values(m[name]))
		fmt.Printf("  %-22s %6d times, median %10.1f, p99 %10.1f, most %10.1f %s\n", name, len(s), s[len(s)/2], s[len(s)*99/100], s[len(s)-1], unit)
	}
}

func sortedKeys(m measured) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// strongest returns the bytes of transitions with the n strongest successors of each line.
func strongest(t *testing.T, of schema.Table, n int) int {
	t.Helper()
	out := schema.Table{Columns: slices.Clone(of.Columns), Meta: of.Meta}
	rows, weights := slices.Clone(of.Columns[2].Data.([][]int32)), slices.Clone(of.Columns[3].Data.([][]float32))
	for i := range rows {
		if len(rows[i]) > n {
			least := slices.Sorted(slices.Values(weights[i]))[len(rows[i])-n]
			var r []int32
			var w []float32
			for j, x := range weights[i] {
				if x >= least && len(r) < n {
					r, w = append(r, rows[i][j]), append(w, x)
				}
			}
			rows[i], weights[i] = r, w
		}
	}
	out.Columns[2].Data, out.Columns[3].Data = rows, weights
	b, err := out.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// TestMeasureVersions measures what versions weigh and how long training waits for them, on the first FRESHET_MEASURE_CLICKS clicks of the stream that FRESHET_MEASURE names: a
// delta every two seconds of the stream's time; and then, for the next 2000 clicks of users who are known, how many of the best 20 and 100 by float32 int8 finds, with marks.
// FRESHET_MEASURE_MODEL=0 leaves the model out, and FRESHET_MEASURE_NEIGHBOURS=1 publishes the sessions. It has nothing to say without a stream.
func TestMeasureVersions(t *testing.T) {
	name := os.Getenv("FRESHET_MEASURE")
	if name == "" {
		t.Skip("FRESHET_MEASURE names no stream")
	}
	most, err := strconv.Atoi(os.Getenv("FRESHET_MEASURE_CLICKS"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := learn.DefaultConfig()
	cfg.Baseline.Neighbours = os.Getenv("FRESHET_MEASURE_NEIGHBOURS") == "1"
	trains := os.Getenv("FRESHET_MEASURE_MODEL") != "0"
	known := &userParts{of: map[string][]schema.Part{}}
	l, err := learn.New(cfg, known)
	if err != nil {
		t.Fatal(err)
	}
	bytes, wait := measured{}, measured{}
	size := func(kind string, objects []model.Object) {
		for _, o := range objects {
			b, err := o.Table.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			bytes.add(kind+" "+o.Name, float64(len(b)))
			if o.Name == baseline.ObjectTransitions {
				bytes.add(kind+" transitions, 64", float64(strongest(t, o.Table, 64)))
			}
		}
	}
	live := func(kind string) []model.Object {
		began := time.Now()
		objects, err := l.Live().Publish(kind == "base")
		if err != nil {
			t.Fatal(err)
		}
		wait.add(kind+" tables", float64(time.Since(began).Microseconds()))
		size(kind, objects)
		return objects
	}
	weights := func(kind string, of bool) []model.Object {
		began := time.Now()
		s := l.Model().Snapshot(kind == "base", l.Live().Log2)
		if !of {
			return nil
		}
		wait.add(kind+" weights", float64(time.Since(began).Microseconds()))
		objects := s.Objects()
		size(kind, objects)
		return objects
	}
	var batch, rest []schema.Part
	published, next, clicks := 0, schema.EventTime(0), 0
	began := time.Now()
	rows := map[string]model.Row{}
	var arms struct{ n20, n100, tests float64 }
	flush := func() {
		b, err := l.Prepare(batch, cfg.HistoryParts)
		if err != nil {
			t.Fatal(err)
		}
		l.Learn(b, recency.Decision{Keep: 1})
		batch = batch[:0]
	}
	bare := func(p schema.Part) { // the tables alone
		row, ok := rows[p.Clicks[0].ItemID]
		if !ok {
			row = model.Row(len(rows))
			rows[p.Clicks[0].ItemID] = row
		}
		past, _ := known.History(0, p.UserID, p.Emit, cfg.HistoryParts)
		c := baseline.Click{Row: row, At: p.Due, Session: baseline.SessionKey(p.UserID, p.SessionStart)}
		for _, b := range past {
			if r := rows[b.Clicks[0].ItemID]; b.SessionStart == p.SessionStart {
				c.Before = append(c.Before, r)
			} else {
				c.Earlier = append(c.Earlier, r)
			}
		}
		c.First = len(c.Before) == 0
		l.Live().Learn(c)
	}
	measuredClicks(t, name, most+5000, func(c schema.Click) {
		if clicks++; clicks > most+5000 {
			return
		}
		p := known.add(c)
		if clicks > most {
			rest = append(rest, p)
			return
		}
		if !trains {
			bare(p)
		} else if batch = append(batch, p); len(batch) == 64 || c.EventTime >= next {
			flush()
		}
		if c.EventTime >= next {
			if next = c.EventTime + 2000; published > 100 {
				live("delta")
				if trains && published%50 < 2 {
					weights("delta", published%50 == 1)
				}
			} else if _, err := l.Live().Publish(false); err != nil {
				t.Fatal(err)
			}
			published++
		}
	})
	fmt.Printf("%s: %d clicks, %d items, %d versions, in %v\n", name, most, max(len(rows), l.Model().Items()), published, time.Since(began).Round(time.Second))
	var objects []model.Object
	for range 5 {
		objects = live("base")
	}
	if trains {
		objects = append(objects, weights("base", true)...)
	}
	bytes.print("bytes")
	wait.print("µs")
	if !trains {
		return
	}
	all := map[string]schema.Table{}
	for _, o := range objects {
		all[o.Name] = o.Table
	}
	tables, err := baseline.LoadServed(all)
	if err != nil {
		t.Fatal(err)
	}
	served := map[model.Precision]*model.Served{}
	for _, precision := range []model.Precision{model.Float32, model.Int8} {
		s, err := model.Serving{Precision: precision}.Load(all["items"], all["params"])
		if err != nil {
			t.Fatal(err)
		}
		served[precision] = s.With(tables)
	}
	var marks []model.Mark
	took := measured{}
	for _, p := range rest {
		past, _ := known.History(0, p.UserID, p.Emit, cfg.HistoryParts)
		q := model.Query{At: p.Due}
		var earlier, session []model.Row
		for _, b := range past {
			q.Past = append(q.Past, model.NewServedSession(b.Clicks))
			if r, ok := l.Model().Row(b.Clicks[0].ItemID); ok && b.SessionStart == p.SessionStart {
				session = append(session, r)
			} else if ok {
				earlier = append(earlier, r)
			}
		}
		if len(earlier)+len(session) == 0 || arms.tests == 2000 {
			continue
		}
		at := time.Now()
		marks = tables.Marks(marks[:0], baseline.Request{Clicks: append(earlier, session...), Begin: len(earlier),
			Session: baseline.SessionKey(p.UserID, p.SessionStart), Now: p.Due, Kinds: baseline.AllKinds})
		took.add("marks", float64(time.Since(at).Microseconds()))
		took.add("number of marks", float64(len(marks)))
		q.Marks = marks
		best := func(precision model.Precision, k int) map[string]bool {
			at := time.Now()
			list, _ := served[precision].Recommend(q, k)
			took.add(fmt.Sprint(precision, " ", k), float64(time.Since(at).Microseconds()))
			ids := map[string]bool{}
			for _, s := range list {
				ids[s.ItemID] = true
			}
			return ids
		}
		found := func(k int) float64 {
			exact, hits := best(model.Float32, k), 0.
			for id := range best(model.Int8, k) {
				if exact[id] {
					hits++
				}
			}
			return hits / float64(len(exact))
		}
		arms.n20 += found(20)
		arms.n100 += found(100)
		arms.tests++
	}
	took.print("µs")
	fmt.Printf("  int8 finds %.5f of the best 20 and %.5f of the best 100, over %.0f requests\n", arms.n20/arms.tests, arms.n100/arms.tests, arms.tests)
}
