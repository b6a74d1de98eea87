package replica_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// faultWorld is a NATS server, a trainer that reaches it, and a replica that does so through a proxy and answers callers all the time.
type faultWorld struct {
	*testing.T
	*trainee
	dir    string
	port   int
	server *server.Server
	js     jetstream.JetStream // the trainer's
	p      *publisher.Publisher
	link   *proxy
	nc     *nats.Conn // the replica's
	r      *replica.Replica
	blind  atomic.Int64 // times that the replica could not see the head
	asked  *polled
}

func newFaultWorld(t *testing.T, items int) *faultWorld {
	w := &faultWorld{T: t, trainee: newTrainee(t, items), dir: t.TempDir()}
	w.server = natstest.Start(t, w.dir, 0)
	w.port = natstest.Port(w.server)
	w.js = dial(t, w.server)
	w.p = newPublisher(t, w.js, impatient)
	w.link = newProxy(t, w.server.Addr().String())
	nc, js := dialImpatiently(t, w.link.url())
	w.nc = nc
	cfg := config("r1")
	cfg.Log = slog.New(seen{slog.DiscardHandler, "cannot see the head", &w.blind})
	w.r, _ = start(t, cfg, js, nil)
	w.publishAndServe()
	w.publishAndServe()
	w.asked = poll(t, w.r)
	return w
}

// dialImpatiently connects as a replica does, but what takes a minute in earnest takes no time.
func dialImpatiently(t testing.TB, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, js, err := publisher.Connect(url, "test", nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0), nats.Timeout(500*time.Millisecond),
		nats.PingInterval(50*time.Millisecond), nats.MaxPingsOutstanding(2), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	natstest.CloseAtEnd(t, nc)
	return nc, js
}

// seen counts the records of a log that contain some words.
type seen struct {
	slog.Handler
	words string
	n     *atomic.Int64
}

func (s seen) Enabled(context.Context, slog.Level) bool { return true }
func (s seen) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, s.words) {
		s.n.Add(1)
	}
	return nil
}

func (w *faultWorld) publishAndServe() {
	w.Helper()
	serves(w, w.r, w.publish(w, w.p).Version)
	w.answers("after an adoption")
}

// answers demands that the replica answers as the trainee's newest version does.
func (w *faultWorld) answers(when string) {
	w.Helper()
	if diff := cmp.Diff(expected(w.direct, 10, "i1", "i2"), ask(w, w.r.Handler(), body(10, "i1", "i2")).Items); diff != "" {
		w.Errorf("%s (-direct +replica):\n%s", when, diff)
	}
}

// untilBase publishes until a base is adopted, and past it.
func (w *faultWorld) untilBase() {
	w.Helper()
	for {
		m := w.publish(w, w.p)
		if m.Kind == schema.KindBase {
			serves(w, w.r, m.Version)
			return
		}
	}
}

// behind publishes the next version while the replica cannot see it, lets damage be done to it, and waits for the refusal.
func (w *faultWorld) behind(reason replica.Reason, damage func(m schema.Manifest)) {
	w.Helper()
	w.link.cut()
	damage(w.publish(w, w.p))
	w.link.stallAfter(unbounded)
	w.refused(reason)
}

func (w *faultWorld) refused(reason replica.Reason) {
	w.Helper()
	eventually(w, "it is refused as "+string(reason), func() bool { return strings.HasPrefix(refused(w.T, w.r), string(reason)+": ") })
}

