package buffer

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

var verbose = flag.Bool("pebble-metrics", false, "log the metrics of Pebble behind a benchmark")

// shop makes clicks like those of the simulated shop, about 250 bytes of JSON each: many users at once, who think for a
// while between clicks and leave after five on average.
type shop struct {
	random *rand.Rand
	active []visit
	users  int
	now    float64 // ms
	step   float64
	events int
	click  schema.Click
	text   []byte
}

type visit struct{ user, session int }

const benchNoon schema.EventTime = 1_700_000_000_000

// newShop returns a shop with so many users there at a time, of so many that there are; each clicks every 20 s.
func newShop(active, users int) *shop {
	s := &shop{random: rand.New(rand.NewPCG(3, 3)), active: make([]visit, active), users: users, step: 20_000 / float64(active)}
	for i := range s.active {
		s.active[i] = visit{s.random.IntN(users), i}
	}
	return s
}

// id returns a letter and a number, in memory that the next click uses again.
func (s *shop) id(letter byte, n int) string {
	from := len(s.text)
	s.text = strconv.AppendInt(append(s.text, letter), int64(n), 10)
	return string(s.text[from:])
}

func (s *shop) next() *schema.Click {
	s.text = s.text[:0]
	s.events++
	s.now += s.step * 2 * s.random.Float64()
	v := &s.active[s.random.IntN(len(s.active))]
	item := s.random.IntN(50_000)
	at := benchNoon + schema.EventTime(s.now)
	s.click = schema.Click{
		UserID: s.id('u', v.user), ItemID: s.id('i', item), EventTime: at, Action: schema.ActionClick,
		EventID: s.id('e', s.events), SessionID: s.id('s', v.session), Scene: "detail",
		Item:    schema.ItemInfo{Category: s.id('c', item%300), Seller: s.id('m', item%2000), Price: float64(item%9999) / 100},
		Context: append(s.click.Context[:0], `{"oracle_rank":17}`...), ArrivedAt: schema.ArrivalTime(at) + 120,
	}
	if s.random.IntN(5) == 0 {
		*v = visit{s.random.IntN(s.users), s.events}
	}
	return &s.click
}

// BenchmarkCommit measures what the store does per click, with the windows that it serves: journal, log, index, snapshots
// and what Pebble makes of them. One iteration is a synced commit of 1000 clicks; 1000 iterations are a million clicks, at
// about 200000 open sessions. store-ns/click is the time in Commit and Snapshot, cpu-ns/click the processor time of it all,
// with the clicks, their windows, and what Pebble does meanwhile; the bytes are those that Pebble has
// written by the end, with its compactions.
func BenchmarkCommit(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		b.Run(where, func(b *testing.B) {
			dir, fs := "store", Memory()
			if where == "disk" {
				dir, fs = b.TempDir(), nil
			}
			s, err := Open(dir, Options{FS: fs})
			must(b, err)
			defer s.Close()
			w, err := s.Load(0, window.DefaultConfig())
			must(b, err)
			clicks := newShop(20_000, 2_000_000)
			inStore, journal, parts := time.Duration(0), 0, 0
			const size = 1000
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			for i := range b.N {
				c := Commit{NextOffset: schema.Offset(i+1) * size}
				for range size {
					emitted, _ := w.Add(clicks.next())
					c.add(emitted)
				}
				c.Window, c.Journal = w.Meta(), w.Journal()
				journal, parts = journal+len(c.Journal), parts+len(c.Entries)
				from := time.Now()
				must(b, s.Commit(c))
				w.Committed()
				if s.SnapshotDue(0) {
					must(b, s.Snapshot(0, w))
				}
				inStore += time.Since(from)
			}
			b.StopTimer()
			n := float64(b.N * size)
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/n, "cpu-ns/click")
			b.ReportMetric(n/b.Elapsed().Seconds(), "clicks/s")
			b.ReportMetric(float64(inStore.Nanoseconds())/n, "store-ns/click")
			b.ReportMetric(float64(parts)/n, "parts/click")
			b.ReportMetric(float64(w.OpenSessions()), "sessions")
			must(b, s.db.Flush())
			for s.db.Metrics().Compact.NumInProgress > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			m := s.db.Metrics()
			total := m.Total()
			b.ReportMetric(float64(journal)/n, "journal-B/click")
			b.ReportMetric(float64(s.Totals().LogBytes)/n, "log-B/click")
			b.ReportMetric(float64(m.WAL.BytesWritten)/n, "wal-B/click")
			b.ReportMetric(float64(total.BytesFlushed-total.BytesIn)/n, "flush-B/click")
			b.ReportMetric(float64(total.BytesCompacted)/n, "compact-B/click")
			b.ReportMetric(float64(total.BytesFlushed+total.BytesCompacted)/n, "pebble-B/click")
			if *verbose {
				b.Log("\n" + m.String())
			}
		})
	}
}

