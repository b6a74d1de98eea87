package replica

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
)

// naiveClicks is LiveClicks without care: all clicks of all users, who clicked last at the end.
type naiveClicks struct {
	users  []string
	clicks map[string][]liveClick
}

func (n *naiveClicks) bytes() (sum int64) {
	for _, u := range n.users {
		sum += liveUserBytes + int64(len(u))
		for _, c := range n.clicks[u] {
			sum += liveClickBytes + int64(len(c.item))
		}
	}
	return sum
}

func (n *naiveClicks) add(user string, c liveClick, most int64) {
	n.users = append(slices.DeleteFunc(n.users, func(u string) bool { return u == user }), user)
	all := append(n.clicks[user], c)
	n.clicks[user] = all[max(0, len(all)-liveClicksOfUser):]
	for n.bytes() > most {
		delete(n.clicks, n.users[0])
		n.users = n.users[1:]
	}
}

// TestLiveClicksAreTheNewest: of each user, and of the users who clicked last, in no more memory than may be; what came is held, dropped for a reason, or was wanted out.
func TestLiveClicksAreTheNewest(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const most = 20_000
	l, naive := NewLiveClicks(most), &naiveClicks{clicks: map[string][]liveClick{}}
	var out uint64
	buffer := make([]byte, 0, 64)
	for n := range 5000 {
		user := fmt.Sprint("u", rng.IntN(2)*rng.IntN(60)) // u0 is busy
		if rng.IntN(20) == 0 {                            // what the log has
			through := schema.EventTime(n - rng.IntN(400))
			unwanted := func(c liveClick) bool { return c.at < through }
			had := len(naive.clicks[user])
			l.drop(user, unwanted)
			naive.clicks[user] = slices.DeleteFunc(naive.clicks[user], unwanted)
			out += uint64(had - len(naive.clicks[user]))
			if len(naive.clicks[user]) == 0 {
				delete(naive.clicks, user)
				naive.users = slices.DeleteFunc(naive.users, func(u string) bool { return u == user })
			}
			continue
		}
		buffer = append(buffer[:0], strings.Repeat("i", 1+rng.IntN(30))...) // used again, as a batch's memory is
		c := schema.Click{UserID: user, ItemID: string(buffer), Action: "cart", Scene: fmt.Sprint("scene", n%3000), EventTime: schema.EventTime(n)}
		l.Add(&c)
		naive.add(user, liveClick{item: c.ItemID, scene: c.Scene, action: c.Action, at: c.EventTime}, most)
		if l.bytes != naive.bytes() || l.bytes > most || len(l.users) != len(naive.users) || l.order.Len() != len(naive.users) {
			t.Fatalf("%d bytes of %d users, want %d of %d", l.bytes, len(l.users), naive.bytes(), len(naive.users))
		}
	}
	held := 0
	for i := range 60 {
		user := fmt.Sprint("u", i)
		held += len(naive.clicks[user])
		if diff := cmp.Diff(naive.clicks[user], l.of(user), cmp.AllowUnexported(liveClick{})); diff != "" && len(naive.clicks[user])+len(l.of(user)) > 0 {
			t.Fatalf("%s: %s", user, diff)
		}
	}
	if l.held != held || l.heard != uint64(held)+l.overtaken+l.evicted+out || l.overtaken == 0 || l.evicted == 0 || len(l.names) > liveTexts {
		t.Errorf("held %d of %d, overtaken %d, evicted %d, out %d, %d names", l.held, l.heard, l.overtaken, l.evicted, out, len(l.names))
	}
}

func TestNoLiveClicks(t *testing.T) {
	var none *LiveClicks
	if got := none.of("u"); got != nil {
		t.Errorf("%v", got)
	}
	small := NewLiveClicks(10)
	small.Add(&schema.Click{UserID: "u", ItemID: "i"})
	if len(small.users) != 0 || small.bytes != 0 || small.evicted != 1 {
		t.Errorf("%+v", small)
	}
}

// TestLiveClicksAtOnce: those who hear and those who ask.
func TestLiveClicksAtOnce(t *testing.T) {
	l := NewLiveClicks(1 << 20)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				l.Add(&schema.Click{UserID: fmt.Sprint("u", i%10), ItemID: fmt.Sprint("i", g), EventTime: schema.EventTime(i)})
				l.drop("u3", func(c liveClick) bool { return c.at%2 == 0 })
				if clicks := l.of("u4"); len(clicks) > liveClicksOfUser {
					t.Errorf("%d clicks", len(clicks))
				}
			}
		})
	}
	wg.Wait()
	if l.heard != 4*500 {
		t.Errorf("%d heard", l.heard)
	}
}

// BenchmarkLiveUsers is the memory that a hundred thousand users with three clicks each take, and the time of a click.
func BenchmarkLiveUsers(b *testing.B) {
	l := NewLiveClicks(1 << 40)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := schema.Click{Action: schema.ActionClick, Scene: "home"}
	n := 0
	for b.Loop() {
		c.UserID, c.ItemID, c.EventTime = fmt.Sprintf("user-%06d", n%100_000), fmt.Sprintf("item-%05d", n%7919), schema.EventTime(n)
		l.Add(&c)
		n++
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(l.users)), "heap-B/user")
	b.ReportMetric(float64(l.bytes)/float64(len(l.users)), "B/user")
	b.ReportMetric(float64(len(l.users)), "users")
}