// bucket holds the objects.
func (w *faultWorld) bucket() jetstream.ObjectStore {
	w.Helper()
	b, err := w.js.ObjectStore(w.Context(), publisher.ObjectsBucket)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// impatient is how a trainer publishes here: what it waits between attempts is of no interest.
func impatient(c *publisher.Config) {
	c.Backoff = publisher.Backoff{First: time.Millisecond, Most: 10 * time.Millisecond}
}

func (w *faultWorld) takeOver(change func(*publisher.Config)) { w.p = newPublisher(w, w.js, change) }

// In every fault the replica goes on serving its last good version, and when the fault is over it serves the newest.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		items  int
		strike func(w *faultWorld) // returns once the fault is felt
		heal   func(w *faultWorld) // nothing = the next version heals
	}{
		{"NATS is down for long, and comes back with its data", 20, func(w *faultWorld) {
			natstest.Stop(w.server)
			before := w.blind.Load()
			// Ten minutes are 30 attempts at the default backoff.
			eventually(w, "the replica has looked for NATS for long", func() bool { return w.blind.Load() >= before+40 })
		}, func(w *faultWorld) { w.restart(w.dir) }},
		{"NATS is down for long, and comes back with nothing", 20, func(w *faultWorld) {
			natstest.Stop(w.server)
			before := w.blind.Load()
			eventually(w, "the replica has looked for NATS for long", func() bool { return w.blind.Load() >= before+40 })
		}, func(w *faultWorld) { w.restart(w.TempDir()) }},
		{"NATS is half open", 20, func(w *faultWorld) {
			w.link.stallAfter(0)
			w.publish(w, w.p)
			eventually(w, "the silence is noticed", func() bool { return !w.nc.IsConnected() })
		}, func(w *faultWorld) {
			w.link.stallAfter(unbounded)
			serves(w, w.r, w.p.Last().Version)
		}},
		{"NATS stalls in the middle of an object", 3000, func(w *faultWorld) {
			w.link.stallAfter(30_000) // of some 100 kB
			w.publish(w, w.p)
			eventually(w, "the silence is noticed", func() bool { return !w.nc.IsConnected() })
		}, func(w *faultWorld) {
			w.link.stallAfter(unbounded)
			serves(w, w.r, w.p.Last().Version)
		}},
		{"an object is lost", 20, func(w *faultWorld) {
			w.behind(replica.ReasonMissing, func(m schema.Manifest) {
				if err := w.bucket().Delete(w.Context(), m.Objects[0].Name); err != nil {
					w.Fatal(err)
				}
			})
		}, (*faultWorld).untilBase},
		{"the chunks of an object are lost", 20, func(w *faultWorld) {
			w.behind(replica.ReasonTruncated, func(m schema.Manifest) {
				info, err := w.bucket().GetInfo(w.Context(), m.Objects[0].Name)
				if err != nil {
					w.Fatal(err)
				}
				stream, err := w.js.Stream(w.Context(), "OBJ_"+publisher.ObjectsBucket)
				if err == nil {
					err = stream.Purge(w.Context(), jetstream.WithPurgeSubject("$O."+publisher.ObjectsBucket+".C."+info.NUID))
				}
				if err != nil {
					w.Fatal(err)
				}
			})
		}, (*faultWorld).untilBase},
		{"an object is corrupted", 20, func(w *faultWorld) {
			w.behind(replica.ReasonDigest, func(m schema.Manifest) {
				o := m.Objects[0]
				if _, err := w.bucket().PutBytes(w.Context(), o.Name, make([]byte, o.Bytes)); err != nil {
					w.Fatal(err)
				}
			})
		}, (*faultWorld).untilBase},
		{"the head names what is nowhere", 20, func(w *faultWorld) {
			m := w.p.Last()
			m.Version, m.Parent = 50, 49
			b, err := json.Marshal(m)
			if err != nil {
				w.Fatal(err)
			}
			forger{w.T, w.js}.put(publisher.HeadsBucket, "shop", b)
			w.refused(replica.ReasonMissing)
		}, func(w *faultWorld) { w.takeOver(nil) }},
		{"the head is gone", 20, func(w *faultWorld) {
			heads, err := w.js.KeyValue(w.Context(), publisher.HeadsBucket)
			if err == nil {
				err = heads.Purge(w.Context(), "shop")
			}
			if err != nil {
				w.Fatal(err)
			}
		}, func(w *faultWorld) {
			eventually(w, "the publisher begins the line again", func() bool {
				_, err := w.p.Publish(w.Context(), w.update(w, w.p.NextKind()))
				return err == nil
			})
		}},
		{"the trainer is killed between objects and head", 20, func(w *faultWorld) {
			u := w.update(w, schema.KindDelta)
			m := w.p.Last()
			m.Version, m.Parent, m.Objects = m.Version+1, m.Version, nil
			for _, o := range u.Objects {
				b, err := o.Table.Bytes()
				if err != nil {
					w.Fatal(err)
				}
				name := schema.ObjectName("shop", sum(b))
				m.Objects = append(m.Objects, schema.Object{Table: o.Name, Name: name, Bytes: int64(len(b)), SHA256: sum(b)})
				putObject(w, w.js, name, b)
			}
			b, err := json.Marshal(m)
			if err != nil {
				w.Fatal(err)
			}
			forger{w.T, w.js}.put(publisher.ManifestsBucket, "shop.3", b)
		}, func(w *faultWorld) {
			w.takeOver(nil)
			if m := w.publish(w, w.p); m.Version <= 3 {
				w.Errorf("the next trainer publishes version %d again", m.Version)
			}
		}},
		{"two trainers", 20, func(w *faultWorld) {
			var lost atomic.Pointer[publisher.Publisher]
			var wg sync.WaitGroup
			rivals := []*publisher.Publisher{newPublisher(w, w.js, nil), newPublisher(w, w.js, nil)}
			u := w.update(w, schema.KindBase) // it may be published many times
			for _, p := range rivals {
				wg.Go(func() {
					for lost.Load() == nil {
						if _, err := p.Publish(w.Context(), u); errors.Is(err, publisher.ErrLine) {
							if !lost.CompareAndSwap(nil, p) {
								w.Error("both were refused")
							}
						}
					}
				})
			}
			wg.Wait()
			w.p = rivals[0]
			if lost.Load() == w.p {
				w.p = rivals[1]
			}
			serves(w, w.r, w.p.Last().Version)
		}, nil},
		{"the trainer's clock is hours ahead", 20, func(w *faultWorld) { w.skewed(7 * time.Hour) }, func(w *faultWorld) { w.takeOver(nil) }},
		{"the trainer's clock is hours behind", 20, func(w *faultWorld) { w.skewed(-7 * time.Hour) }, func(w *faultWorld) { w.takeOver(nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of them wait
			w := newFaultWorld(t, c.items)
			good, _ := w.r.Current()
			want := ask(w, w.r.Handler(), body(10, "i1", "i2")).Items
			w.asked.more()
			c.strike(w)
			w.asked.more()
			if m, _ := w.r.Current(); m.Version == good.Version {
				if diff := cmp.Diff(want, ask(w, w.r.Handler(), body(10, "i1", "i2")).Items); diff != "" {
					t.Errorf("the last good version answers something else (-before +during):\n%s", diff)
				}
			}
			if c.heal != nil {
				c.heal(w)
			}
			w.publishAndServe()
			w.publishAndServe()
			eventually(t, "the refusal is over", func() bool { return refused(t, w.r) == "" })
			w.asked.end()
		})
	}
}

