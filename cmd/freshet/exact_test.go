package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// knownParts are the parts of a stream in memory. A trainer reads the histories before a part, a replica those before until.
type knownParts struct {
	parts []schema.Part
	until int
}

func (k *knownParts) History(_ schema.Partition, user string, before schema.Emit, n int) (out []schema.Part, err error) {
	for _, p := range k.parts[:before] {
		if p.UserID == user && len(p.Clicks) > 0 {
			out = append(out, p)
		}
	}
	return out[max(0, len(out)-n):], nil
}

// Users returns nobody: there are no runs over buckets here.
func (k *knownParts) Users(schema.Partition, string, int, func([]byte) bool) ([]string, error) {
	return nil, nil
}

func (k *knownParts) Recent(user string, n int) ([]schema.Part, error) {
	return k.History(0, user, schema.Emit(k.until), n)
}

// shopParts cuts the clicks of a simulated shop into parts of one or two, and into sessions at the gap.
func shopParts(t *testing.T, records int, exposures float64, gap time.Duration) (parts []schema.Part) {
	t.Helper()
	c := sim.DefaultConfig()
	c.Records, c.Users, c.Items, c.Clusters, c.Rate = records, 60, 400, 20, 0.5
	c.SessionClicks = 2
	c.ExposureShare = exposures
	c.OutOfOrder, c.Late, c.Duplicate, c.Undecodable, c.Invalid = 0, 0, 0, 0, 0
	shop, err := sim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	open, decoder := map[string]*schema.Part{}, decode.JSON()
	cut := func(p *schema.Part, due schema.EventTime, final bool) {
		out := *p
		out.Emit, out.Due, out.Final, out.Clicks = schema.Emit(len(parts)), due, final, slices.Clone(p.Clicks)
		parts = append(parts, out)
		p.Number, p.Clicks = p.Number+1, p.Clicks[:0]
	}
	for {
		r, err := shop.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		var click schema.Click
		if err == nil {
			err = decoder.Decode(bytes.Clone(r.Value), &click)
		}
		if err != nil {
			t.Fatal(err)
		}
		at := click.EventTime
		p := open[click.UserID]
		if p != nil && at > p.Due.Add(gap) {
			cut(p, at, true)
			p = nil
		}
		if p == nil {
			p = &schema.Part{UserID: click.UserID, SessionStart: at}
			open[click.UserID] = p
		}
		p.Due, p.Clicks = at, append(p.Clicks, click)
		if len(p.Clicks) > len(parts)%2 {
			cut(p, at, false)
		}
	}
}

// exactWorld is a learner whose versions a replica follows over NATS.
type exactWorld struct {
	t       *testing.T
	known   *knownParts
	learner *learn.Learner
	pub     *publisher.Publisher
	replica *replica.Replica
	now     atomic.Int64 // the replica's clock, ms
	// frozen is the model of the newest version with weights, with the learner's tables.
	frozen *model.Model
	cfg    learn.Config

	compared, bitEqual, swapped, cold, inSession, first int
	most                                                float64
}

