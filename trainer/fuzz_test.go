package trainer

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// FuzzCheckpoint restores from a base and a delta of any bytes: as they are, and then with members whose sums hold, so that what lies behind them is reached. Whatever
// is restored is what was saved, and all else is refused.
func FuzzCheckpoint(t *testing.F) {
	f := fuzz.Of(t)
	dir := f.TempDir()
	c, err := openCheckpoints(dir, 2, disk{}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	b := newBook()
	var whole [][]byte
	names := []string{}
	for range 2 {
		b.step()
		if _, err := c.write(b.saving()); err != nil {
			f.Fatal(err)
		}
		name := filepath.Join(dir, c.line[len(c.line)-1].file)
		file, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		names, whole = append(names, name), append(whole, file)
	}
	if c.line[1].base {
		f.Fatal("the second is no delta")
	}
	f.Add(whole[0], whole[1])
	f.Add(whole[0], []byte{})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		files := [][]byte{base, delta}
		for range 2 {
			for i, name := range names {
				if err := os.WriteFile(name, files[i], 0o644); err != nil {
					t.Fatal(err)
				}
				files[i] = sealed(files[i])
			}
			b, found, err := restoreBook(dir)
			switch {
			case err == nil && found:
				b.check(t)
			case err == nil:
				t.Fatal("nothing was found, and nothing is wrong")
			case b != nil:
				t.Fatalf("restored, and %v", err)
			}
		}
	})
}

// restoreBook returns the book that dir has, or nil.
func restoreBook(dir string) (b *book, found bool, err error) {
	c, err := openCheckpoints(dir, 2, disk{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, false, err
	}
	found, err = c.restore(func(s *stored) (saving, error) {
		now := newBook()
		now.batches = s.state.Batches
		for piece, err := range s.rows("ledger") {
			if err != nil {
				return saving{}, err
			}
			rows, err := schema.Col[[]int32](piece, "row")
			values, fault := schema.Col[[]int64](piece, "value")
			if err = errors.Join(err, fault); err != nil {
				return saving{}, damaged{err}
			}
			for i, r := range rows {
				if r < 0 || r > 1000 {
					return saving{}, damaged{fmt.Errorf("row %d", r)}
				}
				now.rows.set(int(r), values[i])
			}
		}
		is := now.saving()
		is.state.State, is.hold = s.state.State, s.state.Position
		is.tables = nil
		if small, ok := s.tables["small"]; ok {
			is.tables = []Table{{"small", small}}
		}
		b = now
		return is, nil
	})
	if err != nil || !found {
		return nil, found, err
	}
	return b, found, nil
}

// sealed is an archive with the sums of what is in it, or b where it is none.
func sealed(b []byte) []byte {
	in, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return b
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, m := range in.File {
		raw, err := m.OpenRaw()
		if err != nil {
			return b
		}
		content, err := io.ReadAll(raw)
		if err != nil {
			return b
		}
		member, err := w.CreateHeader(&zip.FileHeader{Name: m.Name, Method: zip.Store})
		if err == nil {
			_, err = member.Write(content)
		}
		if err != nil {
			return b
		}
	}
	if w.Close() != nil {
		return b
	}
	return out.Bytes()
}

// FuzzDecision reads a line of the journal of decisions, as it is and with a sum that holds. One that is taken is written the same again.
func FuzzDecision(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte(`{"batch":7,"batch_parts":64,"history_parts":20,"keep":0.5,"share":0.25}`))
	f.Add([]byte(`{"batch":1,"level":"hard","batch_parts":64,"history_parts":20,"keep":1,"share":0,"begin":1700000000000}`))
	f.Fuzz(func(t *testing.T, decision []byte) {
		lines := [][]byte{decision}
		if json.Valid(decision) {
			line, err := json.Marshal(decisionLine{decision, ""})
			if err != nil {
				t.Fatal(err)
			}
			var packed decisionLine // as json.Marshal writes it, without spaces
			if err := json.Unmarshal(line, &packed); err != nil {
				t.Fatal(err)
			}
			packed.CRC32C = fmt.Sprintf("%08x", crc32.Checksum(packed.Decision, castagnoli))
			if line, err = json.Marshal(packed); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		for _, line := range lines {
			d, err := decodeDecision(line)
			if err != nil {
				continue
			}
			again, err := appendDecision(nil, d)
			if err != nil {
				t.Fatalf("%s was taken, and cannot be written: %v", line, err)
			}
			if back, err := decodeDecision(bytes.TrimSuffix(again, []byte("\n"))); err != nil || back != d {
				t.Fatalf("%s became %s: %v", line, again, err)
			}
		}
	})
}
