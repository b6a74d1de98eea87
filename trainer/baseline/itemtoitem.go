package baseline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// ItemToItem counts which item follows which within a session ("sequential rules" of the session-rec benchmark, or markov
// with falling weights): an item followed by another d clicks later adds 1/d to the pair.
type ItemToItem struct {
	next [][]successor // by row; sorted by row of the successor

	score   []float32   // by row, zero between calls
	touched []model.Row // the rows of score that are not zero
}

type successor struct {
	row    model.Row
	weight float32
}

// NewItemToItem returns an empty table.
func NewItemToItem() *ItemToItem { return &ItemToItem{} }

// Learn adds a click on row that follows the clicks of before, all of one session, oldest first.
func (c *ItemToItem) Learn(before []model.Row, row model.Row) {
	for d := 1; d <= min(Steps, len(before)); d++ {
		from := before[len(before)-d]
		if need := int(from) + 1; need > len(c.next) {
			c.next = append(c.next, make([][]successor, need-len(c.next))...)
		}
		c.next[from] = add(c.next[from], row, 1/float32(d))
	}
}

func add(list []successor, row model.Row, weight float32) []successor {
	at, found := slices.BinarySearchFunc(list, row, func(s successor, row model.Row) int { return cmp.Compare(s.row, row) })
	if found {
		list[at].weight += weight
		return list
	}
	if len(list) == maxSuccessors {
		lightest := 0
		for i, s := range list {
			if s.weight < list[lightest].weight {
				lightest = i
			}
		}
		list = slices.Delete(list, lightest, lightest+1)
		if lightest < at {
			at--
		}
	}
	return slices.Insert(list, at, successor{row, weight})
}

// Ranks returns for each target its rank among the successors of the clicks of before (oldest first), or 0 when it is not
// one of them. Rows from known on do not take part.
func (c *ItemToItem) Ranks(dst []int, before, targets []model.Row, known int) []int {
	if len(c.score) < known {
		c.score = make([]float32, known+known/2)
	}
	for d := 1; d <= min(Steps, len(before)); d++ {
		from := before[len(before)-d]
		if int(from) >= len(c.next) {
			continue
		}
		for _, s := range c.next[from] {
			if int(s.row) >= known {
				continue
			}
			if c.score[s.row] == 0 {
				c.touched = append(c.touched, s.row)
			}
			c.score[s.row] += s.weight / float32(d)
		}
	}
	for _, t := range targets {
		rank := 0
		if int(t) < known && c.score[t] > 0 {
			for _, row := range c.touched {
				if c.score[row] >= c.score[t] {
					rank++
				}
			}
		}
		dst = append(dst, rank)
	}
	for _, row := range c.touched {
		c.score[row] = 0
	}
	c.touched = c.touched[:0]
	return dst
}

// Table returns the state for a checkpoint: one row an item, its successors and their weights.
func (c *ItemToItem) Table() schema.Table {
	rows, weights := make([][]int32, len(c.next)), make([][]float32, len(c.next))
	for i, list := range c.next {
		for _, s := range list {
			rows[i], weights[i] = append(rows[i], int32(s.row)), append(weights[i], s.weight)
		}
	}
	return schema.Table{Columns: []schema.Column{{Name: "successors", Data: rows}, {Name: "weights", Data: weights}}}
}

// RestoreItemToItem is the inverse of Table.
func RestoreItemToItem(t schema.Table) (*ItemToItem, error) {
	rows, err := schema.Col[[][]int32](t, "successors")
	if err != nil {
		return nil, fmt.Errorf("item-to-item: %w", err)
	}
	weights, err := schema.Col[[][]float32](t, "weights")
	if err != nil {
		return nil, fmt.Errorf("item-to-item: %w", err)
	}
	c := &ItemToItem{next: make([][]successor, len(rows))}
	for i := range rows {
		if len(rows[i]) != len(weights[i]) || len(rows[i]) > maxSuccessors || !slices.IsSorted(rows[i]) {
			return nil, fmt.Errorf("item-to-item: %w: the successors of row %d", schema.ErrCorrupt, i)
		}
		for j := range rows[i] {
			c.next[i] = append(c.next[i], successor{model.Row(rows[i][j]), weights[i][j]})
		}
	}
	return c, nil
}
