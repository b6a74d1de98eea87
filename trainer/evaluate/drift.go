package evaluate

import "math"

// Drift tells when a figure that arrives one by one, such as a loss, has risen and stays risen: Page–Hinkley's test (Page 1954, "Continuous inspection schemes";
// as in Gama, Sebastião & Rodrigues 2013). Each x is measured in standard deviations from the mean, z = (x-mean)/deviation; of the sum of z - Slack the least so far
// is kept, and a sum that is Threshold above it is a drift. Mean and deviation are learned on the way and forget with Memory, so that
// a loss that has long been falling is compared with what it is now. After a drift everything begins anew. A fall of a figure is the rise of its negative.
//
// The zero value is ready, with the defaults. The fields are the whole state; as JSON it goes on bit for bit.
type Drift struct {
	// Slack is the rise, in deviations, that is passed over. Default .25.
	Slack float64 `json:"slack"`
	// Threshold is how far the sum may rise, in deviations. Default 50: with the other defaults and noise that is independent, false alarms are more than a million apart, and a
	// rise of one deviation is seen after some 70.
	Threshold float64 `json:"threshold"`
	// Memory is over how many the mean reaches back. Default 2000.
	Memory int64 `json:"memory"`

	Seen     int64   `json:"seen"` // since the last drift
	Mean     float64 `json:"mean"`
	Variance float64 `json:"variance"`
	Sum      float64 `json:"sum"` // above its least so far
	Drifts   int64   `json:"drifts"`
}

// Defaults of Drift, and how many are looked at before the first can be a drift.
const (
	driftSlack     = 0.25
	driftThreshold = 50
	driftMemory    = 2000
	driftWarmup    = 100
)

// Add tells the next x and returns whether there is a drift. What is not finite is passed over: it has its own alarm.
func (d *Drift) Add(x float64) (drifted bool) {
	if d.Slack == 0 {
		d.Slack = driftSlack
	}
	if d.Threshold == 0 {
		d.Threshold = driftThreshold
	}
	if d.Memory == 0 {
		d.Memory = driftMemory
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return false
	}
	if d.Seen >= driftWarmup && d.Variance > 0 {
		z := (x - d.Mean) / math.Sqrt(d.Variance)
		if d.Sum = max(0, d.Sum+z-d.Slack); d.Sum > d.Threshold {
			d.Seen, d.Mean, d.Variance, d.Sum = 0, 0, 0, 0
			d.Drifts++
			drifted = true
		}
	}
	d.Seen++
	rate := 1 / float64(min(d.Seen, d.Memory))
	off := x - d.Mean
	d.Mean += rate * off
	d.Variance = (1 - rate) * (d.Variance + rate*off*off)
	return drifted
}