// restart starts NATS again where it was, and publishes as soon as that is possible.
func (w *faultWorld) restart(dir string) {
	w.Helper()
	natstest.Start(w, dir, w.port)
	eventually(w, "the publisher publishes again", func() bool {
		_, err := w.p.Publish(w.Context(), w.update(w, w.p.NextKind()))
		return err == nil
	})
}

// skewed lets a trainer with another clock publish, and demands that nothing comes of it.
func (w *faultWorld) skewed(by time.Duration) {
	w.Helper()
	w.takeOver(func(c *publisher.Config) { c.Now = func() time.Time { return now.Add(by) } })
	u := w.update(w, w.p.NextKind())
	u.TrainedThrough.EventTime = u.TrainedThrough.EventTime.Add(by)
	serves(w, w.r, send(w, w.p, u).Version)
	w.answers("with another clock")
	if got, want := metric(w, w.r, `freshet_model_age_seconds{lane="stable"}`), max(0, -by.Seconds()); got != want {
		w.Errorf("the version is %v s old, want %v", got, want)
	}
}

// polled are callers over HTTP who ask all the time, one after the other.
type polled struct {
	t        *testing.T
	url      string
	answered atomic.Int64
	stop     context.CancelFunc
	done     chan struct{}
}

func poll(t *testing.T, r *replica.Replica) *polled {
	t.Helper()
	s := httptest.NewServer(r.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	p := &polled{t: t, url: s.URL, stop: cancel, done: make(chan struct{})}
	go p.run(ctx, s.Client())
	t.Cleanup(func() {
		p.end()
		s.Close()
	})
	return p
}

func (p *polled) run(ctx context.Context, client *http.Client) {
	defer close(p.done)
	var last schema.Version
	for ctx.Err() == nil {
		res, err := client.Post(p.url+"/v1/recommend", "application/json", strings.NewReader(body(10, "i1", "i2")))
		if err != nil {
			p.t.Error(err)
			return
		}
		var a replica.Answer
		err = json.NewDecoder(res.Body).Decode(&a)
		res.Body.Close()
		header := res.Header.Get(replica.HeaderVersion)
		switch v := a.Model.Version; {
		case err != nil || res.StatusCode != http.StatusOK || len(a.Items) != 10 || a.Model.AgeMillis < 0:
			p.t.Errorf("status %d, %v: %+v", res.StatusCode, err, a)
			return
		case header != strconv.FormatUint(uint64(v), 10) || v < last:
			p.t.Errorf("version %d, %s in the header, after version %d", v, header, last)
			return
		}
		last = a.Model.Version
		p.answered.Add(1)
	}
}

// more waits for some answers.
func (p *polled) more() {
	p.t.Helper()
	n := p.answered.Load()
	eventually(p.t, "callers are answered", func() bool { return p.answered.Load() >= n+10 || p.t.Failed() })
}

func (p *polled) end() {
	p.stop()
	<-p.done
}
