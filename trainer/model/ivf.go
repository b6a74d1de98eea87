package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// index is an inverted file (Sivic and Zisserman, 2003) over the items of a version: items whose vectors are alike stand in one list, by codes, and a request looks into the lists
// that may hold high scores (probe). It never changes; versions share the lists that no delta between them touched.
//
// An item's vector is the one that the product is with, its side information included. What is added to the product (bases) is no part of it: a list's place in the order is the
// product with its centre and the highest base of its items, so that an item which became popular a moment ago opens its list to all. Items whose base was among the highest when the
// lists were made stand in a list of their own, which every request looks into: they would else open every list.
type index struct {
	cells  *cells
	lists  []*list              // the first of the popular, then one for each centre of cells
	starts []int32              // of each list, how many rows stand in those before
	of     []*[chunkRows]uint16 // of each row, 1 + its list; 0 = a free row

	clustered int // rows when the lists were made
	moved     int // rows that were touched since
}

// list is some rows, in no order.
type list struct {
	rows  []Row
	sides []sides
	codes *codes // with room for len(rows), rounded up to nn.TileRows, or more
}

// maxLists bounds the centres, and with them what an order costs.
const maxLists = 8192

func (l *list) clone() *list {
	return &list{slices.Clone(l.rows), slices.Clone(l.sides), l.codes.clone()}
}

// set makes the row at a place be as in s. code is room for bytes.
func (l *list) set(s *Served, at int, r Row, code []int8) {
	l.rows[at], l.sides[at] = r, *s.items.sidesOf(r)
	l.codes.set(at, s.items.vector(r), code)
}

func (l *list) add(s *Served, r Row, code []int8) {
	l.rows, l.sides = append(l.rows, r), append(l.sides, sides{})
	if n := len(l.rows); n > len(l.codes.scale) {
		grown := newCodes(l.codes.half, (n+n/8+nn.TileRows)/nn.TileRows*nn.TileRows, s.cfg.Dim)
		copy(grown.tiles, l.codes.tiles)
		copy(grown.scale, l.codes.scale)
		l.codes = grown
	}
	l.set(s, len(l.rows)-1, r, code)
}

// remove moves the last row to the place of another.
func (l *list) remove(r Row, code []int8) {
	at, last := slices.Index(l.rows, r), len(l.rows)-1
	if at < last {
		l.codes.move(at, last, code)
		l.rows[at], l.sides[at] = l.rows[last], l.sides[last]
	}
	l.rows, l.sides = l.rows[:last], l.sides[:last]
}

// follow returns the index of s, a version after that of x, in which some rows changed.
func (x *index) follow(s *Served, touched []int32) *index {
	next := *x
	next.lists, next.of = slices.Clone(x.lists), slices.Clone(x.of)
	next.moved += len(touched)
	code, vector, f := make([]int8, codeWidth(s.cfg.Dim)), make([]float32, s.cfg.Dim), finder{}
	owned := make([]bool, len(x.lists))
	own := func(i uint16) *list {
		if !owned[i] {
			next.lists[i], owned[i] = next.lists[i].clone(), true
		}
		return next.lists[i]
	}
	chunk := -1 // the last that was copied: rows rise
	for _, row := range touched {
		r := Row(row)
		if int(r)/chunkRows != chunk {
			if chunk = int(r) / chunkRows; chunk == len(next.of) {
				next.of = append(next.of, &[chunkRows]uint16{})
			} else {
				of := *next.of[chunk]
				next.of[chunk] = &of
			}
		}
		at := &next.of[chunk][int(r)%chunkRows]
		was, now := *at, uint16(0)
		switch {
		case s.id(r) == "":
		case was == 1: // the popular stay so until the lists are made anew
			now = 1
		default:
			s.direction(vector, r)
			now = uint16(2 + x.cells.find(vector, &f))
		}
		*at = now
		switch {
		case was == now && now > 0:
			l := own(now - 1)
			l.set(s, slices.Index(l.rows, r), r, code)
		case was != now:
			if was > 0 {
				own(was-1).remove(r, code)
			}
			if now > 0 {
				own(now-1).add(s, r, code)
			}
		}
	}
	next.number()
	return &next
}

// number sets x.starts.
func (x *index) number() {
	x.starts = make([]int32, len(x.lists))
	n := int32(0)
	for i, l := range x.lists {
		x.starts[i] = n
		n += int32(len(l.rows))
	}
}

// row returns what stands at a place, counted over all lists.
func (x *index) row(place Row) Row {
	i, exact := slices.BinarySearch(x.starts, int32(place))
	if !exact {
		i--
	}
	for len(x.lists[i].rows) == 0 { // lists without rows start where the next one does
		i++
	}
	return x.lists[i].rows[int32(place)-x.starts[i]]
}

// direction sets dst to the vector that a query's product with a row is with.
func (s *Served) direction(dst []float32, r Row) {
	s.items.sum(dst, r)
	if s.cfg.Cosine {
		nn.Scale(dst, s.lengths[int(r)/chunkRows].inv[int(r)%chunkRows])
	}
}
