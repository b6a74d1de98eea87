package trainer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// shelf is a publisher that remembers, and fails when it is told to.
type shelf struct {
	kinds    []schema.Kind
	versions []Version
	fail     func(n int) error // asked before the n-th publication
	needBase bool
	baseEach int // every so many versions are bases that follow; 0 = none are
}

func (s *shelf) NextKind() schema.Kind {
	if n := len(s.versions); s.needBase || n == 0 || s.baseEach > 0 && n%s.baseEach == 0 {
		return schema.KindBase
	}
	return schema.KindDelta
}

func (s *shelf) Follows() bool { return !s.needBase && len(s.versions) > 0 }

func (s *shelf) Publish(_ context.Context, v Version) (schema.Version, error) {
	s.kinds = append(s.kinds, v.Kind)
	if s.fail != nil {
		if err := s.fail(len(s.kinds)); err != nil {
			s.needBase = true
			return 0, err
		}
	}
	s.needBase = false
	s.versions = append(s.versions, v)
	return schema.Version(len(s.versions)), nil
}

func smallConfig() Config {
	c := DefaultConfig()
	c.BatchParts, c.BatchSpan, c.PublishEvery, c.CheckpointEvery = 8, 2*time.Second, time.Millisecond, time.Millisecond
	c.Learn.Recency.LagSoft, c.Learn.Recency.LagHard = 0, 0 // the whole log is there at once: that is no reason to pass over it
	c.Learn.Recency.Period, c.Learn.Recency.Buckets, c.Learn.Recency.Window = 5*time.Second, 3, 3
	c.Learn.Model.Dim, c.Learn.Model.NegativesUniform, c.Learn.Model.NegativesRecent = 8, 8, 8
	return c
}

func openTrainer(t testing.TB, dir string, c Config) *Trainer {
	t.Helper()
	trainer, err := Open(dir, c, NewFreshness(nil), slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return trainer
}

// TestStoppedAnywhereEndsTheSame trains a log in one go, and again with a stop or a failing feed every few parts; each time the
// next trainer goes on from the checkpoint. The state in the last checkpoint must be the same, byte for byte (I3, I4), and with it the metrics.
func TestStoppedAnywhereEndsTheSame(t *testing.T) {
	t.Run("all rows", func(t *testing.T) { stopAnywhere(t, smallConfig()) })
	t.Run("rows come and go", func(t *testing.T) { stopAnywhere(t, churnConfig()) })
	t.Run("distilled", func(t *testing.T) {
		c := churnConfig()
		c.Learn.Recency.Distill = 0.5
		stopAnywhere(t, c)
	})
}

// churnConfig has fewer rows than drawParts has items.
func churnConfig() Config {
	c := smallConfig()
	m := &c.Learn.Model
	m.MaxItems, m.AdmitAfter, m.AdmitSketch, m.ExpireAfter, m.RowMemory, m.Plasticity = 32, 2, 1<<10, time.Minute, 50, 0.1
	return c
}

func stopAnywhere(t *testing.T, config Config) {
	parts := drawParts(400)
	whole := openTrainer(t, t.TempDir(), config)
	whole.Finish()
	var pub shelf
	if err := whole.Run(t.Context(), &memoryFeed{parts: parts, perCall: 1 << 20}, &pub); err != nil {
		t.Fatal(err)
	}
	want := whole.Stats()
	if want.Steps == 0 || want.RunSteps == 0 || want.Whole.Tests == 0 || want.Clicks == 0 || want.Skipped != 0 {
		t.Fatalf("nothing to compare: %+v", want)
	}
	if last := pub.versions[len(pub.versions)-1]; last.Step != want.Steps || last.Items != want.Items {
		t.Errorf("the last version is of step %d with %d items, the trainer at step %d with %d", last.Step, last.Items, want.Steps, want.Items)
	}
	if m, most := whole.learner.Model(), config.Learn.Model.MaxItems; most < 40 && (m.Live() == m.Items() || m.Items() > most) {
		t.Errorf("%d of %d rows are in use: none was given up", m.Live(), m.Items())
	}
	for _, every := range []int{1, 37, 100, 250} {
		dir, runs := t.TempDir(), 0
		for {
			trainer := openTrainer(t, dir, config)
			from := int(trainer.Position()[0])
			trainer.Finish()
			feed := &memoryFeed{parts: parts, next: from, perCall: 1 + every/3, failAt: from + every}
			err := trainer.Run(t.Context(), feed, &shelf{})
			if oldest := trainer.saved.holds()[0][0]; feed.holds < 2 || feed.held != oldest || oldest > trainer.Position()[0] {
				t.Errorf("%d positions were held, the last at %d, the oldest checkpoint is at %d and the newest at %d", feed.holds, feed.held, oldest, trainer.Position()[0])
			}
			if runs++; err == nil {
				got := trainer.Stats()
				got.Version, want.Version = 0, 0 // counts publications, which the clock decides
				got.Loss, want.Loss = 0, 0       // of the last step of this process, if it took one
				got.Lag, want.Lag = 0, 0         // measured
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("stopped every %d parts (-never stopped +stopped):\n%s", every, diff)
				}
				break
			}
			if !errors.Is(err, errFeed) {
				t.Fatal(err)
			}
			if from+every > 2*len(parts) || runs > 2*len(parts) {
				t.Fatal("the trainer does not come on")
			}
			if int(trainer.Position()[0]) == from { // not one batch fits between two stops
				every += 13
			}
		}
		if runs < 2 {
			t.Errorf("every %d: never stopped", every)
		}
	}
}

