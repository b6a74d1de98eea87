package trainer

import (
	"errors"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Config says how the model is trained. The zero value is not usable; start from DefaultConfig.
type Config struct {
	// BatchParts bounds a micro-batch, in parts that have something to predict.
	BatchParts int `json:"batch_parts"`
	// BatchSpan bounds a micro-batch in event time: it ends where the due times pass a multiple of BatchSpan. It keeps a
	// slow stream fresh, where BatchParts alone would wait.
	BatchSpan time.Duration `json:"batch_span"`

	// PublishEvery is the pause between versions, in wall-clock time. It does not touch the weights (I4).
	PublishEvery time.Duration `json:"publish_every"`
	// WeightsEvery is the pause between versions that carry weights, in wall-clock time; those between them carry the live tables alone, which are a small part
	// of the bytes. 0 is weights in every version, and so are versions of a model without terms, which uses no tables.
	WeightsEvery time.Duration `json:"weights_every,omitzero"`
	// Publishing says how the weights in a version travel. It does not touch those that are trained.
	Publishing model.Publishing `json:"publishing,omitzero"`
	// CheckpointEvery is the pause between checkpoints, in wall-clock time. What came after the last one is read from the
	// log again after a crash.
	CheckpointEvery time.Duration `json:"checkpoint_every"`
	// KeepCheckpoints is how many restore points stay on disk, beside the last one before the newest base.
	KeepCheckpoints int `json:"keep_checkpoints"`

	Learn learn.Config `json:"learn"`
}

// DefaultConfig returns the defaults, each with its reason.
func DefaultConfig() Config {
	return Config{
		BatchParts:   64,               // 16 to 64 clicks a step measured equal on news clicks, larger worse
		BatchSpan:    10 * time.Second, // at two clicks a second still some twenty clicks a step
		PublishEvery: 2 * time.Second,
		WeightsEvery: 0, // as fresh as can be
		// Measured on news clicks: recall as without, and a delta of a minute a third to a sixth of its size. See BENCHMARKS.md, Versions.
		Publishing:      model.Publishing{Rows: model.Float32, MinChange: 0.03},
		CheckpointEvery: 30 * time.Second,
		KeepCheckpoints: 2, // the newest may be damaged by the disk; the one before replays a little more log, and so does that before the newest base
		Learn:           learn.DefaultConfig(),
	}
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	positive := func(name string, v int64, is any) {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("%s %v: must be positive", name, is))
		}
	}
	positive("batch_parts", int64(c.BatchParts), c.BatchParts)
	positive("batch_span", int64(c.BatchSpan.Milliseconds()), c.BatchSpan)
	positive("publish_every", int64(c.PublishEvery), c.PublishEvery)
	positive("checkpoint_every", int64(c.CheckpointEvery), c.CheckpointEvery)
	positive("keep_checkpoints", int64(c.KeepCheckpoints), c.KeepCheckpoints)
	if c.WeightsEvery < 0 {
		faults = append(faults, fmt.Errorf("weights_every %v: must not be negative; 0s is weights in every version", c.WeightsEvery))
	}
	if err := c.Publishing.Validate(); err != nil {
		faults = append(faults, err)
	}
	if err := c.Learn.Validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
