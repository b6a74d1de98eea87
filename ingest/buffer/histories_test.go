package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
)

// naiveHistories are Histories as a map.
type naiveHistories struct {
	opts      HistoriesOptions
	users     map[string]*naiveHistory
	watermark map[schema.Partition]schema.EventTime
	stats     HistoriesStats
}

type naiveHistory struct {
	seen  schema.EventTime
	parts []schema.Part
	sizes []int64
}

func (h *naiveHistory) bytes() (sum int64) {
	for _, n := range h.sizes {
		sum += n
	}
	return sum
}

func newNaiveHistories(o HistoriesOptions) *naiveHistories {
	return &naiveHistories{opts: o, users: map[string]*naiveHistory{}, watermark: map[schema.Partition]schema.EventTime{}}
}

func (n *naiveHistories) append(a appended) {
	for i := range a.entries {
		e := &a.entries[i]
		if e.Kind != KindPart || len(e.Part.Clicks) == 0 {
			continue
		}
		u := n.users[e.Part.UserID]
		if u == nil {
			u = &naiveHistory{}
			n.users[e.Part.UserID] = u
		}
		u.seen = max(u.seen, e.Part.Due)
		part := e.Part
		part.Partition, part.Emit = a.p, e.Emit
		u.parts = append(u.parts, part)
		u.sizes = append(u.sizes, int64(1+2+len(part.UserID)+8+len(appendHistoryPart(nil, a.p, e))))
		for len(u.parts) > n.opts.Parts || len(u.parts) > 1 && u.bytes() > maxHistoryBytes {
			u.parts, u.sizes = u.parts[1:], u.sizes[1:]
			n.stats.PartsOverParts++
		}
	}
	n.watermark[a.p] = a.meta.Window.Watermark
	newest := schema.BeginningOfTime
	for _, w := range n.watermark {
		newest = max(newest, w)
	}
	for {
		n.stats.Users, n.stats.Bytes = int64(len(n.users)), 0
		var names []string
		for name, u := range n.users {
			names, n.stats.Bytes = append(names, name), n.stats.Bytes+u.bytes()
		}
		if len(names) == 0 {
			return
		}
		last := slices.MinFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(n.users[a].seen, n.users[b].seen), compareUsers(a, b))
		})
		switch {
		case n.opts.Age > 0 && n.users[last].seen < newest.Add(-n.opts.Age):
			n.stats.UsersOverAge++
		case n.opts.Bytes > 0 && n.stats.Bytes > n.opts.Bytes:
			n.stats.UsersOverBytes++
		default:
			return
		}
		delete(n.users, last)
	}
}

func (n *naiveHistories) recent(user string, most int) (parts []schema.Part) {
	u := n.users[user]
	if u == nil {
		return nil
	}
	for _, p := range u.parts {
		if n.opts.Age == 0 || p.Due >= n.watermark[p.Partition].Add(-n.opts.Age) {
			parts = append(parts, p)
		}
	}
	parts = slices.Clone(parts[max(0, len(parts)-most):])
	slices.SortFunc(parts, Order)
	return parts
}

// same demands that h has what n has.
func (n *naiveHistories) same(t *testing.T, h *Histories, when string) {
	t.Helper()
	got := h.Stats()
	want := n.stats
	got.PartsOverParts, got.UsersOverAge, got.UsersOverBytes = 0, 0, 0 // of one life
	want.PartsOverParts, want.UsersOverAge, want.UsersOverBytes = 0, 0, 0
	if got != want {
		t.Fatalf("%s: %+v, want %+v", when, got, want)
	}
	keys := map[byte]int{}
	must(t, h.store.scan(nil, func(key, _ []byte) error { keys[key[0]]++; return nil }))
	parts := 0
	for _, u := range n.users {
		parts += len(u.parts)
	}
	if keys[spaceHead] != len(n.users) || keys[spaceSeen] != len(n.users) || keys[spaceHistory] != parts {
		t.Fatalf("%s: %d heads, %d times and %d parts, want those of %d users with %d", when, keys[spaceHead], keys[spaceSeen], keys[spaceHistory], len(n.users), parts)
	}
	for i := range historyUsers {
		for _, most := range []int{1, 3, 1000} {
			parts, err := h.Recent(historyUser(i), most)
			must(t, err)
			if diff := gocmp.Diff(n.recent(historyUser(i), most), parts); diff != "" && len(parts)+len(n.recent(historyUser(i), most)) > 0 {
				t.Fatalf("%s: the last %d parts of %s (-want +got):\n%s", when, most, historyUser(i), diff)
			}
		}
	}
}

const historyUsers = 12

func historyUser(i int) string { return strings.Repeat("u", 1+i%3) + fmt.Sprint(i) }

