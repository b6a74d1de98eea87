package evaluate

import "math"

// Paired is Student's paired t-test of differences that are independent and about normal, such as those of whole days: the mean, its 95 % confidence interval
// and two-sided p-values. Ok is false for fewer than three.
func Paired(differences []float64) (c Comparison, ok bool) {
	n := len(differences)
	if n < 3 {
		return Comparison{}, false
	}
	c = Comparison{Tests: int64(n), Blocks: n, Difference: mean(differences)}
	squares := 0.
	for _, d := range differences {
		squares += (d - c.Difference) * (d - c.Difference)
	}
	c.Low, c.High, c.PFlip = c.Difference, c.Difference, flip(differences)
	if squares == 0 { // each differs by the same
		if c.Difference == 0 {
			c.P = 1
		}
		return c, true
	}
	deviation := math.Sqrt(squares / float64(n-1) / float64(n))
	reach := studentReach(0.05, n-1) * deviation
	c.Low, c.High = c.Difference-reach, c.Difference+reach
	c.P = studentTails(c.Difference/deviation, n-1)
	return c, true
}
