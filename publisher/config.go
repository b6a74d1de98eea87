package publisher

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says what a Publisher publishes and how. Fields left zero take their default.
type Config struct {
	Model string // name of the line of versions; required
	ID    string // names this publisher to the operator, e.g. host and process; required

	// Holder is who may take the line over from itself at once, as a start does after a crash: what only one process at a time can be, such as the owner of a
	// directory. A signing key is not: several publishers may have the same. Default: ID.
	Holder string
	// TakeOver takes the line from whoever holds it. The other then stops.
	TakeOver bool

	BaseEvery int // deltas between two bases; default 64: a late replica fetches at most so many deltas. At most MaxChain
	Keep      int // chains kept in the store, the current one included; default 2: a replica in the middle of the old one can finish
	Copies    int // NATS servers that keep each object; default 1

	Seed []byte // nkey seed to sign with; none = unsigned

	// Metric and MaxDrop guard against publishing a model that got worse: a version whose Metric is lower than the last
	// published one's by more than MaxDrop of it (0.2 = a fifth) is refused. Default: no guard but the one on finite weights.
	Metric  string
	MaxDrop float64

	// After is a version that is known to have been published, e.g. from a checkpoint: numbers go on above it even when NATS
	// has lost everything, so that no replica sees a version number twice.
	After schema.Version

	PutTimeout time.Duration // bounds each attempt to store one object; default 30 s
	Attempts   int           // of each call; default 4
	Backoff    Backoff       // between attempts

	Now        func() time.Time      // default time.Now
	Log        *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // where the metrics go; none = not measured
}

func (c Config) withDefaults() Config {
	if c.Holder == "" {
		c.Holder = c.ID
	}
	if c.BaseEvery == 0 {
		c.BaseEvery = 64
	}
	if c.Keep == 0 {
		c.Keep = 2
	}
	if c.Copies == 0 {
		c.Copies = 1
	}
	if c.PutTimeout == 0 {
		c.PutTimeout = 30 * time.Second
	}
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("publisher: "+format, args...))
		}
	}
	if err := CheckName(c.Model); err != nil {
		faults = append(faults, fmt.Errorf("publisher: model %w", err))
	}
	fault(c.ID == "" || len(c.ID) > 256, "id %q: must have 1 to 256 bytes", c.ID)
	fault(len(c.Holder) > 256, "holder: must have at most 256 bytes")
	fault(c.BaseEvery < 1 || c.BaseEvery > MaxChain, "base_every %d: must be 1 to %d", c.BaseEvery, MaxChain)
	fault(c.Keep < 1, "keep %d: must be at least 1", c.Keep)
	fault(c.Copies < 1 || c.Copies > 5, "copies %d: must be 1 to 5", c.Copies)
	fault(c.MaxDrop < 0 || c.MaxDrop >= 1, "max_drop %v: must be at least 0 and below 1", c.MaxDrop)
	fault(c.MaxDrop > 0 && c.Metric == "", "max_drop needs the metric that it guards")
	fault(c.PutTimeout < 0, "put_timeout %v: must be positive", c.PutTimeout)
	fault(c.Attempts < 1, "attempts %d: must be at least 1", c.Attempts)
	if len(c.Seed) > 0 {
		_, err := nkeys.FromSeed(c.Seed)
		fault(err != nil, "seed is not an nkey seed: make one with \"nk -gen user\"")
	}
	return errors.Join(faults...)
}
