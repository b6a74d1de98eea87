package trainer

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// A checkpoint is one file, a zip archive with stored (uncompressed) members, so that any tool can look inside:
//
//	state.json        position, counters, metrics, config
//	<table>.arrow     the tables of the model and of the baselines, Arrow IPC
//
// Members stand in a fixed order and carry no times: equal states give equal bytes (I4). The file's name is its batch number, and
// it is written beside its place, synced, and renamed, so that a crash leaves the old checkpoints whole.
const (
	checkpointFormat = 2
	checkpointSuffix = ".checkpoint.zip"
	stateMember      = "state.json"
)

// state is the part of a checkpoint that is not a table.
type state struct {
	Format int             `json:"format"`
	Config json.RawMessage `json:"config"` // what the weights depend on
	learn.State
}

// config returns what must not change between a checkpoint and the trainer that goes on from it.
func (c Config) trained() (json.RawMessage, error) {
	c.PublishEvery, c.CheckpointEvery, c.KeepCheckpoints = 0, 0, 0
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

// writeCheckpoint writes a checkpoint into dir, removes those beyond keep, and returns the sha256 of its bytes in hex.
func writeCheckpoint(dir string, s state, tables []Table, keep int) (digest string, err error) {
	name := filepath.Join(dir, fmt.Sprintf("%012d%s", s.Batches, checkpointSuffix))
	f, err := os.CreateTemp(dir, "writing-*")
	if err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name()) // gone already when the rename succeeded
	}()
	hash := sha256.New()
	if err := encodeCheckpoint(io.MultiWriter(f, hash), s, tables); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	names, err := checkpoints(dir)
	if err != nil {
		return "", err
	}
	for _, old := range names[min(keep, len(names)):] {
		if err := os.Remove(old); err != nil {
			return "", fmt.Errorf("remove old checkpoint: %w", err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func encodeCheckpoint(w io.Writer, s state, tables []Table) error {
	z := zip.NewWriter(w)
	member, err := z.CreateHeader(&zip.FileHeader{Name: stateMember, Method: zip.Store})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(member).Encode(s); err != nil {
		return err
	}
	for _, t := range tables {
		if member, err = z.CreateHeader(&zip.FileHeader{Name: t.Name + ".arrow", Method: zip.Store}); err != nil {
			return err
		}
		if err := t.Table.Encode(member); err != nil {
			return err
		}
	}
	return z.Close()
}

// readCheckpoint reads the newest checkpoint of dir that is whole, and says which damaged ones it passed over. ok is false
// when dir has none.
func readCheckpoint(dir string, log *slog.Logger) (s state, tables map[string]schema.Table, ok bool, err error) {
	names, err := checkpoints(dir)
	if err != nil {
		return state{}, nil, false, err
	}
	var damage []error
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return state{}, nil, false, fmt.Errorf("read checkpoint: %w", err)
		}
		s, tables, err := decodeCheckpoint(b)
		if err == nil {
			return s, tables, true, nil
		}
		if errors.Is(err, errNewer) {
			return state{}, nil, false, fmt.Errorf("read checkpoint %s: %w", filepath.Base(name), err)
		}
		log.Warn("checkpoint is damaged; going on from the one before, the log replays the rest", "file", name, "error", err)
		damage = append(damage, fmt.Errorf("%s: %w", filepath.Base(name), err))
	}
	if len(damage) > 0 {
		return state{}, nil, false, fmt.Errorf("no checkpoint in %s is whole; restore one from a backup, or remove them all to train on the log from its start: %w", dir, errors.Join(damage...))
	}
	return state{}, nil, false, nil
}

var errNewer = errors.New("written by a newer freshet: run that one, or give another data directory")

func decodeCheckpoint(b []byte) (s state, tables map[string]schema.Table, err error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return state{}, nil, err
	}
	tables = map[string]schema.Table{}
	for _, f := range z.File {
		if f.Method != zip.Store || f.UncompressedSize64 > uint64(len(b)) {
			return state{}, nil, fmt.Errorf("member %s is not stored plainly", f.Name)
		}
		in, err := f.Open()
		if err != nil {
			return state{}, nil, fmt.Errorf("member %s: %w", f.Name, err)
		}
		content, err := io.ReadAll(in) // checks the CRC
		in.Close()
		if err != nil {
			return state{}, nil, fmt.Errorf("member %s: %w", f.Name, err)
		}
		if f.Name == stateMember {
			if err := json.Unmarshal(content, &s); err != nil {
				return state{}, nil, fmt.Errorf("member %s: %w", f.Name, err)
			}
			continue
		}
		name, _ := strings.CutSuffix(f.Name, ".arrow")
		if tables[name], err = schema.DecodeTable(content); err != nil {
			return state{}, nil, fmt.Errorf("member %s: %w", f.Name, err)
		}
	}
	switch {
	case s.Format > checkpointFormat:
		return state{}, nil, errNewer
	case s.Format < 1:
		return state{}, nil, fmt.Errorf("there is no %s with a format", stateMember)
	}
	return s, tables, nil
}

// checkpoints returns the checkpoint files of dir, newest first.
func checkpoints(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+checkpointSuffix))
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
