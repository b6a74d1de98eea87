package model

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

func heapBytes() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// admitted is a model of items with names of 16 bytes, a category of a hundred and a price each.
func admitted(tb testing.TB, items int) *Model {
	m, err := New(DefaultConfig())
	if err != nil {
		tb.Fatal(err)
	}
	for i := range items {
		m.Admit(fmt.Sprintf("item-%011d", i), schema.ItemInfo{Category: fmt.Sprint("category-", i%100), Price: float64(1 + i%1000)}, 0)
	}
	return m
}

// BenchmarkMillionItems admits a million items of width 64 with row-wise Adagrad.
func BenchmarkMillionItems(b *testing.B) {
	const items = 1_000_000
	for b.Loop() {
		before := heapBytes()
		m := admitted(b, items)
		b.ReportMetric(float64(heapBytes()-before)/1e6, "MB")
		m.Snapshot(false, nil)
		b.ReportMetric(float64(heapBytes()-before)/1e6, "MB-published")
		runtime.KeepAlive(m)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N*items)*1e9, "ns/item")
}
