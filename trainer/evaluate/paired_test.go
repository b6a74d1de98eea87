package evaluate

import (
	"math"
	"testing"
)

func TestPaired(t *testing.T) {
	// Student's own sleep data (1908): t = -4.0621, p = 0.00283, 95 % interval -2.4599 to -0.7001.
	c, ok := Paired([]float64{-1.2, -2.4, -1.3, -1.3, 0, -1, -1.8, -0.8, -4.6, -1.4})
	if !ok || math.Abs(c.Difference+1.58) > 1e-12 || math.Abs(c.P-0.002833) > 1e-6 || math.Abs(c.Low+2.4598858) > 1e-6 || math.Abs(c.High+0.7001142) > 1e-6 || c.PFlip > 0.01 {
		t.Errorf("%+v", c)
	}
	if c, _ := Paired([]float64{0, 0, 0}); c.P != 1 {
		t.Errorf("%+v", c)
	}
	if c, _ := Paired([]float64{2, 2, 2}); c.P != 0 || c.Low != 2 {
		t.Errorf("%+v", c)
	}
	if _, ok := Paired([]float64{1, 2}); ok {
		t.Error("two pairs say something")
	}
}
