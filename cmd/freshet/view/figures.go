package view

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// count writes a whole number with a space between thousands.
func count(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return sign + s
}

func score(n Number) string {
	if !n.Known() {
		return "-"
	}
	return fmt.Sprintf("%.3f", float64(n))
}

func rate(n Number) string {
	switch {
	case !n.Known():
		return "-"
	case math.Abs(float64(n)) < 100:
		return fmt.Sprintf("%.1f", float64(n))
	}
	return count(int64(math.Round(float64(n))))
}

// seconds writes a duration given in seconds with two or three digits that matter.
func seconds(n Number) string {
	switch x := float64(n); {
	case !n.Known():
		return "-"
	case math.Abs(x) >= 100*24*3600:
		return fmt.Sprintf("%.0f d", x/(24*3600))
	case math.Abs(x) >= 60:
		return span(time.Duration(x * float64(time.Second)))
	case math.Abs(x) < 1:
		return fmt.Sprintf("%.0f ms", 1000*x)
	default:
		return fmt.Sprintf("%.1f s", x)
	}
}

// span writes a duration by its two largest units.
func span(d time.Duration) string {
	d = max(d, math.MinInt64/2).Round(time.Second) // so that -d is a duration too
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// reasons writes "late 12, invalid 3", in the order of schema.Reasons, those without records left out.
func reasons(a Aside) string {
	var parts []string
	for _, r := range schema.Reasons {
		if n := a[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", r, count(n)))
		}
	}
	return strings.Join(parts, ", ")
}

var bars = []rune("▁▂▃▄▅▆▇█")

// sparkline draws the last width of xs between their own least and greatest value; what was not measured is a blank.
func sparkline(xs []Number, width int) string {
	if len(xs) > width {
		xs = xs[len(xs)-width:]
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, x := range xs {
		if x.Known() {
			lo, hi = math.Min(lo, float64(x)), math.Max(hi, float64(x))
		}
	}
	var b strings.Builder
	for _, x := range xs {
		switch {
		case !x.Known():
			b.WriteByte(' ')
		case hi <= lo:
			b.WriteRune(bars[len(bars)/2])
		default:
			b.WriteRune(bars[int((float64(x)-lo)/(hi-lo)*float64(len(bars)-1)+0.5)])
		}
	}
	return b.String()
}

// bar draws done of total on width cells.
func bar(done, total int64, width int) string {
	full := 0
	if total > 0 {
		full = int(float64(width) * math.Min(1, math.Max(0, float64(done)/float64(total))))
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// eta is the time that the rest takes at the pace so far, or "" before there is a pace.
func eta(done, total int64, elapsed time.Duration) string {
	if done <= 0 || total <= done || elapsed <= 0 {
		return ""
	}
	left := float64(elapsed) / float64(done) * float64(total-done)
	if left > float64(1000*24*time.Hour) {
		return ""
	}
	return span(time.Duration(left))
}
