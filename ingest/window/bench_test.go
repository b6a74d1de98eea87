package window_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// visits makes clicks of n users, each of whom comes once in 20 minutes, so that all their sessions stay open. The strings
// of a click lie in a buffer that the next one overwrites, as those of a decoder do.
type visits struct {
	n     int
	step  float64 // ms from one click to the next
	early float64 // the share of clicks that come up to four seconds after later ones
	user  []byte
	event []byte
	click schema.Click
}

func newVisits(n int) *visits {
	v := &visits{n: n, step: 20 * 60_000 / float64(n)}
	v.click = schema.Click{ItemID: "item-1234567", Action: schema.ActionClick}
	return v
}

// number returns the number in the user id of click i.
func (v *visits) number(i int) int64 { return int64(i*7919%v.n + 10_000_000) }

// next returns click number i. It is valid until the next call.
func (v *visits) next(i int) *schema.Click {
	t := int64(float64(i) * v.step)
	if v.early > 0 && i%20 == 19 {
		t -= int64(i % 4001)
	}
	v.user = strconv.AppendInt(append(v.user[:0], "user-"...), v.number(i), 10)
	v.event = strconv.AppendInt(append(v.event[:0], "e-"...), int64(i+1_000_000), 10)
	c := &v.click
	c.UserID = unsafe.String(unsafe.SliceData(v.user), len(v.user))
	c.EventID = unsafe.String(unsafe.SliceData(v.event), len(v.event))
	c.EventTime = schema.EventTime(1_700_000_000_000 + t)
	c.ArrivedAt = schema.ArrivalTime(c.EventTime + 250)
	return c
}

// BenchmarkAdd measures a click while n sessions are open: the cost must be flat in n but for the memory's own. Each click
// of the early case is also a part.
func BenchmarkAdd(b *testing.B) {
	for _, parts := range []string{"early", "whole"} {
		for _, order := range []string{"ordered", "jumbled"} {
			for _, n := range []int{10_000, 100_000, 1_000_000} {
				b.Run(fmt.Sprintf("%s/%s/open=%d", parts, order, n), func(b *testing.B) {
					c := window.DefaultConfig()
					c.MaxOpenSessions = 0
					if parts == "whole" {
						c.PartAge, c.PartClicks = 0, 0
					}
					w, err := window.New(c)
					if err != nil {
						b.Fatal(err)
					}
					v := newVisits(n)
					if order == "jumbled" {
						v.early = 0.05
					}
					done, emitted := 0, 0
					add := func(count int) {
						for range count {
							parts, _ := w.Add(v.next(done))
							emitted += len(parts)
							if done++; done%1000 == 0 {
								w.Committed()
							}
						}
					}
					add(2 * n) // until the first ones have come again, and the memory is what it will be
					emitted = 0
					b.ReportAllocs()
					b.ResetTimer()
					add(b.N)
					b.StopTimer()
					if open := w.OpenSessions(); open < n*9/10 {
						b.Fatalf("%d sessions are open, want about %d", open, n)
					}
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "clicks/s")
					b.ReportMetric(float64(emitted)/float64(b.N), "parts/click")
				})
			}
		}
	}
}

// BenchmarkAddAhead measures the same click, each also a part, where its user is known sixteen clicks before and where it is
// not, in turn in one run.
func BenchmarkAddAhead(b *testing.B) {
	const run = 16 * 2000
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("open=%d", n), func(b *testing.B) {
			c := window.DefaultConfig()
			c.MaxOpenSessions = 0
			w, err := window.New(c)
			if err != nil {
				b.Fatal(err)
			}
			v, done := newVisits(n), 0
			keys := make([][]byte, 16)
			add := func(count int, ahead bool) time.Duration {
				start := time.Now()
				for i := range count {
					if i%len(keys) == 0 {
						for k := range keys {
							keys[k] = strconv.AppendInt(append(keys[k][:0], "user-"...), v.number(done+k), 10)
						}
						if ahead {
							w.Expect(keys)
						}
					}
					w.Add(v.next(done))
					if done++; done%1000 == 0 {
						w.Committed()
					}
				}
				return time.Since(start)
			}
			add(2*n, false)
			var took [2]time.Duration
			b.ResetTimer()
			for range b.N {
				took[0] += add(run, false)
				took[1] += add(run, true)
			}
			b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N*run), "alone-ns/click")
			b.ReportMetric(float64(took[1].Nanoseconds())/float64(b.N*run), "ahead-ns/click")
		})
	}
}

