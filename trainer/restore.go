package trainer

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// stored is a restore point as it is read.
type stored struct {
	state  state
	tables map[string]schema.Table
	chain  []*archive // the base first
	digest string
}

// rows returns the pieces of a Rows: those of the base, and behind them those of each delta.
func (s *stored) rows(name string) iter.Seq2[schema.Table, error] {
	return func(yield func(schema.Table, error) bool) {
		for _, a := range s.chain {
			for piece := 0; a.has(pieceName(name, piece)); piece++ {
				if !yield(a.table(pieceName(name, piece))) {
					return
				}
			}
		}
	}
}

// openCheckpoints looks at nothing but unfinished files, which it removes.
func openCheckpoints(dir string, keep int, on files, log *slog.Logger) (*checkpoints, error) {
	if err := removeUnfinished(on, dir); err != nil {
		return nil, fmt.Errorf("remove an unfinished checkpoint: %w", err)
	}
	return &checkpoints{dir: dir, keep: keep, on: on, log: log}, nil
}

var (
	errNewer = errors.New("written by a newer freshet: run that one, or give another data directory")
	errOlder = errors.New("written by an older freshet in a format that this one does not read: run that one, or give another data directory")
)

// damaged marks what a restore point is passed over for.
type damaged struct{ error }

func (d damaged) Unwrap() error { return d.error }

// restore calls use with the newest restore point that is whole, and says which damaged ones it passed over: use returns what the state is then, by which it is seen that
// the files add up to what was saved, or a damaged error, or one that ends the search. found is false when dir has no checkpoints.
func (c *checkpoints) restore(use func(*stored) (saving, error)) (found bool, err error) {
	names, err := filepath.Glob(filepath.Join(c.dir, "*"+checkpointSuffix))
	if err != nil {
		return false, fmt.Errorf("list checkpoints: %w", err)
	}
	slices.Sort(names)
	var faults []error
	for _, name := range slices.Backward(names) {
		file := filepath.Base(name)
		err := c.restoreFrom(file, names, use)
		if err == nil {
			return true, nil
		}
		if !errors.As(err, new(damaged)) {
			return false, fmt.Errorf("restore checkpoint %s: %w", file, err)
		}
		c.log.Warn("checkpoint is damaged; going on from the one before: nothing is lost, the log replays the rest", "file", name, "error", err)
		faults = append(faults, fmt.Errorf("%s: %w", file, err))
	}
	if len(faults) > 0 {
		return false, fmt.Errorf("no checkpoint in %s is whole; restore one from a backup, or remove them all to train on the log from its start: %w", c.dir, errors.Join(faults...))
	}
	return false, nil
}

func (c *checkpoints) restoreFrom(file string, names []string, use func(*stored) (saving, error)) error {
	s, line, err := c.read(file)
	defer s.close()
	if err != nil {
		return err
	}
	now, err := use(&s)
	if err != nil {
		return err
	}
	digest, err := digestOf(now)
	if err != nil {
		return err
	}
	if digest != s.digest {
		return damaged{fmt.Errorf("the state has the digest %s, saved was %s", digest, s.digest)}
	}
	for _, r := range now.rows {
		r.Rows.Saved()
	}
	c.line = c.before(line, names)
	return nil
}

