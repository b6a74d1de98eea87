package buffer

import (
	"fmt"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

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
