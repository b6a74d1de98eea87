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

// What is set of the model reaches the trainer, whether it is a key of the model or one that stands elsewhere.
func TestConfigOfTheModelReachesTheTrainer(t *testing.T) {
	l, err := config.Load(config.Places{Environ: []string{
		"FRESHET_TRAIN_MODEL_MASK=causal", "FRESHET_TRAIN_MODEL_TOKEN_NETWORKS=true", "FRESHET_TRAIN_MODEL_ROTARY=token", "FRESHET_TRAIN_MODEL_HORIZON=3",
		"FRESHET_TRAIN_MODEL_EXPERTS=4", "FRESHET_TRAIN_MODEL_DROPOUT=0.1", "FRESHET_TRAIN_MODEL_LOGQ=false", "FRESHET_TRAIN_SEED=9", "FRESHET_TRAIN_HISTORY_PARTS=7",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := trainer.DefaultConfig()
	want.Learn.HistoryParts = 7
	m := &want.Learn.Model
	m.Mask, m.TokenNetworks, m.Rotary, m.Horizon, m.Experts, m.Dropout, m.LogQ, m.Seed, m.MaxSessions = "causal", true, "token", 3, 4, 0.1, false, 9, 7
	if diff := cmp.Diff(want, trainerConfig(l.Train)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
