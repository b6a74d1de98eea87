package trainer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/freshet-ml/freshet/trainer/recency"
)

// decisions is the journal of what a trainer decided by what it measured: how far it is behind is not in the log, so it is written down before
// it takes effect. A trainer that starts again from a checkpoint follows the journal as far as it goes, and decides anew behind it (I4).
//
// It is a file beside the checkpoints, with one line per change:
//
//	{"decision":{"batch":120,"level":1, ...},"crc32c":"89abcdef"}     the sum is of the decision's bytes
//
// Batches rise from line to line; of two lines for one, the second holds: while a batch waited for parts, it was decided anew. The first line
// is at or before the batch of the oldest checkpoint, so that each of them finds what held.
type decisions struct {
	path     string
	file     *os.File
	log      *slog.Logger
	governor *recency.Governor
	made     []recency.Decision // what the file has; bounded by rotate
	follow   int64              // the batch up to which the file had decisions when it was opened; -1 for none
	rotateAt int                // lines that a rotation waits for
}

const (
	decisionsFile = "decisions.jsonl"
	// decisionBytes bounds a line.
	decisionBytes = 1 << 10
	// rotateDecisions is how many lines a rotation waits for, because it writes the file again.
	rotateDecisions = 64
	// maxDecisions bounds what is read of a file that is not what it should be; between two rotations there are some hundreds.
	maxDecisions = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type decisionLine struct {
	Decision json.RawMessage `json:"decision"`
	CRC32C   string          `json:"crc32c"`
}

// openDecisions opens the journal in dir for a trainer that goes on with a batch. From the first line on that is torn or damaged it is cut: a
// crash leaves no more than one, of a decision that had not taken effect. A journal that begins behind the batch is of another trainer, and is
// begun anew.
func openDecisions(dir string, governor *recency.Governor, batch int64, log *slog.Logger) (*decisions, error) {
	d := &decisions{path: filepath.Join(dir, decisionsFile), governor: governor, log: log, follow: -1, rotateAt: rotateDecisions}
	if err := d.open(batch); err != nil {
		return nil, fmt.Errorf("open the journal of decisions: %w", err)
	}
	return d, nil
}

func (d *decisions) open(batch int64) error {
	_, err := os.Stat(d.path)
	fresh := errors.Is(err, os.ErrNotExist)
	if d.file, err = os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if fresh {
		return syncDir(filepath.Dir(d.path))
	}
	content, err := io.ReadAll(io.LimitReader(d.file, maxDecisions*decisionBytes))
	if err != nil {
		return err
	}
	whole, fault := 0, error(nil)
	for rest := content; len(rest) > 0; rest = content[whole:] {
		end := bytes.IndexByte(rest[:min(len(rest), decisionBytes)], '\n')
		if end < 0 {
			fault = errors.New("the line has no end")
			break
		}
		next, err := decodeDecision(rest[:end])
		if n := len(d.made); err == nil && n > 0 && next.Batch < d.made[n-1].Batch {
			err = fmt.Errorf("batch %d comes behind batch %d", next.Batch, d.made[n-1].Batch)
		}
		if fault = err; err != nil {
			break
		}
		d.add(next)
		whole += end + 1
	}
	if fault != nil {
		d.log.Warn("the journal of decisions is cut where it is damaged; behind it the trainer decides anew", "line", len(d.made)+1, "bytes", len(content)-whole, "error", fault)
	}
	if len(d.made) > 0 && d.made[0].Batch > batch {
		d.log.Warn("the journal of decisions begins behind the checkpoint; it is begun anew", "from", d.made[0].Batch, "checkpoint", batch)
		d.made, whole = nil, 0
	}
	if info, err := d.file.Stat(); err != nil {
		return err
	} else if int64(whole) < info.Size() {
		if err := errors.Join(d.file.Truncate(int64(whole)), d.file.Sync()); err != nil {
			return err
		}
	}
	if n := len(d.made); n > 0 {
		d.governor.Follow(d.made[n-1])
		d.follow = d.made[n-1].Batch
	}
	_, err = d.file.Seek(int64(whole), io.SeekStart)
	return err
}

// add adds a decision to what was made.
func (d *decisions) add(next recency.Decision) {
	if n := len(d.made); n > 0 && d.made[n-1].Batch == next.Batch {
		d.made = d.made[:n-1]
	}
	d.made = append(d.made, next)
}

// at returns what holds for a batch. measured is asked where the journal did not say when it was opened. Batches must not go back; one that
// waits for parts may be asked for again.
func (d *decisions) at(batch int64, measured func() recency.Signals) (recency.Decision, error) {
	if batch <= d.follow {
		i, found := slices.BinarySearchFunc(d.made, batch, func(e recency.Decision, batch int64) int { return cmp.Compare(e.Batch, batch) })
		if !found {
			i-- // there is one: the first line is not behind the oldest checkpoint
		}
		return d.made[i], nil
	}
	next, changed := d.governor.Decide(batch, measured())
	if !changed {
		return next, nil
	}
	if err := d.write(next); err != nil {
		return recency.Decision{}, fmt.Errorf("write down the decision of batch %d: %w", batch, err)
	}
	return next, nil
}

// write appends a decision, durably. After an error the file may end in a torn line, and nothing more is to be written.
func (d *decisions) write(next recency.Decision) error {
	line, err := appendDecision(nil, next)
	if err != nil {
		return err
	}
	if _, err := d.file.Write(line); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.add(next)
	return nil
}

// rotate drops the lines that no checkpoint needs, the oldest of which is of the given batch, when there are many: all before the one that
// holds there.
func (d *decisions) rotate(oldest int64) error {
	drop := 0
	for drop+1 < len(d.made) && d.made[drop+1].Batch <= oldest {
		drop++
	}
	if drop < d.rotateAt {
		return nil
	}
	if err := d.rewrite(d.made[drop:]); err != nil {
		return fmt.Errorf("shorten the journal of decisions: %w", err)
	}
	d.made = slices.Clone(d.made[drop:])
	return nil
}

func (d *decisions) rewrite(made []recency.Decision) error {
	f, err := os.CreateTemp(filepath.Dir(d.path), "writing-*")
	if err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, f.Close(), os.Remove(f.Name())) }
	var content []byte
	for i := range made {
		if content, err = appendDecision(content, made[i]); err != nil {
			return fail(err)
		}
	}
	if _, err := f.Write(content); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := os.Rename(f.Name(), d.path); err != nil {
		return fail(err)
	}
	old := d.file
	d.file = f
	return errors.Join(old.Close(), syncDir(filepath.Dir(d.path)))
}

func (d *decisions) close() error { return d.file.Close() }

func appendDecision(b []byte, d recency.Decision) ([]byte, error) {
	decision, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(decisionLine{decision, fmt.Sprintf("%08x", crc32.Checksum(decision, castagnoli))})
	if err != nil {
		return nil, err
	}
	return append(append(b, line...), '\n'), nil
}

func decodeDecision(line []byte) (d recency.Decision, err error) {
	var l decisionLine
	if err := json.Unmarshal(line, &l); err != nil {
		return d, err
	}
	if sum := fmt.Sprintf("%08x", crc32.Checksum(l.Decision, castagnoli)); sum != l.CRC32C {
		return d, fmt.Errorf("the sum is %s, not %s", sum, l.CRC32C)
	}
	if err := json.Unmarshal(l.Decision, &d); err != nil {
		return d, err
	}
	if d.Batch < 0 || d.BatchParts < 1 || d.HistoryParts < 1 || !(d.Keep > 0 && d.Keep <= 1) || !(d.Share >= 0 && d.Share <= 1) {
		return d, fmt.Errorf("%+v is no decision", d)
	}
	return d, nil
}