// appended is one call of Append.
type appended struct {
	p       schema.Partition
	meta    Meta
	entries []Entry
}

// someHistories are calls as a mirror makes them: a robot has most of the parts, users come and stay away, marks are between them.
func someHistories(rng *rand.Rand, n int) (all []appended) {
	next, at := map[schema.Partition]schema.Emit{1: 40}, schema.EventTime(1_700_000_000_000) // the log of 1 began before
	for i := range n {
		if i%30 == 29 { // a quiet time
			at += 13_000
		}
		a := appended{p: schema.Partition(rng.IntN(2))}
		for range rng.IntN(8) {
			at += schema.EventTime(rng.IntN(200))
			e := Entry{Kind: KindTick, Emit: next[a.p], Mark: Mark{Watermark: at}}
			if rng.IntN(6) > 0 {
				user := 0 // the robot
				if rng.IntN(2) == 0 {
					user = (i/10 + rng.IntN(4)) % historyUsers
				}
				emit := e.Emit
				e = partOf(historyUser(user), at, rng.IntN(4))
				e.Emit = emit
			}
			next[a.p]++
			a.entries = append(a.entries, e)
		}
		a.meta = Meta{Partition: a.p, FirstEmit: next[a.p] - schema.Emit(len(a.entries)), NextEmit: next[a.p], NextOffset: schema.Offset(i), Ticks: uint64(i)}
		a.meta.Window = newState(a.p).Window
		a.meta.Window.Watermark = at
		all = append(all, a)
	}
	return all
}

func smallHistories(fs FS) HistoriesOptions {
	return HistoriesOptions{Store: Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}, Parts: 5, Age: 12 * time.Second, Bytes: 1500}
}

