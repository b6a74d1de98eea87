package recency

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Config is the recency policy: what is trained on, when, and what gives way when time runs short. The zero value trains on nothing;
// start from DefaultConfig.
// The tags are as in model.Config.
type Config struct {
	Fast     bool          `koanf:"fast" json:"fast" doc:"each part gives a step at once, in micro-batches; false leaves all training to the buckets"`
	Pretrain time.Duration `koanf:"pretrain" json:"pretrain" doc:"how far behind the newest part a trainer without a checkpoint begins to train; 0s begins with the log"`

	Buckets int           `koanf:"buckets" json:"buckets" doc:"users are dealt to so many buckets, one of which is trained on per period; 0 trains on none"`
	Period  time.Duration `koanf:"period" json:"period" doc:"event time between two runs over a bucket"`
	Window  int           `koanf:"window" json:"window" doc:"periods whose parts a run learns from; what is older is input only"`
	Epochs  int           `koanf:"epochs" json:"epochs" doc:"how many times a run walks its users"`
	Share   float64       `koanf:"share" json:"share" doc:"of the training work that runs may take while parts are waiting; 1 finishes a run before the next part"`
	Salt    uint64        `koanf:"salt" json:"salt" doc:"of the buckets, their order, and what is drawn"`

	Decay            time.Duration `koanf:"decay" json:"decay" doc:"age at which a part weighs half in the loss; 0s weighs all the same"`
	StochasticLength float64       `koanf:"stochastic_length" json:"stochastic_length" doc:"HSTU's alpha, above 1 and below 2: histories longer than n^(alpha/2) of n parts are mostly thinned to that; 0 leaves them whole"`
	Distill          float64       `koanf:"distill" json:"distill,omitempty" doc:"weight of the distance, in the loss of every step, to what the model said when the last period ended; 0 is none"`

	LagSoft time.Duration `koanf:"lag_soft" json:"lag_soft" doc:"how far training may be behind the log, in event time, before runs and then history give way; 0s never gives way"`
	LagHard time.Duration `koanf:"lag_hard" json:"lag_hard" doc:"the same, before parts give way"`
}

// DefaultConfig returns the defaults, each with its reason.
func DefaultConfig() Config {
	return Config{
		Fast:    true,
		Buckets: 10, Window: 10, // TBGRecall's: each part is learned from once more, when it is 4.5 periods old on average
		Period:  time.Hour, // a stream of news has forgotten half of a model in six; a run is then a tenth of an hour's users
		Epochs:  1,
		Share:   0.25, // freshness first: three of four parts of the work are the stream's
		Salt:    1,
		LagSoft: 30 * time.Second, // three micro-batches of the slowest stream (batch_span), so that none of them alone is a lag
		LagHard: 2 * time.Minute,  // ten minutes of delay were measured to cost a hundredth of the recall: what is lost before is little
	}
}

// Bounds of what a policy may ask for.
const (
	maxBuckets = 4096
	maxWindow  = 1 << 20 // periods: as good as all
	maxEpochs  = 1000
	maxDistill = 100 // what was clicked would hardly count
)

// AllPeriods is a window that reaches back as far as any log.
const AllPeriods = maxWindow

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(!c.Fast && c.Buckets == 0, "fast false, buckets 0: nothing would be trained on")
	fault(c.Pretrain < 0, "pretrain %v: must not be negative", c.Pretrain)
	fault(c.Buckets < 0 || c.Buckets > maxBuckets, "buckets %d: must be from 0 to %d", c.Buckets, maxBuckets)
	if c.Buckets > 0 || c.Distill > 0 {
		fault(c.Period < time.Millisecond, "period %v: must be at least 1ms", c.Period)
	}
	if c.Buckets > 0 {
		fault(c.Window < 1 || c.Window > maxWindow, "window %d: must be from 1 period to %d", c.Window, maxWindow)
		fault(c.Epochs < 1 || c.Epochs > maxEpochs, "epochs %d: must be from 1 to %d", c.Epochs, maxEpochs)
		fault(!(c.Share > 0 && c.Share <= 1), "share %v: must be above 0, or no run would ever end, and at most 1", c.Share)
	}
	fault(c.Decay < 0, "decay %v: must not be negative", c.Decay)
	fault(c.StochasticLength != 0 && !(c.StochasticLength > 1 && c.StochasticLength < 2), "stochastic_length %v: must be above 1 and below 2, or 0 for none", c.StochasticLength)
	fault(!(c.Distill >= 0 && c.Distill <= maxDistill), "distill %v: must be from 0 to %d", c.Distill, maxDistill)
	fault(c.LagSoft < 0, "lag_soft %v: must not be negative", c.LagSoft)
	fault(c.LagSoft == 0 && c.LagHard != 0, "lag_hard %v without lag_soft: parts would give way before older work does", c.LagHard)
	fault(c.LagSoft > 0 && c.LagHard <= c.LagSoft, "lag_hard %v: must be above lag_soft %v", c.LagHard, c.LagSoft)
	return errors.Join(faults...)
}

// Begin returns the due from which on a trainer without a checkpoint trains, where the newest part of its log is due at newest; 0, which is before
// every click, for all. What is newest then does not follow from the log: it is written down before it is acted on (Decision.Begin).
func (c Config) Begin(newest schema.EventTime) schema.EventTime {
	if c.Pretrain == 0 {
		return 0
	}
	return newest.Add(-c.Pretrain)
}

// Ends says whether a period has ended between two due times, the former being that of the latest part so far.
func (c Config) Ends(before, latest schema.EventTime) bool {
	return before != schema.BeginningOfTime && c.periodOf(before) < c.periodOf(latest)
}

// Weight returns what a part of an age weighs in the loss: 2^(-age/Decay), and 1 for those that are not older than the present.
func (c Config) Weight(age time.Duration) float64 {
	if c.Decay <= 0 || age <= 0 {
		return 1
	}
	return math.Exp2(-float64(age) / float64(c.Decay))
}
