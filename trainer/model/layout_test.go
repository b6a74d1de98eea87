package model

import (
	"math"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

func TestLayoutKeepsTheNewest(t *testing.T) {
	cfg := small()
	cfg.MaxSessions, cfg.MaxTokens = 3, 9
	session := func(rows ...Row) Session {
		s := Session{At: schema.EventTime(1000 * rows[0])}
		for _, r := range rows {
			s.Events = append(s.Events, Event{r, schema.ActionClick})
		}
		return s
	}
	f := func(want []int32, past ...Session) {
		t.Helper()
		var l layout
		l.reset()
		l.add(&cfg, &Example{Past: past, At: 99_000}, 0, func(r Row) int32 { return int32(r) })
		if !slices.Equal(l.item, want) {
			t.Errorf("tokens %v, want %v", l.item, want)
		}
		if !slices.Equal(l.asked, []int32{int32(len(want) - 1)}) || len(l.queries) != 1 || l.tokens() > cfg.MaxTokens {
			t.Errorf("tokens %v of %d ask %d queries", l.asked, len(want), len(l.queries))
		}
	}
	f([]int32{-1})
	f([]int32{-1, 1, -1}, session(1))
	f([]int32{-1, 2, -1, 3, -1, 4, -1}, session(1), session(2), session(3), session(4))                    // three sessions
	f([]int32{-1, 3, -1, 4, 5, 6, 7, -1}, Session{At: 1}, session(3), Session{At: 2}, session(4, 5, 6, 7)) // empty ones take no place
	f([]int32{-1, 2, 3, -1, 4, 5, 6, 7, -1}, session(1, 2, 3), session(4, 5, 6, 7))                        // the latest items of what fits in part
	f([]int32{-1, 3, 4, 5, 6, 7, 8, 9, -1}, session(1, 2, 3, 4, 5, 6, 7, 8, 9))
}

// TestEmptySessionsDoNotShortenTheHorizon: the session before an empty one still looks ahead to the request.
func TestEmptySessionsDoNotShortenTheHorizon(t *testing.T) {
	cfg := small()
	cfg.Horizon = 2
	one := Session{At: 1000, Events: []Event{{1, schema.ActionClick}}}
	for _, past := range [][]Session{{one}, {one, {At: 2000}}, {one, one, {At: 2000}, {At: 2500}}} {
		var l layout
		l.reset()
		l.add(&cfg, &Example{Past: past, At: 3000, Targets: []Row{2}}, 0, func(r Row) int32 { return int32(r) })
		if len(l.queries) != 2 || l.queries[0].ahead != 0 || l.queries[1].ahead != 1 {
			t.Errorf("%d sessions, the last of them empty: queries %+v, want one of the request and one of the session before", len(past), l.queries)
		}
	}
}

func TestBuckets(t *testing.T) {
	const s = 1000
	for _, c := range []struct {
		ms   schema.EventTime
		want uint8
	}{{0, 0}, {999, 0}, {2 * s, 2}, {60 * s, 13}, {86400 * s, 37}, {1e15, 91}} {
		if got := timeBucket(5, 5+c.ms); got != c.want {
			t.Errorf("bucket of %d ms is %d, want floor(ln(s)/.301) = %d", c.ms, got, c.want)
		}
		if timeBucket(5+c.ms, 5) != c.want {
			t.Errorf("bucket of -%d ms differs", c.ms)
		}
	}
	if timeBucket(math.MinInt64, math.MaxInt64) >= timeBuckets {
		t.Error("the widest distance has no bucket")
	}
	for _, c := range []struct {
		ms   schema.EventTime
		want uint8
	}{{-1, 0}, {0, 0}, {4999, 0}, {5000, 1}, {3 * 86400 * s, 13}, {259199 * s, 12}} {
		if got := gapBucket(0, c.ms); got != c.want {
			t.Errorf("gap of %d ms is %d, want %d", c.ms, got, c.want)
		}
	}
	if hourOf(-1) != 23 || hourOf(3_600_000*25) != 1 {
		t.Errorf("hours %d, %d", hourOf(-1), hourOf(3_600_000*25))
	}
}
