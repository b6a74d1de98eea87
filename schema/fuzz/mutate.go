package fuzz

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
)

// mutator makes mutants of seeds. Each is some changes away from a seed and never from another mutant, so that the sizes stay those of the seeds.
type mutator struct {
	rng   *rand.Rand
	seeds [][]any
}

func newMutator(name string, seed uint64, seeds [][]any) *mutator {
	return &mutator{generator(name, seed), seeds}
}

// next returns a seed with from one to eight changes, most often few, spread over its arguments.
func (m *mutator) next() []any {
	mutant := slices.Clone(m.seeds[m.rng.IntN(len(m.seeds))])
	for range 1 + bits.TrailingZeros8(uint8(m.rng.Uint32())|1<<7) {
		at := m.rng.IntN(len(mutant))
		other := m.seeds[m.rng.IntN(len(m.seeds))][at]
		switch v := mutant[at].(type) {
		case []byte:
			mutant[at] = m.bytes(v, other.([]byte))
		case string:
			mutant[at] = string(m.bytes([]byte(v), []byte(other.(string))))
		default:
			mutant[at] = m.number(v)
		}
	}
	return mutant
}

// edges are the numbers at which bounds are.
var edges = []uint64{0, 1, 2, 7, 8, 63, 64, 127, 128, 255, 256, math.MaxInt16, 1 << 15, math.MaxUint16, 1 << 16, 1 << 20,
	math.MaxInt32, 1 << 31, math.MaxUint32, 1 << 32, math.MaxInt64, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}

func (m *mutator) edge() uint64 { return edges[m.rng.IntN(len(edges))] }

// number returns another number of v's type.
func (m *mutator) number(v any) any {
	out := reflect.New(reflect.TypeOf(v)).Elem()
	switch was := reflect.ValueOf(v); {
	case was.CanInt():
		out.SetInt(m.whole(was.Int()))
	case was.CanUint():
		out.SetUint(uint64(m.whole(int64(was.Uint()))))
	case was.CanFloat():
		out.SetFloat(math.Float64frombits(uint64(m.whole(int64(math.Float64bits(was.Float()))))))
	default:
		out.SetBool(!was.Bool())
	}
	return out.Interface()
}

func (m *mutator) whole(v int64) int64 {
	switch m.rng.IntN(3) {
	case 0:
		return int64(m.edge())
	case 1:
		return v ^ 1<<m.rng.IntN(64)
	}
	return v + int64(m.rng.IntN(65)) - 32
}

// texts are what formats in text turn on.
var texts = []string{"{", "}", "[", "]", "\"", ":", ",", "\\", "\\u0000", "\\ud800", "null", "true", "{}", "[]", "\"\"", "-", ".", "e", "1e999", "-0", "0.1", "NaN",
	"\x00", "\xff", "\xc3\x28", "\xed\xa0\x80", "\ufeff", "\r", "\n", "\t", " ", "%", "%00", "&", "=", ";", "/", "..", "&a ", "*a", "<<: ", "- ", "? ", "#", "!!", "|"}

// bytes returns b with one change, in memory of its own. other is the same argument of some seed.
func (m *mutator) bytes(b, other []byte) []byte {
	b = slices.Clone(b)
	if len(b) == 0 {
		return append(b, m.part(other)...)
	}
	at := m.rng.IntN(len(b))
	switch m.rng.IntN(12) {
	case 0, 1:
		b[at] ^= 1 << m.rng.IntN(8)
	case 2:
		b[at] = byte(m.rng.Uint32())
	case 3: // a number of a fixed width, at an edge
		var word [8]byte
		if m.rng.IntN(2) == 0 {
			binary.LittleEndian.PutUint64(word[:], m.edge())
			copy(b[at:], word[:1<<m.rng.IntN(4)])
		} else {
			binary.BigEndian.PutUint64(word[:], m.edge())
			copy(b[at:], word[8-1<<m.rng.IntN(4):])
		}
	case 4: // one of a width of its own
		b = slices.Replace(b, at, at+1, binary.AppendUvarint(nil, m.edge())...)
	case 5: // one in digits
		from, to := digits(b, at)
		b = slices.Replace(b, from, to, fmt.Append(nil, int64(m.edge()))...)
	case 6:
		b = slices.Delete(b, at, at+m.length(len(b)-at))
	case 7: // comes twice
		b = slices.Insert(b, at, slices.Clone(b[at:at+m.length(len(b)-at)])...)
	case 8: // moves
		part := slices.Clone(b[at : at+m.length(len(b)-at)])
		b = slices.Delete(b, at, at+len(part))
		b = slices.Insert(b, m.rng.IntN(len(b)+1), part...)
	case 9:
		b = slices.Insert(b, at, []byte(texts[m.rng.IntN(len(texts))])...)
	case 10: // of another seed
		part := m.part(other)
		b = slices.Replace(b, at, min(at+len(part)*m.rng.IntN(2), len(b)), part...)
	case 11:
		b = b[:at]
	}
	return b
}

// digits returns the place of the number around at, or of the one next behind it; of the byte at at where there is none.
func digits(b []byte, at int) (from, to int) {
	is := func(i int) bool { return b[i] >= '0' && b[i] <= '9' }
	for from = at; from < len(b) && !is(from); from++ {
	}
	if from == len(b) {
		return at, at + 1
	}
	for to = from; to < len(b) && is(to); to++ {
	}
	for from > 0 && is(from-1) {
		from--
	}
	return from, to
}

// length is from 1 to most, and mostly short.
func (m *mutator) length(most int) int {
	if m.rng.IntN(4) > 0 {
		most = min(most, 16)
	}
	return 1 + m.rng.IntN(most)
}

func (m *mutator) part(of []byte) []byte {
	if len(of) == 0 {
		return []byte{byte(m.rng.Uint32())}
	}
	from := m.rng.IntN(len(of))
	return of[from : from+m.length(len(of)-from)]
}