// TestPretrainingIsLimited: a new trainer does not step on what is older than it is told to look back, though its tables learn from it.
func TestPretrainingIsLimited(t *testing.T) {
	parts := drawParts(400)
	c := smallConfig()
	c.Learn.Recency.Buckets = 0
	c.Learn.Recency.Pretrain = time.Duration(parts[399].Due-parts[300].Due) * time.Millisecond
	run := func(dir string, log []schema.Part, from int) Stats {
		trainer := openTrainer(t, dir, c)
		trainer.Finish()
		if err := trainer.Run(t.Context(), &memoryFeed{parts: log, next: from, perCall: 20}, &shelf{}); err != nil {
			t.Fatal(err)
		}
		return trainer.Stats()
	}
	whole := run(t.TempDir(), parts, 0)
	if whole.Early < 100 || whole.Early > 300 || whole.Parts != 400 || whole.Shed.Parts != 0 {
		t.Errorf("%d parts were too early, %d shed, of %d", whole.Early, whole.Shed.Parts, whole.Parts)
	}
	c.Learn.Recency.Pretrain = 0
	if all := run(t.TempDir(), parts, 0); all.Early != 0 || all.Tokens <= 2*whole.Tokens {
		t.Errorf("without a limit %d parts are early, and %d tokens are read, with one %d", all.Early, all.Tokens, whole.Tokens)
	}
}

func TestOtherConfigIsRefused(t *testing.T) {
	dir, c := t.TempDir(), smallConfig()
	first := openTrainer(t, dir, c)
	first.Finish()
	if err := first.Run(t.Context(), &memoryFeed{parts: drawParts(50), perCall: 10}, &shelf{}); err != nil {
		t.Fatal(err)
	}
	c.PublishEvery, c.KeepCheckpoints = time.Hour, 9 // the weights do not depend on these
	openTrainer(t, dir, c)
	c.Learn.Model.Seed++
	_, err := Open(dir, c, NewFreshness(nil), slog.New(slog.DiscardHandler), time.Now)
	if err == nil || !strings.Contains(err.Error(), "(learn.model.seed is 1 there, 2 here)") {
		t.Errorf("a checkpoint of another seed: %v", err)
	}
}