// read opens the files of a restore point and reads what is small.
func (c *checkpoints) read(file string) (s stored, line []point, err error) {
	for follows := ""; ; { // from the newest to the base
		a, err := openArchive(filepath.Join(c.dir, file))
		if err != nil {
			return s, nil, err
		}
		s.chain = slices.Insert(s.chain, 0, a)
		l, of, digest, err := a.head()
		if err != nil {
			return s, nil, err
		}
		if follows != "" && follows != digest {
			return s, nil, damaged{fmt.Errorf("%s has the digest %s, and is followed as %s", file, digest, follows)}
		}
		p := point{file: file, batches: of.Batches, base: l.Parent == "", bytes: a.size, position: l.Hold, digest: digest}
		if _, err := fmt.Sscanf(file, "%d"+checkpointSuffix, &p.number); err != nil {
			return s, nil, damaged{fmt.Errorf("%s is not named by a number", file)}
		}
		line = slices.Insert(line, 0, p)
		if len(line) == 1 {
			s.state, s.digest = of, digest
		}
		if l.Parent == "" {
			break
		}
		if len(line) > maxDeltas || l.Parent >= file || l.Parent != filepath.Base(l.Parent) {
			return s, nil, damaged{fmt.Errorf("%s follows %q", file, l.Parent)}
		}
		file, follows = l.Parent, l.ParentDigest
	}
	s.tables = map[string]schema.Table{}
	newest := s.chain[len(s.chain)-1]
	for _, m := range newest.File {
		name, isTable := strings.CutSuffix(m.Name, ".arrow")
		if !isTable || strings.Contains(name, ".") { // a piece
			continue
		}
		if s.tables[name], err = newest.table(m.Name); err != nil {
			return s, nil, err
		}
	}
	return s, line, nil
}

// before returns the line with the restore points that are older than it, as many as are kept. What is not whole at the first look ends it.
func (c *checkpoints) before(line []point, names []string) []point {
	for _, name := range slices.Backward(names) {
		if len(line) > c.keep {
			break
		}
		if filepath.Base(name) >= line[0].file {
			continue
		}
		s, older, err := c.read(filepath.Base(name))
		s.close()
		if err != nil {
			break
		}
		line = append(older, line...)
	}
	return line
}

func (s *stored) close() {
	for _, a := range s.chain {
		a.Close()
	}
}

// archive is an open file of a checkpoint. Its errors are damaged ones, unless the disk does not read.
type archive struct {
	*zip.Reader
	file *os.File
	size int64
}

func openArchive(name string) (*archive, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damaged{err}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, damaged{errors.Join(err, f.Close())}
	}
	return &archive{z, f, info.Size()}, nil
}

func (a *archive) Close() error { return a.file.Close() }

// head reads what a file says of itself.
func (a *archive) head() (l link, s state, digest string, err error) {
	if err := a.json(stateMember, &s); err != nil {
		return l, s, "", err
	}
	switch {
	case s.Format > checkpointFormat:
		return l, s, "", errNewer
	case s.Format < 1:
		return l, s, "", damaged{fmt.Errorf("%s has no format", stateMember)}
	case s.Format < checkpointFormat:
		return l, s, "", errOlder
	}
	b, err := a.read(digestMember)
	return l, s, string(b), errors.Join(err, a.json(linkMember, &l))
}

func (a *archive) has(name string) bool {
	return slices.ContainsFunc(a.File, func(m *zip.File) bool { return m.Name == name })
}

// read returns a member, whose CRC it checks.
func (a *archive) read(name string) ([]byte, error) {
	for _, m := range a.File {
		if m.Name != name {
			continue
		}
		if m.Method != zip.Store || m.UncompressedSize64 > uint64(a.size) {
			return nil, damaged{fmt.Errorf("member %s is not stored plainly", name)}
		}
		in, err := m.Open()
		if err != nil {
			return nil, damaged{fmt.Errorf("member %s: %w", name, err)}
		}
		defer in.Close()
		content := make([]byte, m.UncompressedSize64)
		if _, err := io.ReadFull(in, content); err != nil {
			return nil, damaged{fmt.Errorf("member %s: %w", name, err)}
		}
		if _, err := in.Read(make([]byte, 1)); err != io.EOF { // where the CRC is compared
			return nil, damaged{fmt.Errorf("member %s: %w", name, err)}
		}
		return content, nil
	}
	return nil, damaged{fmt.Errorf("there is no member %s", name)}
}

func (a *archive) json(name string, to any) error {
	b, err := a.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return damaged{fmt.Errorf("member %s: %w", name, err)}
	}
	return nil
}

func (a *archive) table(name string) (schema.Table, error) {
	b, err := a.read(name)
	if err != nil {
		return schema.Table{}, err
	}
	t, err := schema.DecodeTable(b)
	if err != nil {
		return t, damaged{fmt.Errorf("member %s: %w", name, err)}
	}
	return t, nil
}
