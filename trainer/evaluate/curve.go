package evaluate

import (
	"cmp"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

const (
	firstWidth = 64
	maxPoints  = 256 // even: they are joined in pairs
)

// curve is the evaluation over the length of the stream: sums over runs of width tests. It stays within maxPoints points by
// joining neighbours.
type curve struct {
	width  int64
	points []float64 // (points, stride)
}

func (c *curve) add(v []float64) {
	w := len(v)
	if c.width == 0 {
		c.width = firstWidth
	}
	if n := len(c.points) / w; n == 0 || c.points[(n-1)*w+atTests] >= float64(c.width) {
		if n == maxPoints {
			for i := range n / 2 {
				copy(c.points[i*w:][:w], c.points[2*i*w:][:w])
				addTo(c.points[i*w:][:w], c.points[(2*i+1)*w:][:w])
			}
			c.points = c.points[:n/2*w]
			c.width *= 2
		}
		c.points = appendZeros(c.points, w)
	}
	addTo(c.points[len(c.points)-w:], v)
}

// last adds up the last share of the tests into dst, to the width of a point: last(1) is all, last(1.0/3) the last third.
func (c *curve) last(dst []float64, share float64) {
	w := len(dst)
	var total, before float64
	for p := range slices.Chunk(c.points, w) {
		total += p[atTests]
	}
	from := total - float64(int64(total*share))
	for p := range slices.Chunk(c.points, w) {
		if before >= from {
			addTo(dst, p)
		}
		before += p[atTests]
	}
}

// periods is the evaluation over event time: sums over periods that have tests, in order of time. It stays within maxPoints by
// doubling the period. Periods begin at multiples of their length since 1970, so that a day is a day of UTC.
type periods struct {
	lengthMs int64
	numbers  []int64 // since 1970, ascending
	points   []float64
}

func (p *periods) add(at schema.EventTime, v []float64) {
	w := len(v)
	i := p.at(floorDiv(int64(at), p.lengthMs))
	if i < 0 {
		for len(p.numbers) == maxPoints {
			p.double(w)
		}
		number := floorDiv(int64(at), p.lengthMs)
		if i = p.at(number); i < 0 {
			i = ^i
			p.numbers = slices.Insert(p.numbers, i, number)
			p.points = appendZeros(p.points, w)
			copy(p.points[(i+1)*w:], p.points[i*w:len(p.points)-w])
			clear(p.points[i*w:][:w])
		}
	}
	addTo(p.points[i*w:][:w], v)
}

// at returns the place of a period, or the complement of where it would be. The newest is the likeliest.
func (p *periods) at(number int64) int {
	if n := len(p.numbers); n > 0 && p.numbers[n-1] == number {
		return n - 1
	}
	i, found := slices.BinarySearchFunc(p.numbers, number, cmp.Compare[int64])
	if !found {
		return ^i
	}
	return i
}

func (p *periods) double(w int) {
	p.lengthMs *= 2
	n := 0
	for i, number := range p.numbers {
		number = floorDiv(number, 2)
		if n > 0 && p.numbers[n-1] == number {
			addTo(p.points[(n-1)*w:][:w], p.points[i*w:][:w])
			continue
		}
		p.numbers[n] = number
		copy(p.points[n*w:][:w], p.points[i*w:][:w])
		n++
	}
	p.numbers, p.points = p.numbers[:n], p.points[:n*w]
}

// Point is a period of event time.
type Point struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"` // the first moment behind it
	Group
}

func (p *periods) report(arms []string) []Point {
	w := stride(len(arms))
	points := make([]Point, len(p.numbers))
	for i, number := range p.numbers {
		points[i] = Point{
			From:  schema.EventTime(number * p.lengthMs).Time(),
			To:    schema.EventTime((number + 1) * p.lengthMs).Time(),
			Group: groupOf(arms, p.points[i*w:][:w]),
		}
	}
	return points
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendZeros returns s longer by n zeros.
func appendZeros(s []float64, n int) []float64 {
	s = slices.Grow(s, n)
	s = s[:len(s)+n]
	clear(s[len(s)-n:])
	return s
}