// TestFailedReadLeavesTheStateWhole fails in the middle of building a batch: what was not trained must not show.
func TestFailedReadLeavesTheStateWhole(t *testing.T) {
	parts := drawParts(300)
	run := func(fail bool) Stats {
		dir := t.TempDir()
		if fail {
			broken := openTrainer(t, dir, smallConfig())
			if err := broken.Run(t.Context(), &memoryFeed{parts: parts, perCall: 50, noMemory: errFeed}, &shelf{}); !errors.Is(err, errFeed) {
				t.Fatalf("got %v", err)
			}
		}
		trainer := openTrainer(t, dir, smallConfig())
		trainer.Finish()
		if err := trainer.Run(t.Context(), &memoryFeed{parts: parts, next: int(trainer.Position()[0]), perCall: 50}, &shelf{}); err != nil {
			t.Fatal(err)
		}
		return trainer.Stats()
	}
	if want, got := run(false).Digest, run(true).Digest; want != got {
		t.Errorf("after a failed read the digest is %s, want %s", got, want)
	}
}

// TestPublicationFailsAndIsMadeUp lets every second publication fail: the last version must still hold everything, as a base.
func TestPublicationFailsAndIsMadeUp(t *testing.T) {
	pub := shelf{fail: func(n int) error {
		if n%2 == 0 {
			return errors.New("no answer")
		}
		return nil
	}}
	trainer := openTrainer(t, t.TempDir(), smallConfig())
	trainer.Finish()
	if err := trainer.Run(t.Context(), &memoryFeed{parts: drawParts(400), perCall: 20}, &pub); err != nil {
		t.Fatal(err)
	}
	if last := pub.versions[len(pub.versions)-1]; last.Step != trainer.Stats().Steps {
		t.Errorf("the last version is of step %d of %d", last.Step, trainer.Stats().Steps)
	}
	for i := 2; i < len(pub.kinds); i += 2 {
		if pub.kinds[i] != schema.KindBase {
			t.Errorf("publication %d follows a failed one as a %s", i+1, pub.kinds[i])
		}
	}
}

// TestWeightsComeLater publishes weights rarely: versions between them have the live tables alone, and say with which weights they are used. Bases, also those that make
// up for a failed publication, have all; so has the last version, whatever was due.
func TestWeightsComeLater(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration
		terms bool
		fail  func(n int) error
		bases int
		alone bool
	}{
		"always":       {terms: true},
		"later":        {every: time.Hour, terms: true, alone: true},
		"with failure": {every: time.Hour, terms: true, alone: true, fail: func(n int) error { return map[int]error{4: errors.New("no answer")}[n] }},
		"no terms":     {every: time.Hour},
		"bases":        {every: time.Hour, terms: true, alone: true, bases: 7},
	} {
		c := smallConfig()
		c.PublishEvery, c.WeightsEvery, c.CheckpointEvery, c.Learn.Model.Terms = time.Nanosecond, tc.every, time.Hour, tc.terms
		pub := shelf{fail: tc.fail, baseEach: tc.bases}
		trainer := openTrainer(t, t.TempDir(), c)
		trainer.Finish()
		if err := trainer.Run(t.Context(), &memoryFeed{parts: drawParts(2000), perCall: 5}, &pub); err != nil {
			t.Fatal(err)
		}
		var live *baseline.Served
		var served *model.Served
		var weights Version // the newest with weights
		alone := 0
		for i, v := range pub.versions {
			objects, changed := byName(v.Tables), byName(v.FromParent)
			_, items := objects["items"]
			_, params := objects["params"]
			_, counts := objects[baseline.ObjectCounts]
			switch {
			case items != params || counts != tc.terms || v.Kind == schema.KindBase && !items:
				t.Fatalf("%s: version %d is a %s with items %v, params %v, counts %v", name, i, v.Kind, items, params, counts)
			case items:
				weights = v
			default:
				alone++
				if v.Step != weights.Step || v.Items != weights.Items || v.Through.Positions[0] <= weights.Through.Positions[0] {
					t.Errorf("%s: version %d says step %d and %d items, its weights are of %d with %d", name, i, v.Step, v.Items, weights.Step, weights.Items)
				}
			}
			if (len(changed) > 0) != (i > 0 && v.Kind == schema.KindBase && tc.fail == nil) {
				t.Errorf("%s: version %d is a %s, beside which %d tables say what changed", name, i, v.Kind, len(changed))
			}
			if !tc.terms {
				continue
			}
			var err error
			switch {
			case len(changed) > 0: // both ways make the same version
				served, err = served.Apply(changed["items"], changed["params"])
				if err == nil {
					live, err = live.Apply(changed)
				}
				if err == nil {
					same(t, served, live, objects)
				}
			case v.Kind == schema.KindBase:
				if served, err = model.LoadServed(objects["items"], objects["params"]); err == nil {
					live, err = baseline.LoadServed(objects)
				}
			default:
				if live, err = live.Apply(objects); err == nil && items {
					served, err = served.Apply(objects["items"], objects["params"])
				}
			}
			if err != nil {
				t.Fatalf("%s: version %d: %v", name, i, err)
			}
		}
		last := pub.versions[len(pub.versions)-1]
		if stats := trainer.Stats(); last.Step != stats.Steps || last.Items != stats.Items || &last.Tables[0] != &weights.Tables[0] {
			t.Errorf("%s: the last version is of step %d of %d", name, last.Step, stats.Steps)
		}
		if alone > 0 != tc.alone {
			t.Errorf("%s: %d of %d versions have tables alone", name, alone, len(pub.versions))
		}
		if tc.terms {
			got, want := make([]float32, 40*model.ItemTerms), make([]float32, 40*model.ItemTerms)
			live.ItemTerms(got, 0)
			trainer.learner.Live().ItemTerms(want, 0)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: the terms that add up from the versions (-trainer +versions):\n%s", name, diff)
			}
		}
	}
}

