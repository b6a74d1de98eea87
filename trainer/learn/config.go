package learn

import (
	"errors"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Config says what is learned and what is tested. The zero value is not usable; start from DefaultConfig.
type Config struct {
	// HistoryParts is how many earlier parts of a user are read.
	HistoryParts int `json:"history_parts"`
	// TestScores bounds what testing a batch costs on average: tests times items. Beyond it batches are left out, so that the cost of a click does not grow with
	// the catalogue.
	TestScores int `json:"test_scores"`
	// TestParts bounds the tests of a batch: the first of its parts, so many. A busy stream has full batches, and a quarter of its parts says as much as all. 0 is all.
	TestParts int `json:"test_parts"`
	// Others says whether the other arms are tested beside the model, and blended with it: they cost more than it does.
	Others bool `json:"others"`
	// Gap ends a session for the tests of whole sessions where its final part has not come.
	Gap time.Duration `json:"gap"`
	// Drift is what a drift of the loss leads to: DriftWatch or DriftAdapt.
	Drift    string          `json:"drift"`
	Model    model.Config    `json:"model"`
	Baseline baseline.Config `json:"baseline"`
	Recency  recency.Config  `json:"recency"`
}

// DefaultConfig returns the defaults, each with its reason.
func DefaultConfig() Config {
	return Config{
		HistoryParts: 20,      // model.MaxSessions
		TestScores:   1 << 19, // 16 tests of every batch up to 32,000 items, and of one in 31 at a million
		TestParts:    16,      // of 64: with all of them testing takes more than half of the time
		Others:       true,
		Gap:          30 * time.Minute, // the windows' default
		Drift:        DriftWatch,       // what adapting is worth depends on the stream
		Model:        model.DefaultConfig(),
		Baseline:     baseline.DefaultConfig(),
		Recency:      recency.DefaultConfig(),
	}
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	if c.HistoryParts <= 0 {
		faults = append(faults, fmt.Errorf("history_parts %d: must be positive", c.HistoryParts))
	}
	if c.TestScores < 0 {
		faults = append(faults, fmt.Errorf("test_scores %d: must not be negative; 0 tests nothing", c.TestScores))
	}
	if c.TestParts < 0 {
		faults = append(faults, fmt.Errorf("test_parts %d: must not be negative; 0 tests all", c.TestParts))
	}
	if c.Gap <= 0 {
		faults = append(faults, fmt.Errorf("gap %v: must be positive", c.Gap))
	}
	if c.Drift != DriftWatch && c.Drift != DriftAdapt {
		faults = append(faults, fmt.Errorf("drift %q: must be %s or %s", c.Drift, DriftWatch, DriftAdapt))
	}
	return errors.Join(append(faults, c.Model.Validate(), c.Baseline.Validate(), c.Recency.Validate())...)
}
