package model

import (
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// columns is the optimiser's state of the first n rows, as a checkpoint has it.
func (s *rowState) columns(n, dim int) []schema.Column {
	if s.full {
		return []schema.Column{
			{Name: "first", Data: schema.Vectors{Dim: dim, Values: joined(s.first, n*dim)}},
			{Name: "second", Data: schema.Vectors{Dim: dim, Values: joined(s.second, n*dim)}},
			{Name: "bias_moments", Data: schema.Vectors{Dim: 2, Values: joined(s.biasMoments, 2*n)}},
		}
	}
	return []schema.Column{{Name: "acc", Data: joined(s.acc, n)}, {Name: "bias_acc", Data: joined(s.accBias, n)}}
}

// joined copies the first n numbers of chunks.
func joined(chunks [][]float32, n int) []float32 {
	out := make([]float32, 0, n)
	for _, c := range chunks {
		out = append(out, c[:min(len(c), n-len(out))]...)
	}
	return out
}

// restore fills the state of n rows, which grow has made room for.
func (s *rowState) restore(t schema.Table, n, dim int) error {
	if !s.full {
		acc, err := accumulators(t, "acc", n)
		if err != nil {
			return err
		}
		accBias, err := accumulators(t, "bias_acc", n)
		if err != nil {
			return err
		}
		spread(s.acc, acc)
		spread(s.accBias, accBias)
		return nil
	}
	for _, c := range []struct {
		name string
		dim  int
		to   [][]float32
	}{{"first", dim, s.first}, {"second", dim, s.second}, {"bias_moments", 2, s.biasMoments}} {
		v, err := schema.Col[schema.Vectors](t, c.name)
		if err != nil {
			return err
		}
		if v.Dim != c.dim || len(v.Values) != n*c.dim || firstBad(v.Values) >= 0 {
			return fmt.Errorf("%w: %s has %d numbers of width %d, want %d of width %d, all finite", schema.ErrCorrupt, c.name, len(v.Values), v.Dim, n*c.dim, c.dim)
		}
		spread(c.to, v.Values)
	}
	return nil
}

// spread copies values into chunks.
func spread(chunks [][]float32, values []float32) {
	for _, c := range chunks {
		values = values[copy(c, values):]
	}
}