func byName(tables []Table) map[string]schema.Table {
	objects := map[string]schema.Table{}
	for _, table := range tables {
		objects[table.Name] = table.Table
	}
	return objects
}

// same compares a version that was made of the one before it with the base beside it.
func same(t *testing.T, served *model.Served, live *baseline.Served, base map[string]schema.Table) {
	t.Helper()
	whole, err := model.LoadServed(base["items"], base["params"])
	if err != nil {
		t.Fatal(err)
	}
	tables, err := baseline.LoadServed(base)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(s *model.Served, tables *baseline.Served) []model.Scored {
		q := model.Query{At: 1 << 40, Past: []model.ServedSession{{At: 1 << 40, Events: []model.ServedEvent{{ItemID: "i1", Action: schema.ActionClick}}}}}
		all, _ := s.With(tables).Recommend(q, s.Items())
		return all
	}
	want := answer(whole, tables)
	if diff := cmp.Diff(want, answer(served, live)); diff != "" || len(want) == 0 {
		t.Errorf("of %d items (-base +what changed):\n%s", len(want), diff)
	}
	got, all := make([]float32, 40*model.ItemTerms), make([]float32, 40*model.ItemTerms)
	live.ItemTerms(got, 0)
	tables.ItemTerms(all, 0)
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("terms (-base +what changed):\n%s", diff)
	}
}

// TestRefusedVersionIsNotTriedAgain: what the guard refuses stays refused until something has changed, and the trainer ends.
func TestRefusedVersionIsNotTriedAgain(t *testing.T) {
	pub := shelf{fail: func(int) error { return fmt.Errorf("%w: recall fell", ErrRefused) }}
	c := smallConfig()
	c.PublishEvery = time.Hour
	trainer := openTrainer(t, t.TempDir(), c)
	trainer.Finish()
	if err := trainer.Run(t.Context(), &memoryFeed{parts: drawParts(100), perCall: 20}, &pub); err != nil {
		t.Fatal(err)
	}
	if n := len(pub.kinds); n > 2 {
		t.Errorf("%d publications, want the first and the last", n)
	}
}

func TestFencedTrainerStops(t *testing.T) {
	pub := shelf{fail: func(n int) error { return fmt.Errorf("%w: it is in Rome", ErrFenced) }}
	trainer := openTrainer(t, t.TempDir(), smallConfig()) // never told to finish
	if err := trainer.Run(t.Context(), &memoryFeed{parts: drawParts(100), perCall: 5}, &pub); !errors.Is(err, ErrFenced) {
		t.Errorf("got %v, want ErrFenced", err)
	}
}

