package learn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/trainer/model"
)

// drawLists gives two arms' lists of ten items: the first puts the item that is clicked on top with probability sure, the second at random.
func drawLists(rng *rand.Rand, clicked model.Row, sure float64) []list {
	lists := make([]list, 2)
	for a := range lists {
		rows := rng.Perm(10)
		for i, r := range rows {
			lists[a].rows, lists[a].scores = append(lists[a].rows, model.Row(r)), append(lists[a].scores, float32(math.Exp2(-float64(i))))
		}
	}
	if rng.Float64() < sure {
		l := &lists[1]
		for i, r := range l.rows {
			if r == clicked {
				l.rows[0], l.rows[i] = l.rows[i], l.rows[0]
			}
		}
	}
	return lists
}

// TestBlendLearnsWhomToTrust: the blend begins with its first arm and ends with the second, which is the one that knows, but only in the bucket where it does.
func TestBlendLearnsWhomToTrust(t *testing.T) {
	const seed, sharp, blunt = 3, 0, 1
	rng := rand.New(rand.NewPCG(seed, seed))
	b := newBlend(2)
	for range 4000 {
		clicked := model.Row(rng.IntN(10))
		for _, gap := range []int{sharp, blunt} {
			sure := 0.9
			if gap == blunt {
				sure = 0
			}
			b.pool(drawLists(rng, clicked, sure), gap, 10)
			b.learn([]model.Row{clicked}, gap)
		}
	}
	if w := b.weightOf(sharp, 1); w < 0.5 || b.weightOf(sharp, 0) > w/4 {
		t.Errorf("seed %d: where the second arm knows, its weight is %.2f, the first's %.2f", seed, w, b.weightOf(sharp, 0))
	}
	if w := b.weightOf(blunt, 1); math.Abs(w) > 0.3 {
		t.Errorf("seed %d: where it does not, its weight is %.2f", seed, w)
	}
}

// TestBlendFollowsItsFirstArmAtFirst, counts ties against a target, and knows nothing of a pool that it has learned from.
func TestBlendFollowsItsFirstArmAtFirst(t *testing.T) {
	b := newBlend(2)
	lists := []list{{rows: []model.Row{4, 7, 2}, scores: []float32{3, 2, 1}}, {rows: []model.Row{9, 4}, scores: []float32{5, 5}}}
	got := b.pool(lists, 0, 10)
	want := []model.Row{4, 7, 2, 9}
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("pool %v, want %v", got, want)
		}
		if rank := b.rank(want[i]); rank != int32(i+1) {
			t.Errorf("rank of %d: %d, want %d", want[i], rank, i+1)
		}
	}
	if b.rank(1) != 0 || b.rank(99) != 0 {
		t.Error("an item that nobody lists has a rank")
	}
	b.learn([]model.Row{1}, 0) // nobody listed it: nothing is learned, and the pool is forgotten
	if b.steps != 0 || b.rank(4) != 0 {
		t.Errorf("%d steps, rank %d of an item of the last pool", b.steps, b.rank(4))
	}
	tied := []list{{rows: []model.Row{1, 2}, scores: []float32{1, 1}}, {}}
	b.pool(tied, 0, 10)
	if b.rank(1) != 2 || b.rank(2) != 2 {
		t.Errorf("ranks of a tie: %d and %d, want 2 of both", b.rank(1), b.rank(2))
	}
}

// TestBlendGradient: the step's gradient is that of the softmax, by central differences of the loss.
func TestBlendGradient(t *testing.T) {
	const seed, gap, h = 5, 3, 1e-6
	rng := rand.New(rand.NewPCG(seed, seed))
	b := newBlend(2)
	for i := range b.weights {
		b.weights[i] = rng.NormFloat64()
	}
	lists, targets := drawLists(rng, 0, 1), []model.Row{2, 5}
	loss := func() (sum float64) {
		b.pool(lists, gap, 10)
		total := 0.
		for _, s := range b.scores {
			total += math.Exp(s)
		}
		for _, r := range targets {
			sum -= (b.scores[b.place[r]-1] - math.Log(total)) / float64(len(targets))
		}
		b.learn(nil, gap) // forgets the pool
		return sum
	}
	var want [2]float64
	for a := range want {
		was := b.weights[a]
		b.weights[a] = was + h
		up := loss()
		b.weights[a] = was - h
		want[a] = (up - loss()) / (2 * h)
		b.weights[a] = was
	}
	b.pool(lists, gap, 10)
	b.learn(targets, gap)
	for a := range want {
		if got := b.first[a] / (1 - blendBeta1); math.Abs(got-want[a]) > 1e-6*max(1, math.Abs(want[a])) || want[a] == 0 {
			t.Errorf("seed %d: gradient of arm %d is %v, want %v", seed, a, got, want[a])
		}
		if got := b.first[(1+gap)*b.arms+a] / (1 - blendBeta1); math.Abs(got-want[a]) > 1e-6 {
			t.Errorf("seed %d: gradient of arm %d in its bucket is %v, want %v", seed, a, got, want[a])
		}
	}
}
