package trainer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// ledger is a Rows of one number a row.
type ledger struct {
	values  []int64
	changed map[int32]bool
}

var _ Rows = (*ledger)(nil)

func (l *ledger) set(row int, v int64) {
	for row >= len(l.values) {
		l.changed[int32(len(l.values))] = true
		l.values = append(l.values, 0)
	}
	l.values[row], l.changed[int32(row)] = v, true
}

// EachRows gives 200 rows a piece.
func (l *ledger) EachRows(all bool, f func(schema.Table) error) error {
	var rows []int32
	for r := range l.values {
		if all || l.changed[int32(r)] {
			rows = append(rows, int32(r))
		}
	}
	for piece := range slices.Chunk(rows, 200) {
		values := make([]int64, len(piece))
		for i, r := range piece {
			values[i] = l.values[r]
		}
		if err := f(schema.Table{Columns: []schema.Column{{Name: "row", Data: piece}, {Name: "value", Data: values}}}); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) Items() int   { return len(l.values) }
func (l *ledger) Changed() int { return len(l.changed) }
func (l *ledger) Saved()       { clear(l.changed) }

// book is a state to be saved: what it is after a number of batches depends on nothing else.
type book struct {
	batches int64
	rows    *ledger
}

func newBook() *book { return &book{rows: &ledger{changed: map[int32]bool{}}} }

func bookAt(batches int64) *book {
	b := newBook()
	for b.batches < batches {
		b.step()
	}
	return b
}

func (b *book) step() {
	b.batches++
	if b.batches == 1 {
		b.rows.set(900, 1) // so many that a base is some times as large as a delta
	}
	b.rows.set(int(b.batches*b.batches%97), b.batches) // some rows change again
	b.rows.set(int(b.batches%41), -b.batches)
}

func (b *book) saving() saving {
	position := schema.Position{0: schema.Emit(b.batches), 11: 9, 2: 1}
	s := state{
		Format: checkpointFormat, Config: []byte(`{"a":1}`), State: learn.State{
			Position: position, Latest: 1_700_000_000_000,
			Counts: learn.Counts{Batches: b.batches, Parts: 5, Clicks: 8, Steps: schema.Step(b.batches), Skipped: 2},
		},
	}
	return saving{s, position, []Table{{"small", schema.Table{Columns: []schema.Column{{Name: "at", Data: []int64{b.batches}}}}}}, []NamedRows{{"ledger", b.rows}}}
}

func openBook(t *testing.T, dir string, keep int, on files) (*checkpoints, *book, bool, error) {
	t.Helper()
	c, err := openCheckpoints(dir, keep, on, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, false, err
	}
	b := newBook()
	found, err := c.restore(func(s *stored) (saving, error) {
		b = newBook()
		b.batches = s.state.Batches
		at, err := schema.Col[[]int64](s.tables["small"], "at")
		if err != nil {
			return saving{}, damaged{err}
		}
		if at[0] != b.batches {
			t.Fatalf("a table of batch %d beside the state of %d", at[0], b.batches)
		}
		for piece, err := range s.rows("ledger") {
			if err != nil {
				return saving{}, err
			}
			rows, err := schema.Col[[]int32](piece, "row")
			if err != nil {
				return saving{}, damaged{err}
			}
			values, err := schema.Col[[]int64](piece, "value")
			if err != nil {
				return saving{}, damaged{err}
			}
			for i, r := range rows {
				b.rows.set(int(r), values[i])
			}
		}
		return b.saving(), nil
	})
	return c, b, found, err
}

// check demands that b is what its batches make it.
func (b *book) check(t *testing.T) {
	t.Helper()
	if want := bookAt(b.batches); !slices.Equal(want.rows.values, b.rows.values) {
		t.Fatalf("after %d batches (-want +got):\n%s", b.batches, cmp.Diff(want.rows.values, b.rows.values))
	}
}

// write takes some steps and writes a checkpoint after each.
func (b *book) write(t *testing.T, c *checkpoints, steps int) {
	t.Helper()
	for range steps {
		b.step()
		digest, err := c.write(b.saving())
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := digestOf(bookAt(b.batches).saving()); digest != want {
			t.Fatalf("the digest after %d batches is %s, want %s", b.batches, digest, want)
		}
	}
}

func checkpointFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCheckpointsAddUp writes some hundred, each on top of those that are kept, restoring now and then: digests are those of the state alone, bases come often enough and
// not always, and no file stays that no restore point needs.
func TestCheckpointsAddUp(t *testing.T) {
	for _, keep := range []int{1, 2, 5} {
		dir := t.TempDir()
		c, b, found, err := openBook(t, dir, keep, disk{})
		if err != nil || found {
			t.Fatal(found, err)
		}
		bases, before := 0, ""
		for i := range 150 {
			if i%23 == 22 {
				if c, b, found, err = openBook(t, dir, keep, disk{}); err != nil || !found || b.batches != int64(i) {
					t.Fatalf("restored %v, at batch %d, want %d: %v", found, b.batches, i, err)
				}
				b.check(t)
			}
			b.write(t, c, 1)
			newest := c.line[len(c.line)-1]
			if newest.base {
				bases++
			}
			points := len(c.line) - c.firstKept()
			if want := min(keep, i+1); points < want || c.holds()[0][0] > schema.Emit(b.batches+1-int64(want)) {
				t.Fatalf("%d restore points at batch %d, want %d; the log is held from %d", points, b.batches, want, c.holds()[0][0])
			}
			if names := checkpointFiles(t, dir); len(names) != len(c.line) || !c.line[0].base || len(names) > 2*(maxDeltas+1)+keep {
				t.Fatalf("%d files for a line of %d", len(names), len(c.line))
			}
			if before != "" && before == newest.digest {
				t.Fatal("two states have the same digest")
			}
			before = newest.digest
		}
		if bases < 150/(maxDeltas+1) || bases > 50 {
			t.Errorf("%d bases among 150 checkpoints", bases)
		}
	}
}

// TestDamagedCheckpointFallsBack flips and cuts bytes all over each file of a line: a state is read that was saved, never another, and only the newest
// when nothing is damaged that it needs.
func TestDamagedCheckpointFallsBack(t *testing.T) {
	dir := t.TempDir()
	c, b, _, err := openBook(t, dir, 2, disk{})
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, c, 60)
	for c.sinceBase(len(c.line)) != len(c.line)-2 { // the newest is the first delta of the newest base
		b.write(t, c, 1)
	}
	newest := b.batches
	for _, name := range checkpointFiles(t, dir) {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		back := map[int64]int{}
		check := func(bytes []byte) {
			t.Helper()
			if err := os.WriteFile(name, bytes, 0o644); err != nil {
				t.Fatal(err)
			}
			_, got, found, err := openBook(t, dir, 2, disk{})
			if err != nil || !found {
				t.Fatalf("%s damaged: no checkpoint was read: %v", filepath.Base(name), err)
			}
			got.check(t)
			back[newest-got.batches]++
		}
		for at := 0; at < len(whole); at += 67 {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0x41
			check(damaged)
		}
		for at := 0; at < len(whole); at += 997 {
			check(whole[:at])
		}
		if err := os.WriteFile(name, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		used := slices.ContainsFunc(c.line[c.sinceBase(len(c.line)):], func(p point) bool { return p.file == filepath.Base(name) })
		fellBack := 0
		for by, n := range back {
			if by > 0 {
				fellBack += n
			}
		}
		if used != (fellBack > 0) {
			t.Errorf("%s, which the newest needs: %v, was damaged, and %v restore points were read (by batches before the newest)", filepath.Base(name), used, back)
		}
	}
	if err := os.Remove(filepath.Join(dir, c.line[c.sinceBase(len(c.line))].file)); err != nil { // not damaged, gone
		t.Fatal(err)
	}
	if _, got, _, err := openBook(t, dir, 2, disk{}); err != nil || got.batches >= newest-1 {
		t.Errorf("without its base, batch %d was read: %v", got.batches, err)
	}
	for _, name := range checkpointFiles(t, dir) {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := openBook(t, dir, 2, disk{}); err == nil || !strings.Contains(err.Error(), "restore one from a backup, or remove them all") {
		t.Errorf("nothing is whole: %v", err)
	}
}

// TestOtherFormatsAreNotDamage: they end the start, and what to do is said.
func TestOtherFormatsAreNotDamage(t *testing.T) {
	for format, want := range map[int]string{1: "older freshet", checkpointFormat - 1: "older freshet", checkpointFormat + 1: "newer freshet"} {
		dir := t.TempDir()
		c, b, _, err := openBook(t, dir, 2, disk{})
		if err != nil {
			t.Fatal(err)
		}
		b.write(t, c, 1)
		b.step()
		s := b.saving()
		s.state.Format = format
		if _, err := c.write(s); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := openBook(t, dir, 2, disk{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("format %d: %v", format, err)
		}
	}
}

// TestDigestIsThatOfTheMembers makes it as sha256sum would, of the members of a base but the link and the digest.
func TestDigestIsThatOfTheMembers(t *testing.T) {
	dir := t.TempDir()
	c, b, _, err := openBook(t, dir, 2, disk{})
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, c, 1)
	a, err := openArchive(filepath.Join(dir, c.line[0].file))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var lines string
	for _, m := range a.File[1 : len(a.File)-1] {
		content, err := a.read(m.Name)
		if err != nil {
			t.Fatal(err)
		}
		lines += fmt.Sprintf("%x  %s\n", sha256.Sum256(content), m.Name)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(lines))); a.File[0].Name != linkMember || a.File[len(a.File)-1].Name != digestMember || c.line[0].digest != want {
		t.Errorf("the digest is %s, of the members %s", c.line[0].digest, want)
	}
}
