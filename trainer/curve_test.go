package trainer

import (
	"math"
	"testing"
)

func TestMetricRule(t *testing.T) {
	f := func(ranks []int, recall, mrr float64) {
		t.Helper()
		var s Sums
		s.test(ArmModel, ranks)
		if s.Recall[ArmModel] != recall || s.MRR[ArmModel] != mrr {
			t.Errorf("ranks %v: recall %v, MRR %v; want %v, %v", ranks, s.Recall[ArmModel], s.MRR[ArmModel], recall, mrr)
		}
	}
	f([]int{1}, 1, 1)
	f([]int{20}, 1, 1./20)
	f([]int{21}, 0, 0)
	f([]int{0}, 0, 0) // a miss
	f([]int{0, 4, 2, 90}, 2./4, 1./2)
	many := make([]int, 30) // more targets than places: finding 20 is all one can do
	for i := range many {
		many[i] = i + 1
	}
	f(many, 1, 1)
}

// TestCurveStaysBoundedAndKeepsItsSums feeds far more tests than the curve has points.
func TestCurveStaysBoundedAndKeepsItsSums(t *testing.T) {
	var c Curve
	const batches = 200_000
	for i := range batches {
		s := Sums{Scored: 7, Cold: 1, Oracle: 7}
		if i >= batches*2/3 {
			s.Recall[ArmModel] = 7 // perfect in the last third, nothing before
		}
		c.Add(s)
		if len(c.Points) > maxPoints {
			t.Fatalf("after %d batches: %d points", i, len(c.Points))
		}
	}
	if whole := c.Last(1); whole.Scored != 7*batches || whole.Cold != batches || whole.Recall[ArmModel] != 7*(batches-batches*2/3) {
		t.Errorf("sums over the whole stream: %+v", whole)
	}
	third := c.Last(1. / 3)
	if share := float64(third.Scored) / (7 * batches); math.Abs(share-1./3) > 2./maxPoints*2 {
		t.Errorf("the last third holds %.4f of the tests", share)
	}
	if recall, _ := third.Means(); recall["model"] < 0.99 {
		t.Errorf("recall of the last third %v, want about 1", recall["model"])
	}
}

func TestOracleIsShownOnlyWhenItJudgedEveryTest(t *testing.T) {
	s := Sums{Scored: 2, Oracle: 1}
	if recall, _ := s.Means(); len(recall) != 3 {
		t.Errorf("arms %v, want three", recall)
	}
	s.Oracle = 2
	if recall, _ := s.Means(); len(recall) != 4 {
		t.Errorf("arms %v, want four", recall)
	}
}
