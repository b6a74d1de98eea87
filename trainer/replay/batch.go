package replay

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

// batches cuts users into the batches of an epoch: size of them each, of about one length, so that a batch has little to pad. The users are
// shuffled first, and so are the batches at last: neither a user's company nor the place of long sequences is the same in two epochs. What is left over in the
// classes of length fills batches with its neighbours; at most one batch is not full. Same users, lengths and rng: same batches.
func batches(users []int32, length func(user int32) int, size int, rng *rand.Rand) [][]int32 {
	shuffled := slices.Clone(users)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortStableFunc(shuffled, func(a, b int32) int { return lengthClass(length(a)) - lengthClass(length(b)) })
	var all [][]int32
	var rest []int32
	for len(shuffled) > 0 {
		class, n := lengthClass(length(shuffled[0])), 1
		for n < len(shuffled) && lengthClass(length(shuffled[n])) == class {
			n++
		}
		for ; n >= size; n -= size {
			all = append(all, shuffled[:size:size])
			shuffled = shuffled[size:]
		}
		rest = append(rest, shuffled[:n]...)
		shuffled = shuffled[n:]
	}
	all = slices.AppendSeq(all, slices.Chunk(rest, size))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// lengthClass numbers lengths so that those of one class differ by less than an eighth. It rises with n.
func lengthClass(n int) int {
	if n < 8 {
		return n
	}
	octave := bits.Len(uint(n)) - 1
	return octave<<3 | n>>(octave-3)&7
}