// BenchmarkAddFull measures clicks that each close a session to open another one.
func BenchmarkAddFull(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("open=%d", n), func(b *testing.B) {
			c := window.DefaultConfig()
			c.MaxOpenSessions = n
			w, err := window.New(c)
			if err != nil {
				b.Fatal(err)
			}
			v := newVisits(2 * n)
			done, closed := 0, 0
			add := func(count int) {
				for range count {
					parts, _ := w.Add(v.next(done))
					for i := range parts {
						if parts[i].Cause == schema.CauseFull {
							closed++
						}
					}
					if done++; done%1000 == 0 {
						w.Committed()
					}
				}
			}
			add(2 * n)
			closed = 0
			b.ReportAllocs()
			b.ResetTimer()
			add(b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "clicks/s")
			b.ReportMetric(float64(closed)/float64(b.N), "closed/click")
		})
	}
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill opens n sessions of two clicks, a minute apart, in w.
func fill(w *window.Windower, n int) {
	v := newVisits(n)
	for i := range 2 * n {
		w.Add(v.next(i)) // step is by n, so the second click is 20 minutes later
		if i%1000 == 0 {
			w.Committed()
		}
	}
	w.Committed()
}

// BenchmarkMemory reports what an open session of two clicks takes, all included.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for _, age := range []time.Duration{0, window.DefaultConfig().PartAge} {
		b.Run(fmt.Sprintf("part_age=%v", age), func(b *testing.B) {
			for b.Loop() {
				c := window.DefaultConfig()
				if c.PartAge = age; age == 0 {
					c.PartClicks = 0
				}
				before := heap()
				w, err := window.New(c)
				if err != nil {
					b.Fatal(err)
				}
				fill(w, n)
				b.ReportMetric(float64(heap()-before)/float64(w.OpenSessions()), "B/session")
				b.ReportMetric(float64(w.Meta().Counts.Pending())/float64(w.OpenSessions()), "pending/session")
				start := time.Now()
				runtime.GC()
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "gc-ms")
				runtime.KeepAlive(w)
			}
		})
	}
}

// BenchmarkRestore measures the way of a million sessions into pages and back.
func BenchmarkRestore(b *testing.B) {
	const n = 1_000_000
	c := window.DefaultConfig()
	c.PartAge, c.PartClicks = 0, 0
	w, err := window.New(c)
	if err != nil {
		b.Fatal(err)
	}
	fill(w, n)
	var pages [][]byte
	var paging time.Duration
	size := 0
	for b.Loop() {
		pages, size = pages[:0], 0
		start := time.Now()
		err := w.Pages(256<<10, func(page []byte) error {
			pages = append(pages, slices.Clone(page))
			size += len(page)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		paging += time.Since(start)
		back, err := window.Restore(c, w.Meta(), func(yield func([]byte, error) bool) {
			for _, page := range pages {
				if !yield(page, nil) {
					return
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		if back.OpenSessions() != w.OpenSessions() {
			b.Fatalf("%d sessions came back of %d", back.OpenSessions(), w.OpenSessions())
		}
	}
	b.ReportMetric(float64(size)/float64(w.OpenSessions()), "page-B/session")
	b.ReportMetric(paging.Seconds()/float64(b.N), "pages-s")
	b.ReportMetric((b.Elapsed()-paging).Seconds()/float64(b.N), "restore-s")
}
