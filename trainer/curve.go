package trainer

// Place is how far down a list is looked: recall@20 and MRR@20.
const Place = 20

// Rule says how the prequential figures are computed. It is printed beside them.
const Rule = "test-then-train; one test per part whose user has clicked before; targets are the distinct items of the part, exposures apart; " +
	"recall@20 = targets in the first 20 / min(20, targets), MRR@20 = 1/rank of the best target; ties count against, unseen items are misses, repeats allowed"

// Arm is one of the recommenders that are scored side by side.
type Arm int

// The arms. Best is an oracle that knows the true distribution of the next click; only the simulated shop has one.
const (
	ArmModel Arm = iota
	ArmPopularity
	ArmItemToItem
	ArmBest
	arms
)

func (a Arm) String() string { return [...]string{"model", "popularity", "item_to_item", "best"}[a] }

// Sums adds up tests.
type Sums struct {
	Scored int64 `json:"scored"` // parts tested
	Cold   int64 `json:"cold"`   // parts not tested: the user's first
	Unseen int64 `json:"unseen"` // targets never seen before: counted as misses
	Oracle int64 `json:"oracle"` // tests in which every target carried the oracle's rank

	Recall [arms]float64 `json:"recall"` // sums over the tests
	MRR    [arms]float64 `json:"mrr"`
}

func (s *Sums) add(o Sums) {
	s.Scored, s.Cold, s.Unseen, s.Oracle = s.Scored+o.Scored, s.Cold+o.Cold, s.Unseen+o.Unseen, s.Oracle+o.Oracle
	for arm := range arms {
		s.Recall[arm] += o.Recall[arm]
		s.MRR[arm] += o.MRR[arm]
	}
}

// test adds one test of an arm: the rank of each target, 0 for a miss.
func (s *Sums) test(arm Arm, ranks []int) {
	hits, first := 0, 0
	for _, r := range ranks {
		if r < 1 || r > Place {
			continue
		}
		hits++
		if first == 0 || r < first {
			first = r
		}
	}
	if hits > 0 {
		s.Recall[arm] += float64(hits) / float64(min(Place, len(ranks)))
		s.MRR[arm] += 1 / float64(first)
	}
}

// Means returns the mean recall@20 and MRR@20 by the name of the arm. The oracle's is left out unless it judged every test.
func (s Sums) Means() (recall, mrr map[string]float64) {
	recall, mrr = map[string]float64{}, map[string]float64{}
	for arm := range arms {
		if s.Scored == 0 || (arm == ArmBest && s.Oracle < s.Scored) {
			continue
		}
		recall[arm.String()] = s.Recall[arm] / float64(s.Scored)
		mrr[arm.String()] = s.MRR[arm] / float64(s.Scored)
	}
	return recall, mrr
}

// Curve is the prequential evaluation over the length of the stream: sums over runs of Width tests. It stays within
// maxPoints points by joining neighbours, so that it is bounded on an endless stream.
type Curve struct {
	Width  int64  `json:"width"`
	Points []Sums `json:"points"`
}

const (
	firstWidth = 64
	maxPoints  = 512
)

// Add appends the sums of one micro-batch.
func (c *Curve) Add(s Sums) {
	if c.Width == 0 {
		c.Width = firstWidth
	}
	if n := len(c.Points); n == 0 || c.Points[n-1].Scored >= c.Width {
		if n == maxPoints {
			for i := range n / 2 {
				joined := c.Points[2*i]
				joined.add(c.Points[2*i+1])
				c.Points[i] = joined
			}
			c.Points = c.Points[:n/2]
			c.Width *= 2
		}
		c.Points = append(c.Points, Sums{})
	}
	c.Points[len(c.Points)-1].add(s)
}

// Last returns the sums over the last share of the tests, to the width of a point: Last(1) is all, Last(1.0/3) the last third.
func (c *Curve) Last(share float64) Sums {
	var total int64
	for _, p := range c.Points {
		total += p.Scored
	}
	var s Sums
	from := total - int64(float64(total)*share)
	var before int64
	for _, p := range c.Points {
		if before >= from {
			s.add(p)
		}
		before += p.Scored
	}
	return s
}
