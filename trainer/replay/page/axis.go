package page

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Kind says how an axis counts.
type Kind int

// The kinds of axes.
const (
	Linear Kind = iota
	Log         // positive numbers
	Time        // ms since 1970, UTC
	Delay       // seconds; linear to 10, then logarithmic
)

// Axis is one side of a plot.
type Axis struct {
	Label   string
	Kind    Kind
	Percent bool // 0.5 is written 50 %
	Zero    bool // 0 is on it
	// From and To bound it where they differ; else the data do.
	From, To float64
}

type tick struct {
	at    float64
	label string
}

// scale places values of an axis between two points.
type scale struct {
	axis     Axis
	from, to float64 // in units of warp
	low      float64 // pixels
	high     float64
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// warp straightens the axis.
func (a Axis) warp(x float64) float64 {
	switch a.Kind {
	case Log:
		return math.Log10(math.Max(x, 1e-12))
	case Delay:
		if x < delayLinear {
			return x / delayLinear
		}
		return 1 + math.Log10(x/delayLinear)
	}
	return x
}

// delayLinear is up to where a Delay axis is linear, in seconds.
const delayLinear = 10

// newScale makes the scale of values, with some room around them.
func newScale(a Axis, values []float64, low, high float64) scale {
	s := scale{axis: a, from: math.Inf(1), to: math.Inf(-1), low: low, high: high}
	for _, v := range values {
		if finite(v) && (a.Kind != Log || v > 0) {
			s.from, s.to = math.Min(s.from, a.warp(v)), math.Max(s.to, a.warp(v))
		}
	}
	if a.From != a.To {
		s.from, s.to = a.warp(a.From), a.warp(a.To)
	}
	if s.from > s.to {
		s.from, s.to = 0, 1
	}
	if a.Zero {
		s.from, s.to = math.Min(s.from, 0), math.Max(s.to, 0)
	}
	if s.from == s.to {
		pad := math.Max(math.Abs(s.from)*.05, .01)
		if a.Kind == Time {
			pad = 3600e3
		}
		s.from, s.to = s.from-pad, s.to+pad
	}
	if a.From == a.To {
		pad := (s.to - s.from) * .06
		switch a.Kind {
		case Time:
			pad = 0
		case Delay, Log:
			pad = (s.to - s.from) * .05
		}
		if !(a.Zero && s.from == 0) {
			s.from -= pad
		}
		if !(a.Zero && s.to == 0) {
			s.to += pad
		}
	}
	return s
}

func (s scale) at(x float64) float64 {
	return s.low + (s.axis.warp(x)-s.from)/(s.to-s.from)*(s.high-s.low)
}

// ticks returns about n round values with their labels.
func (s scale) ticks(n int) []tick {
	switch s.axis.Kind {
	case Time:
		return s.timeTicks(n)
	case Delay:
		return s.delayTicks()
	case Log:
		return s.logTicks(n)
	}
	step := niceStep((s.to - s.from) / float64(n))
	unit := step
	if s.axis.Percent {
		unit *= 100
	}
	digits := 0
	for d := unit; d < 0.999 && digits < 6; digits++ {
		d *= 10
	}
	var ticks []tick
	for i := math.Ceil(s.from/step - 1e-9); i*step <= s.to+step*1e-9; i++ {
		x := i * step
		if s.axis.Percent {
			ticks = append(ticks, tick{x, strconv.FormatFloat(x*100+0, 'f', digits, 64) + " %"})
			continue
		}
		ticks = append(ticks, tick{x, Count(x+0, digits)})
	}
	return ticks
}

// niceStep is 1, 2 or 5 times a power of ten, the nearest to x.
func niceStep(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	switch r := x / p; {
	case r < 1.41:
		return p
	case r < 3.16:
		return 2 * p
	case r < 7.07:
		return 5 * p
	}
	return 10 * p
}

// Count writes a number with thin spaces between thousands.
func Count(x float64, digits int) string {
	text := strconv.FormatFloat(math.Abs(x), 'f', digits, 64)
	whole, rest := text, ""
	for i := range text {
		if text[i] == '.' {
			whole, rest = text[:i], text[i:]
			break
		}
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + " " + whole[i:] // a narrow space that does not break
	}
	if x < 0 && text != strconv.FormatFloat(0, 'f', digits, 64) {
		return "−" + whole + rest
	}
	return whole + rest
}

func (s scale) logTicks(n int) []tick {
	multiples := []float64{1, 2, 5}
	switch {
	case s.to-s.from > float64(n):
		multiples = []float64{1}
	case s.to-s.from < 0.8:
		multiples = []float64{1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9}
	}
	var ticks []tick
	for e := math.Floor(s.from) - 1; e <= s.to+1; e++ {
		for _, m := range multiples {
			x := m * math.Pow(10, e)
			if w := math.Log10(x); w >= s.from-1e-9 && w <= s.to+1e-9 {
				ticks = append(ticks, tick{x, short(x)})
			}
		}
	}
	return ticks
}

// short writes a number for an axis: 20 k, 5 M.
func short(x float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if x >= u.of*(1-1e-9) {
			return strconv.FormatFloat(x/u.of, 'g', 3, 64) + u.name
		}
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func (s scale) delayTicks() []tick {
	var ticks []tick
	for _, x := range []float64{0, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600} {
		if w := s.axis.warp(x); w >= s.from-1e-9 && w <= s.to+1e-9 && x != 1 {
			ticks = append(ticks, tick{x, Duration(time.Duration(x * float64(time.Second)))})
		}
	}
	return ticks
}

// Duration writes a time that passes, with its unit.
func Duration(d time.Duration) string {
	switch {
	case d == 0:
		return "none"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return d.String()
}

func (s scale) timeTicks(n int) []tick {
	const minute, hour, day = 60e3, 3600e3, 24 * 3600e3
	step := 0.
	for _, c := range []float64{1e3, 5e3, 15e3, minute, 5 * minute, 15 * minute, hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 5 * day, 10 * day, 30 * day, 90 * day, 365 * day} {
		step = c
		if (s.to-s.from)/c <= float64(n) {
			break
		}
	}
	var ticks []tick
	for i := math.Ceil(s.from / step); i*step <= s.to; i++ {
		at := time.UnixMilli(int64(i * step)).UTC()
		layout := "2 Jan"
		switch {
		case step < minute:
			layout = "15:04:05"
		case step < day && at.Hour() == 0 && at.Minute() == 0:
			layout = "2 Jan"
		case step < day:
			layout = "15:04"
		case step >= 30*day:
			layout = "Jan 2006"
		}
		ticks = append(ticks, tick{i * step, at.Format(layout)})
	}
	return ticks
}