// BenchmarkHistory measures what a trainer asks for with every part: the last 8 parts of a user, of 10000 users with 20
// parts of 3 clicks each.
func BenchmarkHistory(b *testing.B) {
	s, err := Open("store", Options{FS: Memory()})
	must(b, err)
	defer s.Close()
	const users, parts = 10_000, 20
	for i := range parts {
		c := Commit{Partition: 1}
		for u := range users {
			c.Entries = append(c.Entries, partOf(fmt.Sprint("user", u), schema.EventTime(i), 3))
		}
		must(b, s.Commit(c))
	}
	must(b, s.db.Flush())
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		history, err := s.History(1, fmt.Sprint("user", i*7919%users), users*parts*3/4, 8)
		must(b, err)
		if len(history) != 8 {
			b.Fatalf("%d parts", len(history))
		}
	}
}

// BenchmarkRestart measures how long a start takes with a million open sessions of two clicks: to open the directory and
// to load the windows, with as much journal behind the snapshot as there may be.
func BenchmarkRestart(b *testing.B) {
	const sessions, size = 1_000_000, 1000
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	must(b, err)
	w, err := s.Load(0, window.DefaultConfig())
	must(b, err)
	var click schema.Click
	n := 0
	for more := true; more; {
		c := Commit{}
		for range size {
			at := benchNoon + schema.EventTime(n)*1_700_000/(2*sessions) // all of them within the gap
			click = schema.Click{
				UserID: fmt.Sprintf("u%d", n*7919%sessions), ItemID: "i12345", EventTime: at, Action: schema.ActionClick, EventID: fmt.Sprintf("e%d", n),
				SessionID: "s12345", Scene: "detail", Item: schema.ItemInfo{Category: "c17", Seller: "m123", Price: 12.5}, ArrivedAt: schema.ArrivalTime(at),
			}
			parts, _ := w.Add(&click)
			c.add(parts)
			n++
		}
		c.NextOffset, c.Window, c.Journal = schema.Offset(n), w.Meta(), w.Journal()
		must(b, s.Commit(c))
		w.Committed()
		h, _ := s.header(0)
		more = n < 2*sessions || s.state(0).journalBytes < max(snapshotBytes, h.bytes)*19/20
		if more && s.SnapshotDue(0) {
			must(b, s.Snapshot(0, w))
		}
	}
	h, _ := s.header(0)
	journal := s.state(0).journalBytes
	must(b, s.Close())
	b.ResetTimer()
	for range b.N {
		s, err := Open(dir, Options{})
		must(b, err)
		again, err := s.Load(0, window.DefaultConfig())
		must(b, err)
		if again.OpenSessions() != w.OpenSessions() {
			b.Fatalf("%d sessions", again.OpenSessions())
		}
		must(b, s.Close())
	}
	b.ReportMetric(float64(h.bytes)/1e6, "snapshot-MB")
	b.ReportMetric(float64(journal)/1e6, "journal-MB")
	b.ReportMetric(float64(w.OpenSessions()), "sessions")
}
