package main

import (
	"strings"
	"testing"
)

func TestWhen(t *testing.T) {
	const newest = 1_800_000_000_000
	for text, want := range map[string]int64{
		"2024-01-01":                1704067200000,
		"2024-01-01T10:00:00Z":      1704103200000,
		"2024-01-01T10:00:00.25Z":   1704103200250,
		"2024-01-01T12:00:00+02:00": 1704103200000,
		"1704103200123":             1704103200123,
		"90m":                       newest - 90*60*1000,
		"24h":                       newest - 24*60*60*1000,
	} {
		var w when
		if err := w.UnmarshalText([]byte(text)); err != nil || w.ms(newest) != want {
			t.Errorf("%s: %d, %v; want %d", text, w.ms(newest), err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "1704103200", "-24h", "0s", "2024-13-01", "24"} {
		var w when
		if err := w.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "milliseconds") {
			t.Errorf("%q: %+v, %v", text, w, err)
		}
	}
	if (when{}).ms(newest) != 0 {
		t.Error("no bound is one")
	}
}
