package model

import (
	"math/rand/v2"
	"testing"
)

// TestFlopsByCounting walks through the products of two small networks and counts two operations for each term: a product and a sum. Training is three times that.
func TestFlopsByCounting(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 17))
	batch := whole(rng, 3, 4)
	for i := range batch {
		batch[i].Learn = i
	}
	matrix := func(rows, cols int) (terms int) {
		for range rows {
			for range cols {
				terms++
			}
		}
		return terms
	}
	t.Run("TBGRecall", func(t *testing.T) {
		cfg := tiny()
		cfg.TokenNetworks, cfg.Experts, cfg.ExpertWidth, cfg.Horizon = true, 4, 6, 2
		d, tokens, terms := cfg.Dim, 0, 0
		after := matrix(d, cfg.Experts) + 3*(matrix(d, 2*cfg.ExpertWidth)+matrix(cfg.ExpertWidth, d)) // the router, two experts and the shared one
		for _, e := range batch {
			var sees []int // how many tokens each sees
			asks := map[int]bool{}
			before := 0
			for k := range len(e.Past) + 1 {
				at := len(sees)
				sees = append(sees, before+1)
				if k < len(e.Past) {
					for range e.Past[k].Events {
						sees = append(sees, before+2) // the context token, and itself
					}
				}
				for ahead := range cfg.Horizon { // asked for this session or the next
					if of := k + ahead; of >= len(e.Past)-e.Learn && of <= len(e.Past) {
						asks[at] = true
						terms += matrix(d, d) + matrix(tinyItems, d) + d // head, candidates, one target
					}
				}
				before = len(sees)
			}
			tokens += len(sees)
			for token, n := range sees {
				terms += matrix(d, d)                                                          // the matrix of its kind
				terms += matrix(d, 4*d) + n*(matrix(1, d)+matrix(1, d)) + matrix(d, d) + after // first block
				terms += matrix(d, 2*d)                                                        // values and keys of the last
				if asks[token] {
					terms += matrix(d, 2*d) + n*2*d + matrix(d, d) + after
				}
			}
		}
		checkFlops(t, cfg, batch, tokens, terms)
	})
	t.Run("SASRec", func(t *testing.T) {
		cfg := tiny()
		cfg.Tokens, cfg.Rotary, cfg.Attention, cfg.TimeBias, cfg.FFN = item, none, softmax, false, 17
		d, tokens, terms := cfg.Dim, 0, 0
		after := matrix(d, cfg.FFN) + matrix(cfg.FFN, d)
		for _, e := range batch {
			var sessionOf []int
			for k := range e.Past {
				for range e.Past[k].Events {
					sessionOf = append(sessionOf, k)
				}
			}
			tokens += len(sessionOf)
			for token := range sessionOf {
				pairs := 0
				for range token + 1 {
					pairs++
				}
				terms += matrix(d, 3*d) + pairs*2*d + matrix(d, d) + after
				terms += matrix(d, 2*d)
				if token+1 == len(sessionOf) || sessionOf[token+1] >= len(e.Past)-e.Learn {
					terms += matrix(d, d) + pairs*2*d + matrix(d, d) + after
					terms += matrix(d, d) + matrix(tinyItems, d) + d
				}
			}
		}
		checkFlops(t, cfg, batch, tokens, terms)
	})
}

func checkFlops(t *testing.T, cfg Config, batch []Example, tokens, terms int) {
	t.Helper()
	m := filled(t, cfg, tinyItems) // fewer than the draws, so all are candidates
	if s := m.Learn(batch); s.Tokens != tokens || s.Flops != float64(3*2*terms) || s.Candidates != tinyItems {
		t.Errorf("%d tokens and %v operations against %d candidates, counted %d and %d", s.Tokens, s.Flops, s.Candidates, tokens, 3*2*terms)
	}
}
