package main

import (
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/trainer"
	"github.com/google/go-cmp/cmp"
)

// The way from a part's default through the configuration and back must lose nothing: a field that one of the two
// directions forgets would run with another value than "freshet config" prints.
func TestDefaultsAreThePartsOwn(t *testing.T) {
	c := config.Default()
	if diff := cmp.Diff(window.DefaultConfig(), windowConfig(c.Window)); diff != "" {
		t.Errorf("window (-part +config):\n%s", diff)
	}
	if diff := cmp.Diff(trainer.DefaultConfig(), trainerConfig(c.Train)); diff != "" {
		t.Errorf("trainer (-part +config):\n%s", diff)
	}
	if diff := cmp.Diff(sim.DefaultConfig(), simConfig(c)); diff != "" {
		t.Errorf("sim (-part +config):\n%s", diff)
	}
}
