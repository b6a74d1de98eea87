package replay

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Difference is how an arm differs from another in a metric, by paired figures.
type Difference struct {
	Arm    string  `json:"a"`
	Than   string  `json:"b"`
	Metric string  `json:"metric"`
	Pairs  int     `json:"pairs"`
	Mean   float64 `json:"difference"` // of arm - than
	Low    float64 `json:"low"`        // the 95 % confidence interval of it
	High   float64 `json:"high"`
	P      float64 `json:"p"` // two-sided
}

// paired is Student's t-test of paired differences. Ok is false for fewer than three.
func paired(differences []float64) (d Difference, ok bool) {
	n := float64(len(differences))
	if n < 3 {
		return d, false
	}
	for _, x := range differences {
		d.Mean += x / n
	}
	squares := 0.
	for _, x := range differences {
		squares += (x - d.Mean) * (x - d.Mean)
	}
	d.Pairs, d.Low, d.High, d.P = len(differences), d.Mean, d.Mean, 0
	if squares == 0 {
		if d.Mean == 0 {
			d.P = 1
		}
		return d, true
	}
	deviation, nu := math.Sqrt(squares/(n-1)/n), n-1
	reach := deviation * math.Sqrt(nu*(1/mathext.InvRegIncBeta(nu/2, 0.5, 0.05)-1))
	t := d.Mean / deviation
	d.Low, d.High, d.P = d.Mean-reach, d.Mean+reach, mathext.RegIncBeta(nu/2, 0.5, nu/(nu+t*t))
	return d, true
}
