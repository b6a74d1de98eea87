package ingest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
	"unsafe"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// visits makes records of n users who all come once in 20 minutes of event time, so that n sessions stay open, and click
// some times then. A record holds its number: decoding is left out, it is the format's cost.
type visits struct {
	n, clicks int
	step      float64 // ms from one click to the next
	next      int
	values    []byte
	user      []byte
}

func newVisits(n, clicks int) *visits {
	return &visits{n: n, clicks: clicks, step: 20 * 60_000 / float64(n*clicks)}
}

func (v *visits) time(i int) schema.EventTime { return noon + schema.EventTime(float64(i)*v.step) }

func (v *visits) decode(r source.Record, c *schema.Click) error {
	i := int(binary.LittleEndian.Uint64(r.Value))
	v.user = strconv.AppendInt(append(v.user[:0], "user-"...), int64(i/v.clicks*7919%v.n+10_000_000), 10)
	c.UserID, c.EventID = unsafe.String(unsafe.SliceData(v.user), len(v.user)), unsafe.String(unsafe.SliceData(r.Value), len(r.Value))
	c.ItemID, c.Action, c.EventTime = "item-123", schema.ActionClick, v.time(i)
	return nil
}

// batch returns the next records. It is valid until the next call.
func (v *visits) batch(records []source.Record) source.Batch {
	v.values = v.values[:0]
	for range records {
		v.values = binary.LittleEndian.AppendUint64(v.values, uint64(v.next))
		v.next++
	}
	first := v.next - len(records)
	for i := range records {
		at := v.time(first + i)
		records[i] = source.Record{Offset: schema.Offset(first + i), ArrivedAt: schema.ArrivalTime(at), Value: v.values[8*i : 8*i+8]}
	}
	return source.Batch{Records: records, Next: schema.Offset(v.next), HighWatermark: schema.Offset(v.next)}
}

// BenchmarkApply measures clicks through windows and synced commits, batches of 1000, with n sessions open. One click a
// visit is the worst case: each is a session, a part, and an empty final part.
func BenchmarkApply(b *testing.B) {
	const size = 1000
	for _, where := range []string{"memory", "disk"} {
		for _, clicks := range []int{1, 5} {
			for _, n := range []int{10_000, 100_000, 1_000_000} {
				b.Run(fmt.Sprintf("%s/visit=%d/open=%d", where, clicks, n), func(b *testing.B) {
					dir, fs := "store", buffer.Memory()
					if where == "disk" {
						dir, fs = b.TempDir(), nil
					}
					s, err := buffer.Open(dir, buffer.Options{FS: fs})
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					v := newVisits(n, clicks)
					o := ingest.DefaultOptions("clicks")
					o.Window.MaxOpenSessions = 0
					node, err := ingest.New(s, v.decode, o)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := node.Assign(context.Background(), 0); err != nil {
						b.Fatal(err)
					}
					records := make([]source.Record, size)
					apply := func() {
						if err := node.Apply(context.Background(), 0, v.batch(records)); err != nil {
							b.Fatal(err)
						}
					}
					for v.next < n*clicks {
						apply()
					}
					b.ReportAllocs()
					b.ResetTimer()
					for range b.N {
						apply()
					}
					b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "clicks/s")
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/click")
					b.ReportMetric(float64(node.Stats().Partitions[0].Sessions), "sessions")
				})
			}
		}
	}
}