// TestHistoriesAreTheLatestParts compares with a map, over entries that come again, and closes and opens.
func TestHistoriesAreTheLatestParts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	o := smallHistories(Memory())
	h, err := OpenHistories("store", o)
	must(t, err)
	defer func() { must(t, h.Close()) }()
	naive := newNaiveHistories(o)
	all := someHistories(rng, 300)
	var before HistoriesStats // of lives before
	for i, a := range all {
		must(t, h.Append(a.p, a.meta, a.entries))
		naive.append(a)
		naive.same(t, h, fmt.Sprint("call ", i))
		m := h.Partition(a.p)
		if m.NextEmit != a.meta.NextEmit || m.NextOffset != a.meta.NextOffset || m.Window.Watermark != a.meta.Window.Watermark || !m.Mirror {
			t.Fatalf("call %d: %+v", i, m)
		}
		if n := len(a.entries); n > 0 {
			last, err := h.LogPacked(a.p, m.NextEmit-1, 5)
			must(t, err)
			if e, err := decodeEntry(appendEntry(nil, &last[0]), a.p, m.NextEmit-1); err != nil || len(last) != 1 || last[0].Emit != m.NextEmit-1 || e.Kind != a.entries[n-1].Kind || e.Part.UserID != a.entries[n-1].Part.UserID {
				t.Fatalf("call %d: the last entry is %+v, %v", i, last, err)
			}
			if _, err := h.LogPacked(a.p, 0, 1); m.NextEmit > 1 && !errors.Is(err, ErrGone) {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		switch rng.IntN(10) {
		case 0: // what it has comes again
			must(t, h.Append(a.p, a.meta, a.entries))
			naive.same(t, h, "again")
		case 1:
			if len(a.entries) > 0 {
				late := slices.Clone(a.entries[:1])
				late[0].Emit = m.NextEmit + 1
				if err := h.Append(a.p, a.meta, late); err == nil || !strings.Contains(err.Error(), "are missing") {
					t.Fatalf("a gap: %v", err)
				}
			}
		case 2:
			s := h.Stats()
			before.PartsOverParts += s.PartsOverParts
			before.UsersOverAge += s.UsersOverAge
			before.UsersOverBytes += s.UsersOverBytes
			must(t, h.Close())
			h, err = OpenHistories("store", o)
			must(t, err)
			naive.same(t, h, "after a start")
		}
	}
	s := h.Stats()
	s.PartsOverParts += before.PartsOverParts
	s.UsersOverAge += before.UsersOverAge
	s.UsersOverBytes += before.UsersOverBytes
	if s != naive.stats || s.PartsOverParts == 0 || s.UsersOverAge == 0 || s.UsersOverBytes == 0 {
		t.Errorf("%+v, want %+v, and some of all", s, naive.stats)
	}
}

// TestALargePartIsKeptAlone: what one user takes is bounded also where parts are large, and smaller bounds hold from the next start on.
func TestALargePartIsKeptAlone(t *testing.T) {
	o := smallHistories(Memory())
	o.Bytes = 0
	h, err := OpenHistories("store", o)
	must(t, err)
	for i, n := range []int{3, 100, 100, 90_000, 2} {
		e := partOf("u0", 1_700_000_000_000, n)
		e.Emit = schema.Emit(i)
		must(t, h.Append(0, Meta{NextEmit: schema.Emit(i + 1)}, []Entry{e}))
	}
	parts, err := h.Recent("u0", 10)
	must(t, err)
	if len(parts) != 1 || len(parts[0].Clicks) != 2 {
		t.Errorf("%d parts", len(parts))
	}
	must(t, h.Close())
	if err := h.Append(0, Meta{}, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	o.Bytes = 1
	h, err = OpenHistories("store", o)
	must(t, err)
	if s := h.Stats(); s.Users != 0 || s.Bytes != 0 || s.UsersOverBytes != 1 {
		t.Errorf("%+v", s)
	}
	must(t, h.Close())
	for _, wrong := range []HistoriesOptions{{}, {Parts: 1, Age: -1}, {Parts: 1, Bytes: -1}} {
		if _, err := OpenHistories("store", wrong); err == nil {
			t.Errorf("%+v was accepted", wrong)
		}
	}
}

// TestACrashOfHistories neither loses nor doubles a part: what is there after any crash is a beginning of what was appended, and going on from its position gives the rest.
func TestACrashOfHistories(t *testing.T) {
	all := someHistories(rand.New(rand.NewPCG(1, 2)), 40)
	run := func(fs FS) error {
		h, err := OpenHistories("store", smallHistories(fs))
		if err != nil {
			return err
		}
		for i, a := range all {
			if err := h.Append(a.p, a.meta, a.entries); err != nil {
				return errors.Join(err, h.Close())
			}
			if i%10 == 9 { // a power failure finds some of it on the disk
				if err := h.store.db.Flush(); err != nil {
					return errors.Join(err, h.Close())
				}
			}
		}
		return h.Close()
	}
	begun := 0
	check := func(disk FS, where string, n int64) {
		h, err := OpenHistories("store", smallHistories(disk))
		must(t, err)
		naive, there := newNaiveHistories(smallHistories(nil)), 0
		for _, a := range all {
			if h.Partition(a.p).NextEmit < a.meta.NextEmit {
				break
			}
			naive.append(a)
			there++
		}
		when := fmt.Sprintf("after %s %d, with %d calls", where, n, there)
		if there > 0 && there < len(all) {
			begun++
		}
		for p, m := range map[schema.Partition]Meta{0: h.Partition(0), 1: h.Partition(1)} {
			want := schema.Emit(0)
			for _, a := range all[:there] {
				if a.p == p {
					want = a.meta.NextEmit
				}
			}
			if m.NextEmit != want {
				t.Fatalf("%s: partition %d is at %d, want %d", when, p, m.NextEmit, want)
			}
		}
		naive.same(t, h, when)
		for _, a := range all[there:] {
			must(t, h.Append(a.p, a.meta, a.entries))
			naive.append(a)
		}
		naive.same(t, h, when+", at the end")
		must(t, h.Close())
	}
	power, kills := crashes(t, 1, vfs.NewStrictMem, run, check)
	if power < 5 || kills < 20 || begun < 10 {
		t.Errorf("%d power failures, %d kills, %d of them in the middle: too few", power, kills, begun)
	}
	t.Logf("%d power failures, %d kills, %d of them in the middle", power, kills, begun)
}

// BenchmarkHistories appends parts of a hundred thousand users, and reads the fifty of one.
func BenchmarkHistories(b *testing.B) {
	o := HistoriesOptions{Store: Options{FS: Memory()}, Parts: 50, Age: 30 * 24 * time.Hour, Bytes: 4 << 30}
	h, err := OpenHistories("store", o)
	must(b, err)
	defer h.Close()
	next := schema.Emit(0)
	add := func(n int, user func(i int) string) {
		var entries []Entry
		for i := range n {
			e := partOf(user(i), schema.EventTime(1_700_000_000_000+next), 3)
			e.Emit = next
			next++
			entries = append(entries, e)
		}
		must(b, h.Append(0, Meta{NextEmit: next}, entries))
	}
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			add(1000, func(i int) string { return fmt.Sprint("user-", (int(next)+i)%100_000) })
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/1000*1e6, "µs/part")
	})
	add(60, func(int) string { return "one" })
	b.Run("recent", func(b *testing.B) {
		for b.Loop() {
			if parts, err := h.Recent("one", 50); err != nil || len(parts) != 50 {
				b.Fatal(len(parts), err)
			}
		}
	})
}
