package trainer

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// runawayFeed is a log that grows by a minute whenever it is looked at.
type runawayFeed struct {
	memoryFeed
	looks int
}

func (f *runawayFeed) Frontier() (schema.EventTime, int64, error) {
	f.looks++
	return f.parts[max(0, f.next-1)].Due.Add(time.Duration(f.looks) * time.Minute), int64(len(f.parts)), nil
}

// TestDecisionsAreSaidOnceAndForgotten trains behind a log that runs away. What gives way must be said when it changes and not for each batch, in
// the counts, and in the journal only as far as a restore point that is kept needs it.
func TestDecisionsAreSaidOnceAndForgotten(t *testing.T) {
	c := smallConfig()
	c.BatchParts, c.Learn.Recency.LagSoft, c.Learn.Recency.LagHard = 2, time.Second, 2*time.Second
	dir := t.TempDir()
	var out bytes.Buffer
	trainer, err := Open(dir, c, NewFreshness(nil), slog.New(slog.NewTextHandler(&out, nil)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if s := trainer.Stats(); s.Lag >= 0 {
		t.Errorf("a lag of %v was measured before anything was", s.Lag)
	}
	trainer.decisions.rotateAt = 1
	trainer.Finish()
	if err := trainer.Run(t.Context(), &runawayFeed{memoryFeed: memoryFeed{parts: drawParts(800), perCall: 10}}, &shelf{}); err != nil {
		t.Fatal(err)
	}
	s := trainer.Stats()
	if s.Level < recency.SampleParts || s.Shed.Parts == 0 || s.Shed.HistoryParts == 0 || s.Lag < 0 {
		t.Fatalf("too little gave way to test anything: %+v", s)
	}
	if n, level := strings.Count(out.String(), "level=INFO msg=\"training is "), int(s.Level); n < level || int64(n) > s.Batches/riseBatches {
		t.Errorf("level %d was reached in %d batches, and the log speaks of it %d times:\n%s", level, s.Batches, n, out.String())
	}
	for _, line := range []string{"behind: runs wait\"", "behind: runs wait, histories are half as long\"", "one part in 2 is trained on\""} {
		if strings.Count(out.String(), line) != 1 {
			t.Errorf("the log says %q %d times", line, strings.Count(out.String(), line))
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, decisionsFile))
	if err != nil {
		t.Fatal(err)
	}
	oldest, kept := trainer.saved.oldest(), linesOf(t, content)
	if oldest == 0 || len(kept) == 0 || kept[0].Batch > oldest || len(kept) > 1 && kept[1].Batch <= oldest {
		t.Errorf("the oldest restore point is of batch %d, and the journal has %+v", oldest, kept)
	}
}

// riseBatches is less than a level lasts at least (recency.Governor), and a size of micro-batches.
const riseBatches = 4
