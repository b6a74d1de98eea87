package replay

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
