package trainer

import (
	"archive/zip"
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
)

// A checkpoint is one file, a zip archive with stored (uncompressed) members, so that any tool can look inside:
//
//	link.json             kind, and the file that a delta follows
//	state.json            position, counters, metrics, config
//	<table>.arrow         the tables that are small, whole, Arrow IPC
//	<table>.000000.arrow  the rows of a large table, some thousand a member: all of them in a base, in a delta those that changed since the file it follows
//	digest                of the state (digestOf), in hex
//
// A base and the deltas up to one that follows on it are a restore point. A file's name is its number in the line, and it is written beside its place,
// synced, and renamed, so that a crash leaves the old checkpoints whole. When there is a checkpoint, and of which kind, is decided by the clock and by crashes; the state
// in it, and so its digest, is not (I4).
const (
	checkpointFormat = 3
	checkpointSuffix = ".checkpoint.zip"
	linkMember       = "link.json"
	stateMember      = "state.json"
	digestMember     = "digest"
)

// The deltas of one base: so many that a base is a small part of what is written, so few that a restore, which reads all of them, takes no more than half again as long.
const (
	maxDeltas   = 16
	deltasShare = 0.5 // of the base's bytes
)

// state is the part of a checkpoint that is not a table.
type state struct {
	Format int             `json:"format"`
	Config json.RawMessage `json:"config"` // what the weights depend on
	learn.State
}

// link says what a file is to the others.
type link struct {
	Parent       string `json:"parent,omitempty"`        // the file that a delta follows; "" for a base
	ParentDigest string `json:"parent_digest,omitempty"` // the state in which it follows
	// Hold is the position from which on the log is needed to go on from here.
	Hold schema.Position `json:"hold"`
}

// Rows is a table of which a checkpoint holds the rows that changed since the one before. A table by row that has grown too large to be written whole
// each time becomes one by these methods, and by a restore from pieces.
type Rows interface {
	// EachRows calls f with pieces of the table, all rows or those that changed since Saved; f does not keep them. How all rows are cut depends on the table
	// alone.
	EachRows(all bool, f func(schema.Table) error) error
	Items() int   // rows there are
	Changed() int // rows that changed since Saved
	Saved()       // what changed is durable
}

// NamedRows is a Rows of a checkpoint.
type NamedRows struct {
	Name string
	Rows Rows
}

// saving is all that a checkpoint holds.
type saving struct {
	state  state
	hold   schema.Position // as the link has it
	tables []Table
	rows   []NamedRows
}

// config returns what must not change between a checkpoint and the trainer that goes on from it.
func (c Config) trained() (json.RawMessage, error) {
	c.PublishEvery, c.WeightsEvery, c.CheckpointEvery, c.KeepCheckpoints, c.Publishing = 0, 0, 0, 0, model.Publishing{}
	c.Learn.Recency.LagSoft, c.Learn.Recency.LagHard = 0, 0 // what they led to is in the journal of decisions
	return json.Marshal(c)
}

// difference names the settings in which two configs differ: "model.seed is 1 there, 2 here".
func difference(there, here json.RawMessage) string {
	flat := func(config json.RawMessage) map[string]string {
		out := map[string]string{}
		var walk func(prefix string, raw json.RawMessage)
		walk = func(prefix string, raw json.RawMessage) {
			var fields map[string]json.RawMessage
			if json.Unmarshal(raw, &fields) != nil {
				out[prefix] = string(raw)
				return
			}
			for name, value := range fields {
				walk(strings.TrimPrefix(prefix+"."+name, "."), value)
			}
		}
		walk("", config)
		return out
	}
	a, b := flat(there), flat(here)
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		if a[name] != b[name] {
			out = append(out, fmt.Sprintf("%s is %s there, %s here", name, cmp.Or(a[name], "absent"), cmp.Or(b[name], "absent")))
		}
	}
	return strings.Join(out, "; ")
}

// checkpoints is a directory of them, and the line that the trainer extends.
type checkpoints struct {
	dir  string
	keep int
	on   files
	log  *slog.Logger
	line []point // whole and kept, oldest first: each is a base, or follows the one before
}

// point is a checkpoint of the line.
type point struct {
	file     string // without the directory
	number   int64  // which is its name
	batches  int64
	base     bool
	bytes    int64
	position schema.Position
	digest   string
}

// holds are the positions of the kept restore points, oldest first: damage of the others may throw the trainer back to any of them, and the log must replay what is behind.
func (c *checkpoints) holds() (positions []schema.Position) {
	for _, p := range c.line[c.firstKept():] {
		positions = append(positions, p.position)
	}
	return positions
}

// oldest is the batch that the oldest kept restore point goes on with.
func (c *checkpoints) oldest() int64 { return c.line[c.firstKept()].batches }

