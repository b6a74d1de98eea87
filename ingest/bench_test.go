package ingest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// BenchmarkApply measures clicks through windows and synced commits, batches of 1000, with n sessions open. Decoding is
// left out: it is the format's cost. All users come once in 20 minutes of event time, so that n sessions stay open, and
// click so many times then. One click a visit is the worst case: each is a session, a part, and an empty final part.
func BenchmarkApply(b *testing.B) {
	const size = 1000
	for _, where := range []string{"memory", "disk"} {
		for _, c := range []struct{ n, visit int }{{10_000, 1}, {100_000, 1}, {10_000, 5}, {100_000, 5}} {
			n := c.n
			b.Run(fmt.Sprintf("%s/open=%d/visit=%d", where, n, c.visit), func(b *testing.B) {
				dir, fs := "store", buffer.Memory()
				if where == "disk" {
					dir, fs = b.TempDir(), nil
				}
				s, err := buffer.Open(dir, buffer.Options{FS: fs})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				users := make([]string, n)
				for i := range users {
					users[i] = fmt.Sprintf("user-%07d", i)
				}
				step := 20 * 60_000 / float64(n*c.visit)
				decode := func(r source.Record) (schema.Click, error) {
					i := binary.LittleEndian.Uint64(r.Value)
					at := noon + schema.EventTime(float64(i)*step)
					return schema.Click{UserID: users[int(i)/c.visit*7919%n], ItemID: "item-123", Action: schema.ActionClick, EventTime: at, EventID: string(r.Value)}, nil
				}
				node, err := ingest.New(s, decode, ingest.DefaultOptions("clicks"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := node.Assign(context.Background(), 0); err != nil {
					b.Fatal(err)
				}
				next := 0
				apply := func(records int) {
					batch := source.Batch{Records: make([]source.Record, records)}
					for i := range batch.Records {
						at := noon + schema.EventTime(float64(next)*step)
						batch.Records[i] = source.Record{Offset: schema.Offset(next), ArrivedAt: schema.ArrivalTime(at), Value: binary.LittleEndian.AppendUint64(nil, uint64(next))}
						next++
					}
					batch.Next, batch.HighWatermark = schema.Offset(next), schema.Offset(next)
					if err := node.Apply(context.Background(), 0, batch); err != nil {
						b.Fatal(err)
					}
				}
				for next < n*c.visit {
					apply(size)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					apply(size)
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "clicks/s")
				b.ReportMetric(float64(node.Stats().Partitions[0].Sessions), "sessions")
			})
		}
	}
}
