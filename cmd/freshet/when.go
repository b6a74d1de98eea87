package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// when is a bound of time on the command line: a moment, or how long before the newest there is. The zero when is none.
type when struct {
	at   int64 // ms
	back time.Duration
}

// UnmarshalText reads an RFC 3339 time, a date (its midnight in UTC), milliseconds since the epoch, or a duration.
func (w *when) UnmarshalText(text []byte) error {
	s := string(text)
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms < int64(schema.EarliestEventTime) {
			return fmt.Errorf("%q is before 2000-01-01: write milliseconds since 1970, or a duration with its unit", s)
		}
		w.at = ms
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			w.at = t.UnixMilli()
			return nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no time: write 2026-05-01T12:00:00Z, 2026-05-01, milliseconds since 1970, or a duration such as 90m or 24h", s)
	}
	w.back = d
	return nil
}

// ms returns the bound, given the newest moment there is. 0 is no bound.
func (w when) ms(newest int64) int64 {
	if w.back > 0 {
		return newest - w.back.Milliseconds()
	}
	return w.at
}
