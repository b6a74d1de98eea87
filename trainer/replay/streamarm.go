package replay

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Online says how an arm of the prequential protocol goes through the stream, beside what its learner says itself.
type Online struct {
	BatchParts   int           `koanf:"batch_parts"`   // most parts of a micro-batch
	BatchSpan    time.Duration `koanf:"batch_span"`    // longest event time of a micro-batch
	HistoryParts int           `koanf:"history_parts"` // earlier parts of a user that are read
	Drift        string        `koanf:"drift"`         // what a drift of the loss leads to: watch or adapt
	// Delay is how much later, in event time, everything is learned: weights, tables and vocabulary.
	Delay time.Duration `koanf:"delay"`
	// WeightsDelay is how much later the weights learn; tables and vocabulary are live.
	WeightsDelay time.Duration `koanf:"weights_delay"`
	// FreezeAfter is the time since the first click after which the weights stay as they are; 0 is never. Tables go on.
	FreezeAfter time.Duration `koanf:"freeze_after"`
}

// DefaultOnline returns the defaults, which are those of the trainer.
func DefaultOnline() Online {
	return Online{BatchParts: 64, BatchSpan: 10 * time.Second, HistoryParts: learn.DefaultConfig().HistoryParts, Drift: learn.DriftWatch}
}

func (o Online) validate() (faults []error) {
	if o.BatchParts < 1 {
		faults = append(faults, fmt.Errorf("batch_parts=%d: must be positive", o.BatchParts))
	}
	if o.BatchSpan < time.Millisecond {
		faults = append(faults, fmt.Errorf("batch_span=%v: must be at least 1ms", o.BatchSpan))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"delay", o.Delay}, {"weights_delay", o.WeightsDelay}, {"freeze_after", o.FreezeAfter}} {
		if d.d < 0 {
			faults = append(faults, fmt.Errorf("%s=%v: must not be negative", d.name, d.d))
		}
	}
	if o.Delay > 0 && o.WeightsDelay > 0 {
		faults = append(faults, errors.New("delay and weights_delay are both given: delay makes the weights late, too: keep one"))
	}
	return faults
}

// decision is how every batch of the arm is made: a replay is not behind anything, so nothing gives way.
func (a StreamArm) decision() recency.Decision {
	d := recency.Decision{BatchParts: a.Online.BatchParts, HistoryParts: a.Online.HistoryParts, Keep: 1}
	if a.Learn.Recency.Buckets > 0 {
		d.Share = a.Learn.Recency.Share
	}
	return d
}

// late is how much later the weights learn.
func (o Online) late() time.Duration { return max(o.Delay, o.WeightsDelay) }

// StreamArm is one of the learners that are compared on a stream.
type StreamArm struct {
	Name   string
	Learn  learn.Config
	Online Online
}

// ParseStreamArms reads arms of the prequential protocol, from defaults, as ParseArms reads its own. Keys are the koanf tags of Online, model.Config,
// recency.Config and baseline.Config, and lr and negatives, as for the other protocols.
func ParseStreamArms(specs []string, defaults StreamArm) ([]StreamArm, error) {
	if len(specs) == 0 {
		specs = []string{"default"}
	}
	var arms []StreamArm
	var faults []error
	seen := map[string]bool{}
	for _, spec := range specs {
		name, rest, wrong := nameOf(spec)
		arm := defaults
		arm.Name = name
		if len(wrong) == 0 {
			var given map[string]bool
			given, wrong = arm.fields().read(rest, streamPresets)
			arm.Learn.HistoryParts, arm.Learn.Drift = arm.Online.HistoryParts, arm.Online.Drift
			arm.Learn.TestParts, arm.Learn.TestScores = 0, math.MaxInt32 // to compare arms is to test them on all
			if !given["max_sessions"] {
				arm.Learn.Model.MaxSessions = arm.Online.HistoryParts
			}
			wrong = append(wrong, arm.Online.validate()...)
			wrong = append(wrong, parts(arm.Learn.Validate())...)
		}
		for _, f := range wrong {
			faults = append(faults, fmt.Errorf("--arm %s: %w", name, f))
		}
		if name != "" && seen[name] {
			faults = append(faults, fmt.Errorf("--arm %s: there are two of this name: rename one", name))
		}
		seen[name] = true
		arms = append(arms, arm)
	}
	if len(arms) > maxStreamArms {
		faults = append(faults, fmt.Errorf("%d arms are more than the %d that can be compared at once: give fewer", len(arms), maxStreamArms))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return arms, nil
}

// maxStreamArms leaves room for the baselines beside them (evaluate compares up to 32).
const maxStreamArms = 24

// streamPresets are named settings of arms: the policies that TBGRecall (arXiv 2508.11977) compares, by the day, and ours.
var streamPresets = map[string]string{
	"full":        "fast=false,buckets=1,window=1048576,period=24h,share=1",
	"incremental": "fast=false,buckets=1,window=1,period=24h,share=1",
	"stochastic":  "fast=false,buckets=1,window=1048576,period=24h,share=1,stochastic_length=1.6",
	"pit":         "fast=false,buckets=10,window=10,period=24h,share=1",
	"fast":        "fast=true,buckets=0",
	"fast-pit":    "fast=true,buckets=10,window=10",
	"frozen":      "fast=true,buckets=0,freeze_after=72h",
}

func (a *StreamArm) fields() fields {
	f := fieldsOf(&a.Learn.Model, &a.Learn.Baseline, &a.Learn.Recency, &a.Online)
	for _, key := range []string{"pretrain", "lag_soft", "lag_hard"} { // of a trainer that is behind, or begins behind a log
		delete(f, key)
	}
	return f
}

// Settings returns everything that makes the arm what it is, as KEY=VALUE,…
func (a StreamArm) Settings() string { return a.fields().String() }
