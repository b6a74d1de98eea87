package publisher

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
)

// ErrGuard marks a version that was not published, or not adopted, because its weights or its metric say that it is bad.
var ErrGuard = errors.New("guard")

// The sorts of ErrGuard.
var (
	ErrNotFinite = fmt.Errorf("%w: not finite", ErrGuard)
	ErrMetric    = fmt.Errorf("%w: metric", ErrGuard)
)

// CheckFinite returns an ErrNotFinite that names the first value of t that is not a finite number, in its columns or its metadata: the live tables' totals stand there.
func CheckFinite(name string, t schema.Table) error {
	for _, c := range t.Columns {
		row := -1
		switch v := c.Data.(type) {
		case []float32:
			row = notFinite(v)
		case schema.Vectors:
			if row = notFinite(v.Values); row >= 0 {
				row /= max(v.Dim, 1)
			}
		case [][]float32:
			row = slices.IndexFunc(v, func(list []float32) bool { return notFinite(list) >= 0 })
		case [][]schema.Half:
			row = slices.IndexFunc(v, func(list []schema.Half) bool { return notFinite(schema.Widened(list)) >= 0 })
		case []float64:
			for i, x := range v {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					row = i
					break
				}
			}
		}
		if row >= 0 {
			return fmt.Errorf("%w: table %s, column %s, row %d is not a finite number", ErrNotFinite, name, c.Name, row)
		}
	}
	for _, kv := range t.Meta {
		if x, err := strconv.ParseFloat(kv[1], 64); (err == nil || errors.Is(err, strconv.ErrRange)) && (math.IsNaN(x) || math.IsInf(x, 0)) {
			return fmt.Errorf("%w: table %s, metadata %s is %q, not a finite number", ErrNotFinite, name, kv[0], kv[1])
		}
	}
	return nil
}

// notFinite returns the index of the first NaN or infinity of values, or -1. x-x is 0 for every finite x and NaN for the
// others, so one sum over a block finds a bad one without a branch for each value.
func notFinite(values []float32) int {
	const block = 1024
	for start := 0; start < len(values); start += block {
		part := values[start:min(start+block, len(values))]
		var sum float32
		for _, x := range part {
			sum += x - x
		}
		if sum == 0 {
			continue
		}
		for i, x := range part {
			if x-x != 0 {
				return start + i
			}
		}
	}
	return -1
}

// checkMetric returns an ErrMetric when metric is worse than the last published version's by more than maxDrop of it.
func checkMetric(name string, maxDrop float64, before, now map[string]float64) error {
	if name == "" || maxDrop <= 0 {
		return nil
	}
	old, was := before[name]
	value, is := now[name]
	if !was || !is {
		return nil
	}
	if math.IsNaN(value) || value < old-maxDrop*math.Abs(old) {
		return fmt.Errorf("%w: %s fell from %.4g to %.4g, more than max_drop %.2g of it", ErrMetric, name, old, value, maxDrop)
	}
	return nil
}
