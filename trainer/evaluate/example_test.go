package evaluate_test

import (
	"fmt"

	"github.com/freshet-ml/freshet/trainer/evaluate"
)

func Example() {
	e := evaluate.New(evaluate.Config{Arms: []string{"model", "popularity"}})
	for _, ranks := range [][]int{{1, 4}, {2, 0}, {0, 30}} { // of the item that was clicked next: 0 is a miss
		e.Add(&evaluate.Test{
			At:      1_700_000_000_000,
			Kind:    evaluate.NextClick,
			Place:   2,
			Targets: []evaluate.Target{{Clicks: 12, Action: "click"}},
			Ranks:   [][]int{{ranks[0]}, {ranks[1]}},
		})
	}
	for _, s := range e.Whole(evaluate.NextClick).Arms {
		fmt.Printf("%-10s  recall@20 %.3f  MRR@20 %.3f\n", s.Arm, s.Recall20, s.MRR20)
	}
	h, _ := e.CompareHits(evaluate.NextClick, "model", "popularity", 20)
	fmt.Printf("%d found by the model alone, %d by popularity alone\n", h.OnlyA, h.OnlyB)
	// Output:
	// model       recall@20 0.667  MRR@20 0.500
	// popularity  recall@20 0.333  MRR@20 0.083
	// 1 found by the model alone, 0 by popularity alone
}