func newExactWorld(t *testing.T, cfg learn.Config, parts []schema.Part) *exactWorld {
	t.Helper()
	w := &exactWorld{t: t, known: &knownParts{parts: parts}, cfg: cfg}
	var err error
	if w.learner, err = learn.New(cfg, w.known); err != nil {
		t.Fatal(err)
	}
	server, err := embed.StartNATS(embed.NATSConfig{StoreDir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	connect := func(name string) jetstream.JetStream {
		nc, js, err := publisher.Connect(server.URL(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return js
	}
	quiet := slog.New(slog.DiscardHandler)
	w.pub, err = publisher.New(t.Context(), connect("trainer"), publisher.Config{Model: "shop", ID: "t", BaseEvery: 7, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w.replica, err = replica.New(replica.Config{ID: "r", Model: "shop", MaxJitter: -1, Gap: cfg.Gap, Log: quiet,
		Now: func() time.Time { return time.UnixMilli(w.now.Load()) }}, w.known)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	js := connect("replica")
	go func() { ended <- w.replica.Run(ctx, js) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// publish makes a version of what was learned from the first parts, and returns when the replica serves it, and whether it has weights.
func (w *exactWorld) publish(through int, weights bool) bool {
	w.t.Helper()
	kind := w.pub.NextKind()
	weights = weights || kind == schema.KindBase || !w.cfg.Model.Terms
	u := publisher.Update{Kind: kind, ConfigDigest: w.cfg.Model.Digest(),
		TrainedThrough: schema.TrainedThrough{EventTime: w.known.parts[through-1].Due, Positions: schema.Position{0: schema.Emit(through)}}}
	var objects []model.Object
	if w.cfg.Model.Terms {
		var err error
		if objects, err = w.learner.Live().Publish(kind == schema.KindBase); err != nil {
			w.t.Fatal(err)
		}
	}
	if weights {
		objects = append(objects, w.learner.Model().Snapshot(kind == schema.KindBase, w.learner.Live().Log2).Objects()...)
		tables, err := w.learner.Model().Tables()
		if err != nil {
			w.t.Fatal(err)
		}
		all := map[string]schema.Table{}
		for _, n := range tables {
			all[n.Name] = n.Table
		}
		if w.frozen, err = model.Restore(w.cfg.Model, all); err != nil {
			w.t.Fatal(err)
		}
		w.frozen.Attach(w.learner.Live())
	}
	u.Items = w.frozen.Items()
	for _, o := range objects {
		u.Objects = append(u.Objects, publisher.Object{Name: o.Name, Table: o.Table})
	}
	w.now.Store(int64(w.known.parts[through-1].Due))
	m, err := w.pub.Publish(w.t.Context(), u)
	if err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the version is adopted", func() error {
		if now, ok := w.replica.Current(); !ok || now.Version != m.Version {
			return fmt.Errorf("version %d is served, not %d", now.Version, m.Version)
		}
		return nil
	})
	return weights
}

// ask returns what the replica answers to the user of a part at the part's first moment.
func (w *exactWorld) ask(p *schema.Part, k int) (items []replica.Item) {
	w.t.Helper()
	w.known.until = int(p.Emit)
	w.now.Store(int64(p.Clicks[0].EventTime))
	rec := httptest.NewRecorder()
	q := url.Values{"user_id": {p.UserID}, "k": {fmt.Sprint(k)}, "scene": {p.Clicks[0].Scene}}
	w.replica.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/recommend?"+q.Encode(), nil))
	var answer replica.Answer
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != 200 {
		w.t.Fatalf("%d %v: %s", rec.Code, err, rec.Body)
	}
	return answer.Items
}

// tops is what the trainer itself would recommend: the learner's own test of the part where its weights are those of the version, else the model of the version
// with the tables of now.
func (w *exactWorld) tops(p *schema.Part, weights bool, k int) []model.ScoredRow {
	w.t.Helper()
	m := w.frozen
	tested := slices.ContainsFunc(p.Clicks, func(c schema.Click) bool { // else there is nothing to predict
		_, known := m.Row(c.ItemID)
		return known && m.Counts(c.Action)
	})
	if weights && tested {
		m = w.learner.Model()
		b, err := w.learner.Prepare([]schema.Part{*p}, w.cfg.HistoryParts)
		if err != nil {
			w.t.Fatal(err)
		}
		w.learner.Test(b)
	} else {
		e := model.Example{At: p.Clicks[0].EventTime, Scene: p.Clicks[0].Scene, User: p.UserID}
		var earlier, session []model.Row
		past, _ := w.known.History(0, p.UserID, p.Emit, w.cfg.HistoryParts)
		for _, before := range past {
			if s := m.SessionOf(before.Clicks); len(s.Events) > 0 {
				e.Past = append(e.Past, s)
			}
			for _, c := range before.Clicks {
				if row, ok := m.Row(c.ItemID); ok && c.Action != schema.ActionExposure {
					if before.SessionStart == p.SessionStart {
						session = append(session, row)
					} else {
						earlier = append(earlier, row)
					}
				}
			}
		}
		e.Marks = w.learner.Live().Marks(nil, baseline.Request{Clicks: append(earlier, session...), Begin: len(earlier),
			Session: baseline.SessionKey(p.UserID, p.SessionStart), Now: e.At, Kinds: baseline.AllKinds})
		m.Forward([]model.Example{e})
	}
	_, tops := m.Judge(m.Items(), k, 1)
	return tops[0]
}

// compare asks for the user of a part on both sides.
func (w *exactWorld) compare(p *schema.Part, weights bool) {
	w.t.Helper()
	if len(p.Clicks) == 0 || p.Clicks[0].Action == schema.ActionExposure {
		return // not a request of its own
	}
	const k = 50
	got := w.ask(p, k)
	past, _ := w.known.History(0, p.UserID, p.Emit, w.cfg.HistoryParts)
	reads := slices.ContainsFunc(past, func(b schema.Part) bool { return len(w.frozen.SessionOf(b.Clicks).Events) > 0 })
	if from := got[0].Source == replica.SourceModel; from != reads {
		w.t.Fatalf("part %d: the answer is from the model: %v, and it has something to read: %v", p.Emit, from, reads)
	}
	if !reads {
		w.cold++
		if !w.cfg.Model.Terms {
			return // as popular as when the rows were published
		}
		list := w.learner.Live().Votes(baseline.Request{}).Top(nil, baseline.ArmPopular1)
		list = slices.DeleteFunc(list, func(s baseline.Scored) bool { return int(s.Row) >= w.frozen.Items() })
		for i, item := range got {
			row, _ := w.frozen.Row(item.ItemID)
			if i < len(list) && row != list[i].Row || i >= len(list) && w.learner.Live().Clicks(row) > 0 {
				w.t.Fatalf("part %d: place %d of the popular items is row %d, the tables have %v", p.Emit, i, row, list)
			}
		}
		return
	}
	if slices.ContainsFunc(past, func(b schema.Part) bool { return b.SessionStart == p.SessionStart }) {
		w.inSession++
	} else {
		w.first++
	}
	want := w.tops(p, weights, k)
	if len(got) != len(want) {
		w.t.Fatalf("part %d: %d items, want %d", p.Emit, len(got), len(want))
	}
	for i, item := range got {
		w.compared++
		if item.Score == want[i].Score {
			w.bitEqual++
		}
		row, _ := w.frozen.Row(item.ItemID)
		own := want[i]
		if own.Row != row { // two that differ by less than the sums do may change places, also with the first behind the list
			w.swapped++
			if at := slices.IndexFunc(want, func(s model.ScoredRow) bool { return s.Row == row }); at >= 0 {
				own = want[at]
			} else {
				own = want[k-1]
			}
		}
		far := max(math.Abs(float64(item.Score-want[i].Score)), math.Abs(float64(item.Score-own.Score))) / max(1, math.Abs(float64(own.Score)))
		w.most = max(w.most, far)
		if far > 1e-5 {
			w.t.Fatalf("part %d, place %d: the replica has %s with %v, the trainer %s with %v", p.Emit, i, item.ItemID, item.Score, w.frozen.ID(want[i].Row), want[i].Score)
		}
	}
}

// TestReplicaScoresAsTheTrainerDoes publishes every few batches, bases and deltas, some with the live tables alone, and asks a replica that adopted each by the real
// protocol for the users of the next parts: the same items in the same order as the trainer's own test of them finds, with scores within 1e-5 of their size. They are not
// all the same bits, because the two add in another order: the trainer multiplies the weights of the terms with all items at once, a replica goes term by term.
func TestReplicaScoresAsTheTrainerDoes(t *testing.T) {
	for name, set := range map[string]func(c *learn.Config){
		"default":    func(*learn.Config) {},
		"neighbours": func(c *learn.Config) { c.Baseline.Neighbours, c.Model.Cosine = true, true },
		"exposures":  func(c *learn.Config) { c.Model.Exposures, c.Baseline.EarlierTransitions = true, true },
		"no terms":   func(c *learn.Config) { c.Model.Terms = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := learn.DefaultConfig()
			cfg.Gap, cfg.HistoryParts = 4*time.Minute, 8
			cfg.Model.MaxSessions = cfg.HistoryParts
			cfg.Model.Dim, cfg.Model.NegativesUniform, cfg.Model.NegativesRecent = 16, 32, 32
			set(&cfg)
			exposures := 0. // with them every session begins with one
			if cfg.Model.Exposures {
				exposures = 0.25
			}
			parts := shopParts(t, 2500, exposures, cfg.Gap)
			w := newExactWorld(t, cfg, parts)
			const batch = 16
			alone := 0
			for version, from := 0, 0; from+2*batch < len(parts); from += batch {
				b, err := w.learner.Prepare(parts[from:from+batch], cfg.HistoryParts)
				if err != nil {
					t.Fatal(err)
				}
				w.learner.Train(b, recency.Decision{Keep: 1})
				if from/batch%4 != 0 {
					continue
				}
				weights := w.publish(from+batch, version%3 != 1)
				version++
				if !weights {
					alone++
				}
				for i := range batch {
					if p := &parts[from+batch+i]; !slices.ContainsFunc(parts[from+batch:p.Emit], func(b schema.Part) bool { return b.UserID == p.UserID }) {
						w.compare(p, weights)
					}
				}
			}
			t.Logf("%d scores, %d of them the same bits, the others within %.1e, %d in another place; %d requests in a session, %d at its first click, %d cold; %d versions of tables alone",
				w.compared, w.bitEqual, w.most, w.swapped, w.inSession, w.first, w.cold, alone)
			if w.swapped > w.compared/1000 || w.inSession < 20 || exposures == 0 && w.first < 10 || w.cold == 0 || cfg.Model.Terms && alone < 3 {
				t.Error("too little was compared, or too much in another place")
			}
		})
	}
}