// sinceBase returns the place of the newest base in the line.
func (c *checkpoints) sinceBase(before int) int {
	for i := before - 1; i > 0; i-- {
		if c.line[i].base {
			return i
		}
	}
	return 0
}

// firstKept is the place of the oldest restore point that is kept for its own sake: the newest ones, and the last before the newest base, so that one
// damaged file never takes all of them.
func (c *checkpoints) firstKept() int {
	first := max(0, len(c.line)-c.keep)
	if base := c.sinceBase(len(c.line)); base > 0 {
		first = min(first, base-1)
	}
	return first
}

// write makes s durable, as a base or as a delta, removes what is no longer kept, and returns the digest of the state.
func (c *checkpoints) write(s saving) (digest string, err error) {
	if digest, err = digestOf(s); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	number := int64(1)
	if n := len(c.line); n > 0 {
		if c.line[n-1].digest == digest {
			return digest, nil // nothing has changed
		}
		number = c.line[n-1].number + 1
	}
	p := point{
		file: fmt.Sprintf("%012d%s", number, checkpointSuffix), number: number, batches: s.state.Batches, base: c.baseIsDue(s), position: s.hold.Clone(), digest: digest,
	}
	if err := c.place(&p, s); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	for _, r := range s.rows {
		r.Rows.Saved()
	}
	c.line = append(c.line, p)
	return p.digest, c.retain()
}

// baseIsDue says whether a delta would be one too many, or its rows too many.
func (c *checkpoints) baseIsDue(s saving) bool {
	n := len(c.line)
	if n == 0 {
		return true
	}
	base := c.sinceBase(n)
	if n-base > maxDeltas {
		return true
	}
	var bytes, changed, items float64
	for _, p := range c.line[base+1:] {
		bytes += float64(p.bytes)
	}
	for _, r := range s.rows {
		changed, items = changed+float64(r.Rows.Changed()), items+float64(r.Rows.Items())
	}
	whole := float64(c.line[base].bytes)
	return bytes+whole*changed/max(1, items) > deltasShare*whole
}

// place writes the file of p.
func (c *checkpoints) place(p *point, s saving) error {
	f, err := c.on.create(c.dir)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			f.Close()
			c.on.remove(f.Name())
		}
	}()
	counted := &counter{w: f}
	buffered := bufio.NewWriterSize(counted, 1<<20)
	l := link{Hold: p.position}
	if !p.base {
		parent := c.line[len(c.line)-1]
		l.Parent, l.ParentDigest = parent.file, parent.digest
	}
	if err := encodeCheckpoint(buffered, l, s, p); err != nil {
		return err
	}
	if err := errors.Join(buffered.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := c.on.rename(f.Name(), filepath.Join(c.dir, p.file)); err != nil {
		return err
	}
	done = true
	p.bytes = counted.n
	return c.on.syncDir(c.dir)
}

// encodeCheckpoint writes the members.
func encodeCheckpoint(w io.Writer, l link, s saving, p *point) error {
	z := zip.NewWriter(w)
	create := func(name string) (io.Writer, error) {
		return z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store}) // no times: equal states of one kind give equal bytes
	}
	member, err := create(linkMember)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(member).Encode(l); err != nil {
		return err
	}
	err = s.each(p.base, func(name string, write func(io.Writer) error) error {
		member, err := create(name)
		if err != nil {
			return err
		}
		return write(member)
	})
	if err != nil {
		return err
	}
	if member, err = create(digestMember); err != nil {
		return err
	}
	if _, err := io.WriteString(member, p.digest); err != nil {
		return err
	}
	return z.Close()
}

// each calls f with the members that are the state, in their order.
func (s saving) each(all bool, f func(name string, write func(io.Writer) error) error) error {
	if err := f(stateMember, func(w io.Writer) error { return json.NewEncoder(w).Encode(s.state) }); err != nil {
		return err
	}
	for _, t := range s.tables {
		if err := f(t.Name+".arrow", t.Table.Encode); err != nil {
			return err
		}
	}
	for _, r := range s.rows {
		piece := 0
		if err := r.Rows.EachRows(all, func(t schema.Table) error {
			name := pieceName(r.Name, piece)
			piece++
			return f(name, t.Encode)
		}); err != nil {
			return err
		}
	}
	return nil
}

func pieceName(table string, piece int) string { return fmt.Sprintf("%s.%06d.arrow", table, piece) }

// retain removes the files of dir that no kept restore point needs, the newest first: a base goes after what follows it.
func (c *checkpoints) retain() error {
	first := c.firstKept()
	c.line = slices.Delete(c.line, 0, c.sinceBase(first+1))
	names, err := filepath.Glob(filepath.Join(c.dir, "*"+checkpointSuffix))
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if !slices.ContainsFunc(c.line, func(p point) bool { return p.file == filepath.Base(name) }) {
			if err := c.on.remove(name); err != nil {
				return fmt.Errorf("remove old checkpoint: %w", err)
			}
		}
	}
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
