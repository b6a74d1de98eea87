package model

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// TestRanksInBlocks has the table scored in blocks of one chunk and of two, by one lane and by several: what is found is what one block and one lane find, to the bit, with terms and
// marks, rows that are free or were given to others, equal rows in two blocks, a target that is not a number, and rows that are no candidates.
func TestRanksInBlocks(t *testing.T) {
	const items, known = 4*chunkRows + 70, 4*chunkRows + 50
	for _, cosine := range []bool{false, true} {
		cfg := small()
		cfg.Cosine = cosine
		m, _, rng := termedModel(t, cfg, items, 3)
		for _, r := range []Row{5, 1030, 3000} {
			m.giveUp(r)
		}
		m.lives.free = []Row{3000, 1030, 5}
		if r, _ := m.Admit("another", schema.ItemInfo{}, 1); r != 5 || !m.Given(5) {
			t.Fatalf("the new item has row %d", r)
		}
		copy(m.items.vector(2500), m.items.vector(17))
		m.items.biasOf(2500)[0] = m.items.biasOf(17)[0]
		*m.items.sidesOf(2500) = *m.items.sidesOf(17)
		m.items.biasOf(40)[0] = float32(math.NaN())
		batch := termedExamples(rng, items, 20, 4, 3)
		batch[3].Targets = append(batch[3].Targets, 40, 1030, 5, 17, items-1)
		m.Forward(batch)
		seen := func(i int) []Row {
			return []Row{Row(i), Row(i + chunkRows), Row(i + 2*chunkRows), batch[i].Targets[0]}
		}
		for _, among := range []func(int) []Row{nil, seen} {
			m.ranks.lanes = make([]rankLane, 1)
			ranks, tops := m.judgeWithin(known, 30, len(batch), among, math.MaxInt)
			if got := ranks[3][len(ranks[3])-5:]; got[0] != known || got[2] != 0 || got[3] < 1 || got[4] != 0 {
				t.Errorf("ranks %v of what is not a number, free, given, there, unknown", got)
			}
			for _, top := range tops {
				if len(top) != 30 || slices.ContainsFunc(top, func(s ScoredRow) bool { return s.Row == 5 || s.Row == 1030 || s.Row == 3000 || s.Row == 40 }) {
					t.Fatalf("the best are %v", top)
				}
			}
			for _, lanes := range []int{1, 2, 3, 40} {
				for _, bound := range []int{1, len(batch) * 2 * chunkRows, maxScores} {
					m.ranks.lanes = make([]rankLane, lanes)
					otherRanks, otherTops := m.judgeWithin(known, 30, len(batch), among, bound)
					if !slices.EqualFunc(ranks, otherRanks, slices.Equal) || !reflect.DeepEqual(tops, otherTops) {
						t.Errorf("cosine %v, among others %v, %d lanes, %d scores at a time: not the same", cosine, among != nil, lanes, bound)
					}
				}
			}
		}
	}
}