// TestCancelledTrainerSaves ends the context in the middle: the checkpoint must be there, at a cut.
func TestCancelledTrainerSaves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	trainer := openTrainer(t, dir, smallConfig())
	err := trainer.Run(ctx, &memoryFeed{parts: drawParts(400), perCall: 40}, &shelf{fail: func(n int) error {
		if n == 3 {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if again := openTrainer(t, dir, smallConfig()); again.Stats().Parts == 0 || again.Stats().Parts != trainer.Stats().Parts {
		t.Errorf("%d parts in the checkpoint, %d were trained on", again.Stats().Parts, trainer.Stats().Parts)
	}
}

// TestDamagedCheckpointsLoseNothing damages the newest checkpoint before each start: the log replays what is behind the one before, and the end is the same (I4).
func TestDamagedCheckpointsLoseNothing(t *testing.T) {
	parts := drawParts(300)
	whole := openTrainer(t, t.TempDir(), churnConfig())
	whole.Finish()
	if err := whole.Run(t.Context(), &memoryFeed{parts: parts, perCall: 1 << 20}, &shelf{}); err != nil {
		t.Fatal(err)
	}
	dir, back := t.TempDir(), 0
	c := churnConfig()
	c.CheckpointEvery = 1 // after every batch
	for at := 60; ; at += 60 {
		trainer := openTrainer(t, dir, c)
		trainer.Finish()
		from := int(trainer.Position()[0])
		feed := &memoryFeed{parts: parts, next: from, perCall: 15, failAt: at}
		err := trainer.Run(t.Context(), feed, &shelf{})
		if err == nil {
			if got, want := trainer.Stats().Digest, whole.Stats().Digest; got != want || back == 0 {
				t.Errorf("after %d damaged checkpoints the digest is %s, without them %s", back, got, want)
			}
			return
		}
		if !errors.Is(err, errFeed) {
			t.Fatal(err)
		}
		if len(trainer.saved.line) < 2 { // it came to no second checkpoint
			continue
		}
		newest := trainer.saved.line[len(trainer.saved.line)-1]
		b, err := os.ReadFile(filepath.Join(dir, newest.file))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(filepath.Join(dir, newest.file), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if again := openTrainer(t, dir, c); again.Position()[0] < newest.position[0] && again.Position()[0] >= feed.held {
			back++
		} else {
			t.Errorf("position %d beside a damaged checkpoint of %d; the log is held from %d", again.Position()[0], newest.position[0], feed.held)
		}
	}
}

// TestLogThatBeginsBehindTheCheckpoint is refused, in one line with the choice, until the trainer is told to skip what is gone.
func TestLogThatBeginsBehindTheCheckpoint(t *testing.T) {
	parts, dir := drawParts(500), t.TempDir()
	first := openTrainer(t, dir, smallConfig())
	first.Finish()
	if err := first.Run(t.Context(), &memoryFeed{parts: parts[:200], perCall: 20}, &shelf{}); err != nil {
		t.Fatal(err)
	}
	again := openTrainer(t, dir, smallConfig())
	at := again.Position()[0]
	feed := &shortFeed{memoryFeed{parts: parts[:400], next: int(at), perCall: 20}, at}
	again.Finish()
	if err := again.Run(t.Context(), feed, &shelf{}); err != nil {
		t.Errorf("a log that reaches back to the newest checkpoint only: %v", err)
	}
	last := openTrainer(t, dir, smallConfig())
	at = last.Position()[0]
	feed = &shortFeed{memoryFeed{parts: parts, next: int(at) + 10, perCall: 20}, at + 10}
	err := last.Run(t.Context(), feed, &shelf{})
	var gap *GapError
	if !errors.As(err, &gap) || !errors.Is(err, ErrGone) || gap.Position[0] != at || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "train.on_gap") {
		t.Fatalf("a log that begins behind the checkpoint: %v", err)
	}
	last.Skip(schema.Position{0: at + 10, 7: 5})
	if diff := cmp.Diff(schema.Position{0: at + 10}, last.Position()); diff != "" {
		t.Errorf("position after the skip (-want +got):\n%s", diff)
	}
	last.Finish()
	if err := last.Run(t.Context(), feed, &shelf{}); err != nil {
		t.Error(err)
	}
}
