package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

func click(user string, n int) schema.Click {
	return schema.Click{UserID: user, ItemID: fmt.Sprint("item-", n), Action: "click", EventTime: schema.EventTime(1_700_000_000_000 + n), ArrivedAt: 1_700_000_000_500,
		Scene: "home", Item: schema.ItemInfo{Category: "c", Price: 2}}
}

func told(clicks ...schema.Click) (k Clicks) {
	for i := range clicks {
		k.Add(&clicks[i])
	}
	return k
}

func heard(t *testing.T, l *Listener) (all []schema.Click) {
	t.Helper()
	batches, err := l.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := b.Each(func(c *schema.Click) error { all = append(all, *c); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestWhoListensHearsAllInOrder(t *testing.T) {
	var b Broadcast
	b.Tell(told(click("nobody hears", 0)))
	early := b.Listen()
	b.Tell(told(click("u1", 1), click("", 2)))
	late := b.Listen()
	b.Tell(told(click("u2", 3)))
	b.Tell(Clicks{})
	if diff := cmp.Diff([]schema.Click{click("u1", 1), click("", 2), click("u2", 3)}, heard(t, early)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]schema.Click{click("u2", 3)}, heard(t, late)); diff != "" {
		t.Error(diff)
	}
	early.Close()
	early.Close()
	if s := b.Stats(); s != (Stats{Listeners: 1, Told: 4}) || !b.Heard() {
		t.Errorf("%+v", s)
	}
	late.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := late.Next(ctx); b.Heard() || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", b.Heard(), err)
	}
	var none *Broadcast
	none.Tell(told(click("u", 1)))
	if none.Heard() {
		t.Error("nobody listens to nobody")
	}
}

// TestTheSlowLoseTheOldest: what waits is bounded, and what is told is heard or counted as lost.
func TestTheSlowLoseTheOldest(t *testing.T) {
	var b Broadcast
	l := b.Listen()
	defer l.Close()
	long := strings.Repeat("x", 200)
	const batches = waitingBytes / 2000
	for i := range batches {
		var k Clicks
		for j := range 10 {
			c := click(long, 10*i+j)
			c.EventID, c.SessionID = long[:100], long
			k.Add(&c)
		}
		b.Tell(k)
		if l.bytes > waitingBytes {
			t.Fatalf("%d bytes wait", l.bytes)
		}
	}
	all := heard(t, l)
	s := b.Stats()
	if s.Lost == 0 || len(all)+int(s.Lost) != 10*batches || s.Told != 10*batches {
		t.Fatalf("%d heard, %+v", len(all), s)
	}
	for i := range all {
		if want := fmt.Sprint("item-", int(s.Lost)+i); all[i].ItemID != want {
			t.Fatalf("click %d is of %s, want %s", i, all[i].ItemID, want)
		}
	}
}

func TestDamagedClicksAreAnError(t *testing.T) {
	whole := told(click("u1", 1), click("u2", 2))
	for n := range whole.bytes {
		if n > 0 && whole.Each(func(*schema.Click) error { return nil }) != nil {
			t.Fatal("the whole is not damaged")
		}
		seen := 0
		err := Clicks{bytes: whole.bytes[:n]}.Each(func(*schema.Click) error { seen++; return nil })
		if n > 0 && err == nil && seen != 1 {
			t.Fatalf("%d of %d bytes give %d clicks without an error", n, len(whole.bytes), seen)
		}
	}
}

// BenchmarkTell is what a click costs its node, where somebody listens, and who hears it.
func BenchmarkTell(b *testing.B) {
	var from Broadcast
	l := from.Listen()
	defer l.Close()
	c, n := click("user-000017", 123), 0
	b.ReportAllocs()
	for b.Loop() {
		var k Clicks
		for range 500 {
			k.Add(&c)
		}
		from.Tell(k)
		batches, err := l.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			n += batch.Len()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/click")
}
