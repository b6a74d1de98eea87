package schema_test

import (
	"fmt"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// benchParts are n parts of five clicks each, with the fields that a shop sends.
func benchParts(n int) []schema.Part {
	parts := make([]schema.Part, n)
	for i := range parts {
		p := &parts[i]
		at := schema.EventTime(1_700_000_000_000 + i*1000)
		*p = schema.Part{Emit: schema.Emit(i), Due: at, UserID: fmt.Sprintf("user-%06d", i%5000), SessionStart: at - 60_000, Cause: schema.CauseAge}
		for j := range 5 {
			p.Clicks = append(p.Clicks, schema.Click{
				UserID: p.UserID, ItemID: fmt.Sprintf("item-%05d", (i*7+j)%20000), EventTime: at + schema.EventTime(j), Action: schema.ActionClick,
				EventID: fmt.Sprintf("event-%09d", i*5+j), Scene: "home", Item: schema.ItemInfo{Category: "c17", Price: 12.5}, ArrivedAt: schema.ArrivalTime(at),
			})
		}
	}
	return parts
}

// BenchmarkPartsWrite measures parts into messages of 1000 parts.
func BenchmarkPartsWrite(b *testing.B) {
	parts := benchParts(1000)
	var builder schema.PartsBuilder
	bytes := 0
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		for i := range parts {
			builder.AddPart(&parts[i])
		}
		header, body, err := builder.Message()
		if err != nil {
			b.Fatal(err)
		}
		bytes = len(header) + len(body)
	}
	report(b, bytes)
}

// BenchmarkPartsRead measures messages of 1000 parts: opened and each click looked at, and all made parts.
func BenchmarkPartsRead(b *testing.B) {
	parts := benchParts(1000)
	var builder schema.PartsBuilder
	for i := range parts {
		builder.AddPart(&parts[i])
	}
	header, body, err := builder.Message()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("clicks", func(b *testing.B) {
		var reader schema.PartsReader
		b.ReportAllocs()
		for b.Loop() {
			batch := must(reader.Read(header, body))
			var c schema.Click
			for i := range batch.Len() {
				from, to := batch.Clicks(i)
				for ; from < to; from++ {
					batch.Click(from, &c)
				}
			}
			if c.ItemID == "" {
				b.Fatal("no click")
			}
		}
		report(b, len(header)+len(body))
	})
	b.Run("parts", func(b *testing.B) {
		var reader schema.PartsReader
		b.ReportAllocs()
		for b.Loop() {
			if rows := must(must(reader.Read(header, body)).Rows()); len(rows) != len(parts) {
				b.Fatal(len(rows))
			}
		}
		report(b, len(header)+len(body))
	})
}

func report(b *testing.B, bytes int) {
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "parts/s")
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "clicks/s")
}
