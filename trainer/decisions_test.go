package trainer

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/trainer/recency"
)

type fataler interface {
	Helper()
	Fatal(...any)
}

func openJournal(t fataler, dir string, batch int64) *decisions {
	t.Helper()
	d, err := openDecisions(dir, recency.NewGovernor(recency.DefaultConfig(), 64, 20), batch, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.rotateAt = 3
	return d
}

// linesOf reads a whole journal.
func linesOf(t fataler, content []byte) (made []recency.Decision) {
	t.Helper()
	for line := range bytes.Lines(content) {
		d, err := decodeDecision(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(made); n > 0 && made[n-1].Batch == d.Batch {
			made = made[:n-1]
		}
		made = append(made, d)
	}
	return made
}

// TestARestartFollowsTheJournal runs a trainer's batches with drawn lags, and crashes at drawn places: it goes back to a checkpoint that is
// kept, with other lags from there on and perhaps with a torn or damaged end of the file. Up to the last whole line it must decide as before;
// and by the end the file must say what was decided for each batch since the oldest checkpoint.
func TestARestartFollowsTheJournal(t *testing.T) {
	followed, rotated, waited := 0, 0, 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, decisionsFile)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		decided := map[int64]recency.Decision{} // what was decided, as the trainer that goes on knows it
		kept := []int64{0}                      // checkpoints
		d := openJournal(t, dir, 0)
		batch := int64(0)
		busy := true
		for range rapid.IntRange(1, 15).Draw(t, "acts") {
			switch rapid.IntRange(0, 3).Draw(t, "act") {
			case 0: // a checkpoint
				if batch > kept[len(kept)-1] {
					kept = append(kept, batch)
					kept = kept[max(0, len(kept)-2):]
				}
				before := len(d.made)
				if err := d.rotate(kept[0]); err != nil {
					t.Fatal(err)
				}
				if len(d.made) < before {
					rotated++
				}
			case 1: // a crash
				if err := d.close(); err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				last := d.made[:len(d.made):len(d.made)]
				damaged, whole := false, content
				if n := len(content); n > 0 {
					switch rapid.IntRange(0, 2).Draw(t, "damage") {
					case 1: // torn: the last line is not whole
						content = content[:n-rapid.IntRange(1, min(20, n)).Draw(t, "torn")]
						last, damaged = linesOf(t, whole[:bytes.LastIndexByte(whole[:n-1], '\n')+1]), true
					case 2: // a bit of the last line's sum is another
						content[n-5] ^= 1
						last, damaged = linesOf(t, whole[:bytes.LastIndexByte(whole[:n-1], '\n')+1]), true
					}
				}
				if err := os.WriteFile(path, content, 0o644); err != nil {
					t.Fatal(err)
				}
				batch = kept[len(kept)-1-rapid.IntRange(0, len(kept)-1).Draw(t, "checkpoint")]
				for kept[len(kept)-1] > batch {
					kept = kept[:len(kept)-1]
				}
				covered := int64(-1)
				if n := len(last); n > 0 && last[0].Batch <= batch {
					covered = last[n-1].Batch
				}
				for b := range decided {
					if b > covered && b >= batch || damaged && b >= covered { // of two lines for one, the second may be lost
						delete(decided, b)
					}
				}
				d = openJournal(t, dir, batch)
				if covered >= 0 && !slices.Equal(d.made, last) {
					t.Fatalf("the journal has %+v, want %+v", d.made, last)
				}
			default: // some batches
				busy = !busy
				for range rapid.IntRange(1, 60).Draw(t, "batches") {
					lag := time.Duration(0)
					if busy {
						lag = time.Minute * time.Duration(rapid.IntRange(1, 9).Draw(t, "lag"))
					}
					backlog := int(batch / 16 % 2)
					got, err := d.at(batch, func() recency.Signals { return recency.Signals{Lag: lag, Backlog: backlog, Runs: 1, Begin: 17} })
					if rapid.IntRange(0, 20).Draw(t, "waits") == 0 && err == nil { // for parts: it is asked for again
						got, err = d.at(batch, func() recency.Signals { return recency.Signals{Lag: lag, Runs: 1, Begin: 17} })
						waited++
					}
					if err != nil {
						t.Fatal(err)
					}
					if want, ok := decided[batch]; ok {
						followed++
						if got != want {
							t.Fatalf("batch %d: %+v, and before the crash %+v", batch, got, want)
						}
					}
					if got.Begin != 17 {
						t.Fatalf("training begins at %d", got.Begin)
					}
					decided[batch] = got
					batch++
				}
			}
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		again := openJournal(t, dir, kept[0])
		defer again.close()
		for b := kept[0]; b < batch && len(again.made) > 0 && b <= again.made[len(again.made)-1].Batch; b++ {
			if got, err := again.at(b, nil); err != nil || decided[b].BatchParts > 0 && got != decided[b] {
				t.Fatalf("batch %d: the file says %+v (%v), decided was %+v", b, got, err, decided[b])
			}
		}
	})
	if followed == 0 || rotated == 0 || waited == 0 {
		t.Fatalf("nothing was tested: %d batches followed, %d rotations, %d asked for again", followed, rotated, waited)
	}
}

// TestAJournalOfAnotherTrainerIsBegunAnew opens one that begins behind the batch, and one that is no journal.
func TestAJournalOfAnotherTrainerIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	line, err := appendDecision(nil, recency.Decision{Batch: 100, BatchParts: 64, HistoryParts: 20, Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{line, []byte("no journal\n"), slices.Repeat([]byte{'x'}, 1<<20), append(slices.Clone(line), line...)} {
		if err := os.WriteFile(filepath.Join(dir, decisionsFile), content, 0o644); err != nil {
			t.Fatal(err)
		}
		d := openJournal(t, dir, 7)
		got, err := d.at(7, func() recency.Signals { return recency.Signals{} })
		if err != nil || got.Batch != 7 || got.Level != recency.Normal {
			t.Fatalf("%.20q: %+v, %v", content, got, err)
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		if d = openJournal(t, dir, 7); len(d.made) != 1 || d.made[0] != got {
			t.Fatalf("%.20q: the file has %+v", content, d.made)
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := decodeDecision([]byte(`{"decision":{"batch":1,"level":0,"batch_parts":0,"history_parts":20,"keep":1,"share":0},"crc32c":"00000000"}`)); err == nil {
		t.Fatalf("%+v was taken", d)
	}
}
