package trainer

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
)

func sampleState(batches int64) (state, []Table) {
	s := state{
		Format: checkpointFormat, Config: []byte(`{"a":1}`), State: learn.State{
			Position: schema.Position{0: 3, 11: 9, 2: 1}, Latest: 1_700_000_000_000,
			Counts: learn.Counts{Batches: batches, Parts: 5, Clicks: 8, Steps: schema.Step(batches), Skipped: 2},
		},
	}
	return s, []Table{{"items", schema.Table{Columns: []schema.Column{{Name: "row", Data: []int32{1, 2}}}}}}
}

func TestCheckpointRoundTripAndRetention(t *testing.T) {
	dir := t.TempDir()
	var digests []string
	for b := int64(1); b <= 4; b++ {
		s, tables := sampleState(b)
		digest, err := writeCheckpoint(dir, s, tables, 2)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 2 {
		t.Errorf("files after four checkpoints, two kept: %v", names)
	}
	s, tables, ok, err := readCheckpoint(dir, slog.New(slog.DiscardHandler))
	if err != nil || !ok {
		t.Fatalf("read: %v, %v", ok, err)
	}
	want, wantTables := sampleState(4)
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantTables[0].Table, tables["items"]); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	again, err := writeCheckpoint(t.TempDir(), want, wantTables, 1)
	if err != nil || again != digests[3] {
		t.Errorf("the same state has digest %s here and %s there (%v)", digests[3], again, err)
	}
}

// TestDamagedCheckpointFallsBack flips and cuts bytes all over the newest checkpoint: each time it is either read whole or
// passed over for the one before, never half-loaded.
func TestDamagedCheckpointFallsBack(t *testing.T) {
	dir := t.TempDir()
	for b := int64(1); b <= 2; b++ {
		s, tables := sampleState(b)
		if _, err := writeCheckpoint(dir, s, tables, 2); err != nil {
			t.Fatal(err)
		}
	}
	names, err := checkpoints(dir)
	if err != nil || len(names) != 2 {
		t.Fatalf("checkpoints: %v, %v", names, err)
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	fellBack := 0
	check := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(names[0], b, 0o644); err != nil {
			t.Fatal(err)
		}
		s, _, ok, err := readCheckpoint(dir, slog.New(slog.DiscardHandler))
		if err != nil || !ok {
			t.Fatalf("no checkpoint was read: %v", err)
		}
		if want, _ := sampleState(s.Batches); !cmp.Equal(want, s) {
			t.Fatalf("a state that nobody wrote was loaded: %s", cmp.Diff(want, s))
		}
		if s.Batches == 1 {
			fellBack++
		}
	}
	for at := 0; at < len(whole); at += 7 {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x41
		check(damaged)
		check(whole[:at])
	}
	if fellBack == 0 {
		t.Error("no damage was ever noticed")
	}
}
