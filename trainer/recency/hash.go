package recency

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/freshet-ml/freshet/schema"
)

// Whatever is random here is a hash of what it is about and the salt, and not the next of a sequence: so it does not depend on what was
// asked before, there is no state to keep, and a trainer that starts again draws the same (I4). Each use has a name of its own in the salt.
const (
	saltBucket uint64 = iota + 1
	saltOrder
	saltShuffle
	saltLength
	saltPart
)

// hashed returns 64 random bits of some numbers.
func hashed(salt, use uint64, of ...uint64) uint64 {
	var b [64]byte // for a use and five numbers, of ten bytes at most
	n := binary.PutUvarint(b[:], use)
	for _, v := range of {
		n += binary.PutUvarint(b[n:], v)
	}
	return xxh3.HashSeed(b[:n], salt)
}

// uniform returns a number in [0, 1) of random bits.
func uniform(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }

// Bucket returns the bucket of a user, the same for each of the user's parts and in each run. c has buckets.
func (c Config) Bucket(user []byte) int {
	return int(xxh3.HashSeed(user, c.Salt+saltBucket) % uint64(c.Buckets))
}

// KeepsPart says whether a part is trained on while a share of keep of all parts is (Decision.Keep). A part that is kept with some share is
// kept with each larger one.
func (c Config) KeepsPart(p schema.Partition, at schema.Emit, keep float64) bool {
	return keep >= 1 || uniform(hashed(c.Salt, saltPart, uint64(p), uint64(at))) < keep
}

// permutation returns the order of the buckets in a cycle.
func (c Config) permutation(cycle int64) []int {
	order := make([]int, c.Buckets)
	for i := range order {
		order[i] = i
	}
	shuffle(order, func(i int) uint64 { return hashed(c.Salt, saltOrder, uint64(cycle), uint64(i)) })
	return order
}

// shuffle puts s into an order that bits determines (Fisher and Yates).
func shuffle[T any](s []T, bits func(i int) uint64) {
	for i := len(s) - 1; i > 0; i-- {
		j := int(bits(i) % uint64(i+1)) // the bias of the remainder is below 2^-50 for any length that fits
		s[i], s[j] = s[j], s[i]
	}
}
