package model

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTwoBestExperts: each token goes to the two experts with the highest gate plus balance, and their shares are those of the gates alone and sum to one.
func TestTwoBestExperts(t *testing.T) {
	for _, lift := range []float64{0, 5, -5} {
		cfg := tiny()
		cfg.Experts, cfg.ExpertWidth, cfg.Blocks = 5, 7, 3
		rng := rand.New(rand.NewPCG(15, 15))
		batch := whole(rng, 4, 4)
		n := newNetwork(cfg, rng, tinyItems, batch)
		for b := range n.w.blocks {
			n.w.blocks[b].balance[3] = lift
		}
		n.forward(batch)
		chosen := 0
		for b := range n.w.blocks {
			w, c := &n.w.blocks[b], &n.groups[0].pass.blocks[b].moe
			for token := range c.norm.Rows {
				gate, total := times(c.norm.Data[token*cfg.Dim:][:cfg.Dim], w.router), 0.
				for e := range gate {
					gate[e] = math.Exp(gate[e])
					total += gate[e]
				}
				pair, share := c.chosen[2*token:][:2], c.share[2*token:][:2]
				if pair[0] == pair[1] || math.Abs(share[0]+share[1]-1) > 1e-12 {
					t.Fatalf("block %d, token %d: experts %v with the shares %v", b, token, pair, share)
				}
				value := func(e int32) float64 { return gate[e]/total + w.balance[e] }
				for e := range int32(cfg.Experts) {
					if e != pair[0] && e != pair[1] && (value(e) > value(pair[0]) || value(e) > value(pair[1])) {
						t.Errorf("block %d, token %d: experts %v were chosen, but %d has more: %v, balance %v", b, token, pair, e, gate, w.balance)
					}
				}
				if value(pair[0]) < value(pair[1]) {
					t.Errorf("block %d, token %d: the first of %v is not the best", b, token, pair)
				}
				if want := gate[pair[0]] / (gate[pair[0]] + gate[pair[1]]); math.Abs(share[0]-want) > 1e-12 {
					t.Errorf("block %d, token %d: share %v, by the gates %v", b, token, share[0], want)
				}
				if pair[0] == 3 || pair[1] == 3 {
					chosen++
				}
			}
			if lift > 0 && chosen == 0 || lift < 0 && chosen > 0 {
				t.Errorf("with a balance of %v, expert 3 was chosen %d times", lift, chosen)
			}
		}
	}
}

// TestBalanceEvensTheLoad: over 300 steps in which nothing but the balance moves, the share of the most loaded expert falls towards that of all.
func TestBalanceEvensTheLoad(t *testing.T) {
	cfg := tiny()
	cfg.Experts, cfg.DenseRate, cfg.RowRate, cfg.SideRate = 8, 0, 0, 0
	m := filled(t, cfg, tinyItems)
	rng := rand.New(rand.NewPCG(16, 16))
	highest := func(steps int) (share float64) {
		counts := make([]float64, cfg.Experts)
		total := 0.
		for range steps {
			m.Learn(whole(rng, 8, 4))
			for g := range m.net.groups {
				for _, e := range m.net.groups[g].pass.blocks[0].moe.chosen {
					counts[e]++
					total++
				}
			}
		}
		for _, c := range counts {
			share = max(share, c/total)
		}
		return share
	}
	first := highest(5)
	highest(290)
	last := highest(5)
	t.Logf("the most loaded of %d experts has %.3f of the load at first and %.3f after 300 steps", cfg.Experts, first, last)
	if first < 1.5/8 || last > 1/8.+(first-1/8.)/3 {
		t.Errorf("the most loaded of 8 experts has %.3f of the load at first and %.3f after 300 steps", first, last)
	}
}
