package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// disk keeps the last good versions, and the last order:
//
//	last.json            {"format":1,"chain":[manifest of the base, of each delta, up to the version],"candidate":[the same of a candidate],"head":manifest of the newest head served}
//	objects/<sha256>     the objects of the chains, by content
//	order.json           the last order seen, as it was stored
//	requests.json        what users asked last, to warm a start up with (recorded.go)
//
// last.json is replaced in one step after the objects are on the disk, and objects that it does not name are removed after
// it: at every moment it names only what is there. A delta therefore costs the size of the delta, not of the model.
type disk struct{ dir string }

const diskFormat = 1

type lastGood struct {
	Format    int               `json:"format"`
	Chain     []schema.Manifest `json:"chain"`
	Candidate []schema.Manifest `json:"candidate,omitempty"`
	Head      *schema.Manifest  `json:"head,omitempty"` // absent in what an earlier freshet saved: it is the chain's last
}

// load returns what was saved last; without a chain where there is nothing.
func (d disk) load() (lastGood, error) {
	if d.dir == "" {
		return lastGood{}, nil
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "last.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return lastGood{}, nil
	}
	if err != nil {
		return lastGood{}, err
	}
	var l lastGood
	if err := json.Unmarshal(b, &l); err != nil {
		return lastGood{}, refuse(ReasonManifest, "last.json: %w", err)
	}
	if l.Format != diskFormat || len(l.Chain) == 0 || max(len(l.Chain), len(l.Candidate)) > publisher.MaxChain+1 {
		return lastGood{}, refuse(ReasonManifest, "last.json: format %d with a chain of %d is not known to this program", l.Format, len(l.Chain))
	}
	return l, nil
}

// order returns the stored bytes of the last order that was seen; nil where there was none.
func (d disk) order() ([]byte, error) {
	if d.dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "order.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// saveOrder makes stored the last order that was seen.
func (d disk) saveOrder(stored []byte) error {
	if d.dir == "" {
		return nil
	}
	if err := os.MkdirAll(d.objects(), 0o755); err != nil {
		return err
	}
	if err := d.writeFile(filepath.Join(d.dir, "order.json"), stored); err != nil {
		return err
	}
	return syncDir(d.dir)
}

// object returns the bytes of o, or an error where they are not there or not what o says.
func (d disk) object(o schema.Object) ([]byte, error) {
	if d.dir == "" {
		return nil, fs.ErrNotExist
	}
	b, err := os.ReadFile(d.path(o))
	if err != nil {
		return nil, err
	}
	return b, publisher.CheckObject(o, b)
}

func (d disk) objects() string { return filepath.Join(d.dir, "objects") }

// path names the file of o. A manifest that passed Validate has 64 hex digits there, so that it cannot lead elsewhere.
func (d disk) path(o schema.Object) string { return filepath.Join(d.objects(), o.SHA256) }

// save makes last what is loaded next. objects holds the bytes, by digest, of those objects that are new; what an earlier save
// could not write is fetched again. It ends at the first fault: a disk that stays full costs one fetch a version.
func (d disk) save(last lastGood, objects map[string][]byte, fetch func(schema.Object) ([]byte, error)) error {
	if d.dir == "" {
		return nil
	}
	dir := d.objects()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, m := range slices.Concat(last.Chain, last.Candidate) {
		for _, o := range m.Objects {
			if _, used := usedTable(m, o); !used {
				continue
			}
			if named[o.SHA256] {
				continue // of both chains
			}
			named[o.SHA256] = true
			b, isNew := objects[o.SHA256]
			if !isNew {
				if info, err := os.Stat(d.path(o)); err == nil && info.Size() == o.Bytes {
					continue
				}
				var err error
				if b, err = fetch(o); err != nil {
					return fmt.Errorf("object %s of version %d is not on the disk: %w", o.Name, m.Version, err)
				}
			}
			if err := d.writeFile(d.path(o), b); err != nil {
				return err
			}
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	last.Format = diskFormat
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	if err := d.writeFile(filepath.Join(d.dir, "last.json"), b); err != nil {
		return err
	}
	if err := syncDir(d.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var faults []error
	for _, e := range entries {
		if !named[e.Name()] {
			faults = append(faults, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(faults...)
}

// writeFile replaces name by a file with b in one step, once b is on the disk. It is made among the objects, where what a
// crash leaves of it is removed by the next save.
func (d disk) writeFile(name string, b []byte) (err error) {
	f, err := os.CreateTemp(d.objects(), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
