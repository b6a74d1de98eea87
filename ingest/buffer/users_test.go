package buffer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// walkUsers reads all users of p, n at a time.
func walkUsers(t fataler, s *Store, p schema.Partition, n int, keep func([]byte) bool) (all []string) {
	t.Helper()
	after := ""
	for {
		some, err := s.Users(p, after, n, keep)
		must(t, err)
		all = append(all, some...)
		if len(some) < n {
			return all
		}
		after = some[n-1]
	}
}

// TestAWalkMeetsEachUserOnce compares walks in pages of drawn size, in stores whose index is in drawn parts in keys and in
// memory and whose logs are shortened, with a look through the whole log.
func TestAWalkMeetsEachUserOnce(t *testing.T) {
	removed, met := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		disk := Memory()
		open := func() *Store {
			s, err := Open("store", Options{FS: disk, MemTableBytes: 1 << 20, LogAge: 20 * time.Millisecond})
			must(t, err)
			s.retainStep = 8
			return s
		}
		s := open()
		defer func() { must(t, s.Close()) }()
		tail := rapid.IntRange(1, 40).Draw(t, "tail")
		s.tailParts = tail
		users := []string{"u", "v", "\xff", "\xff\xff", "u\x00", "uu", "u\xff\xff", "zz", "aaa", "a"}
		var now [2]schema.EventTime
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			p := schema.Partition(rapid.IntRange(0, 1).Draw(t, "partition"))
			var entries []Entry
			for range rapid.IntRange(0, 90).Draw(t, "entries") {
				now[p] += schema.EventTime(rapid.IntRange(0, 2).Draw(t, "step"))
				entries = append(entries, partOf(rapid.SampledFrom(users).Draw(t, "user"), now[p], rapid.IntRange(0, 1).Draw(t, "clicks")))
			}
			m := window.NewMeta()
			m.Watermark = now[p]
			must(t, s.Commit(Commit{Partition: p, Window: m, Entries: entries}))
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				must(t, s.Close())
				s = open()
				s.tailParts = tail
			}
		}
		for p := range schema.Partition(3) {
			n := rapid.IntRange(1, 12).Draw(t, "n")
			bound := byte(rapid.IntRange(0, 255).Draw(t, "keep"))
			keep := func(user []byte) bool { return len(user) > 0 && user[len(user)-1] >= bound }
			var want []string
			for _, e := range wholeLog(t, s, p) {
				if e.clicks() > 0 && keep([]byte(e.Part.UserID)) {
					want = append(want, e.Part.UserID)
				}
			}
			want = firstUsers(want, len(want))
			got := walkUsers(t, s, p, n, keep)
			if !slices.Equal(want, got) {
				t.Fatalf("partition %d in steps of %d: the log has the users %q, the walk met %q", p, n, want, got)
			}
			met += len(got)
			removed += int(s.Partition(p).FirstEmit)
		}
	})
	if removed == 0 || met == 0 {
		t.Fatalf("nothing was tested: %d entries removed, %d users met", removed, met)
	}
}

// TestUsersOfATailAreBounded walks a tail of more users than are gathered at a time.
func TestUsersOfATailAreBounded(t *testing.T) {
	s := openMemory(t, Memory())
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 1))
	c := Commit{}
	var want []string
	for _, u := range random.Perm(5 * tailUsers) {
		c.Entries = append(c.Entries, partOf(fmt.Sprint("u", u), 0, 1), partOf(fmt.Sprint("u", u/2), 0, 1))
		want = append(want, fmt.Sprint("u", u))
	}
	must(t, s.Commit(c))
	slices.SortFunc(want, compareUsers[string, string])
	if got := walkUsers(t, s, 0, 100, func([]byte) bool { return true }); !slices.Equal(want, got) {
		t.Fatalf("walked past %d users of %d", len(got), len(want))
	}
}

// BenchmarkUsers walks 300000 users, of whom a tenth is kept, 4096 at a time: one iteration is a whole walk. With histories the last 20
// parts of each are read, too, and with tail a third of the parts are not in keys yet.
func BenchmarkUsers(b *testing.B) {
	const users, parts, page = 300_000, 1_000_000, 4096
	s, err := Open(b.TempDir(), Options{})
	must(b, err)
	defer s.Close()
	random := rand.New(rand.NewPCG(1, 1))
	fill := func(n int) {
		for range n / 1000 {
			c := Commit{Partition: 1}
			for range 1000 {
				c.Entries = append(c.Entries, partOf(fmt.Sprint("user", random.IntN(users)), 0, 3))
			}
			must(b, s.Commit(c))
		}
	}
	fill(parts)
	must(b, s.settleAll())
	must(b, s.db.Flush())
	keep := func(user []byte) bool { return user[len(user)-1] == '7' }
	walk := func(b *testing.B, history bool) {
		b.ReportAllocs()
		n := 0
		for range b.N {
			for after := ""; ; {
				some, err := s.Users(1, after, page, keep)
				must(b, err)
				for _, user := range some {
					if n++; history {
						_, err := s.History(1, user, parts*2, 20)
						must(b, err)
					}
				}
				if len(some) < page {
					break
				}
				after = some[page-1]
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "users/s")
		b.ReportMetric(float64(b.N*users)/b.Elapsed().Seconds(), "passed/s")
	}
	b.Run("keys", func(b *testing.B) { walk(b, false) })
	b.Run("histories", func(b *testing.B) { walk(b, true) })
	fill(tailParts * 9 / 10)
	b.Run("tail", func(b *testing.B) { walk(b, false) })
}
