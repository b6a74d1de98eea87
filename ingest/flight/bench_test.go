package flight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

const (
	benchParts  = 100_000
	benchClicks = 5 // of a part
)

// benchStore has a log of parts with the fields that a shop sends.
func benchStore(b *testing.B) *buffer.Store {
	b.Helper()
	s, err := buffer.Open(b.TempDir(), buffer.Options{})
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	m := buffer.Meta{Window: window.Meta{Watermark: noon}}
	for m.NextEmit < benchParts {
		var some []buffer.Entry
		for range 1000 {
			i := int(m.NextEmit)
			at := noon + schema.EventTime(i*10)
			p := schema.Part{Emit: m.NextEmit, Due: at, UserID: fmt.Sprintf("user-%06d", i*7919%5000), SessionStart: at - 60_000, Cause: schema.CauseAge}
			for j := range benchClicks {
				p.Clicks = append(p.Clicks, schema.Click{
					ItemID: fmt.Sprintf("item-%05d", (i*7+j)%20000), EventTime: at - 50 + schema.EventTime(j), Action: schema.ActionClick,
					EventID: fmt.Sprintf("event-%09d", i*benchClicks+j), Scene: "home", Item: schema.ItemInfo{Category: "c17", Price: 12.5},
					ArrivedAt: schema.ArrivalTime(at),
				})
			}
			some = append(some, buffer.Entry{Kind: buffer.KindPart, Emit: m.NextEmit, Part: p})
			m.NextEmit++
			m.Window.Watermark = at
		}
		must(b, s.Append(0, m, some))
	}
	return s
}

// BenchmarkStream reads a log of 100000 parts of 5 clicks over loopback, client and server in one process: the messages
// alone, the messages taken apart, and into the store of a mirror, each commit synced.
func BenchmarkStream(b *testing.B) {
	s := benchStore(b)
	m := newMachine(b, s, ServerConfig{})
	stream := func(b *testing.B, maxBytes int, each func(data *flight.FlightData)) (bytes int) {
		n, err := dial(m.url(), "", nil)
		must(b, err)
		defer n.conn.Close()
		p := schema.Partition(0)
		in, err := n.client.DoGet(context.Background(), &flight.Ticket{Ticket: ticket{Partition: &p, MaxBytes: maxBytes}.bytes()})
		must(b, err)
		for first := true; ; first = false {
			data, err := in.Recv()
			if errors.Is(err, io.EOF) {
				return bytes
			}
			must(b, err)
			bytes += len(data.DataHeader) + len(data.DataBody)
			if !first {
				each(data)
			}
		}
	}
	// The processor's time says more than the clock's where others use the machine too.
	var used time.Duration
	begin := func(b *testing.B) {
		runtime.GC()
		used = processorTime(b)
		b.ResetTimer()
	}
	report := func(b *testing.B, bytes int) {
		per := float64(b.N) / b.Elapsed().Seconds()
		b.SetBytes(int64(bytes))
		b.ReportMetric(benchParts*per, "parts/s")
		b.ReportMetric(benchParts*benchClicks*per, "clicks/s")
		b.ReportMetric(benchParts*benchClicks*float64(b.N)/(processorTime(b)-used).Seconds(), "clicks/cpu-s")
	}
	for _, size := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("messages/max_bytes=%dKiB", size>>10), func(b *testing.B) {
			bytes := 0
			begin(b)
			for b.Loop() {
				bytes = stream(b, size, func(*flight.FlightData) {})
			}
			report(b, bytes)
		})
	}
	b.Run("rows", func(b *testing.B) {
		bytes := 0
		begin(b)
		for b.Loop() {
			var reader schema.PartsReader
			bytes = stream(b, defaultMaxBytes, func(data *flight.FlightData) {
				batch, err := reader.Read(data.DataHeader, data.DataBody)
				must(b, err)
				_, err = batch.Rows()
				must(b, err)
			})
		}
		report(b, bytes)
	})
	b.Run("mirror", func(b *testing.B) {
		bytes := 0
		begin(b)
		for b.Loop() {
			b.StopTimer()
			to, err := buffer.Open(b.TempDir(), buffer.Options{})
			must(b, err)
			b.StartTimer()
			mirror, err := NewMirror(to, quickMirror(m))
			must(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- mirror.Run(ctx) }()
			for changed := to.Changed(); to.Partition(0).NextEmit < benchParts; changed = to.Changed() {
				<-changed
			}
			bytes = int(mirror.Stats().Bytes)
			b.StopTimer()
			cancel()
			<-done
			must(b, errors.Join(mirror.Close(), to.Close()))
			b.StartTimer()
		}
		report(b, bytes)
	})
	for name, read := range map[string]func(schema.Partition, schema.Emit, int) ([]buffer.Entry, error){"decoded": s.Log, "packed": s.LogPacked} {
		b.Run("log/"+name, func(b *testing.B) { // what reading the log costs by itself
			begin(b)
			for b.Loop() {
				for from := schema.Emit(0); from < benchParts; {
					some, err := read(0, from, readAhead)
					must(b, err)
					from += schema.Emit(len(some))
				}
			}
			report(b, 0)
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
