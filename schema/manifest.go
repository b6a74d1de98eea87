package schema

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Version numbers the published states of a model. Versions only grow (I5); 0 means none.
type Version uint64

// WriterEpoch counts the writers of a line of versions: each takes a higher one than all before it (I5).
type WriterEpoch uint64

// Step counts optimiser steps.
type Step uint64

// Kind says what an update holds.
type Kind string

// The kinds of update.
const (
	KindBase  Kind = "base"  // the whole model; perhaps with what changed since the parent beside it
	KindDelta Kind = "delta" // the rows changed since the parent, and all dense weights
)

// Object names one immutable object of an update in the object store. What holds the same bytes has the same name, in all versions of a model.
type Object struct {
	Table  string `json:"table,omitempty"` // what the object holds; "" in format 1, whose names say it
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// TrainedThrough says how much of the stream a version has seen.
type TrainedThrough struct {
	EventTime EventTime          `json:"event_time"` // ms; the latest due time of a trained part
	Positions map[Partition]Emit `json:"positions"`
}

// Manifest describes one version of a model. The manifest of the newest version is the model's head: the only mutable
// thing of the protocol (package publisher).
type Manifest struct {
	Format         int                `json:"format"`
	Model          string             `json:"model"`
	Version        Version            `json:"version"`
	Epoch          WriterEpoch        `json:"epoch,omitempty"` // of the writer; never falls along a line. 0 in format 1
	Kind           Kind               `json:"kind"`
	Parent         Version            `json:"parent,omitempty"` // the version before, which a delta follows on; of a base, 0 where there is none, and in format 1
	Base           Version            `json:"base"`             // the base that a chain of deltas starts from; of a base, itself
	Objects        []Object           `json:"objects"`
	FromParent     []Object           `json:"from_parent,omitempty"` // of a base: what makes the same version of its parent, where that is held; a delta's Objects do
	TrainedThrough TrainedThrough     `json:"trained_through"`
	Step           Step               `json:"step"`
	Items          int                `json:"items"`
	Metrics        map[string]float64 `json:"metrics,omitempty"`
	ConfigDigest   string             `json:"config_digest"` // sha256 of the model's shape; a replica refuses to mix two
	CreatedAt      time.Time          `json:"created_at"`
	Publisher      string             `json:"publisher,omitempty"` // who wrote it, for the operator: I5 allows one at a time
	Signer         string             `json:"signer,omitempty"`    // nkey public key
	Signature      string             `json:"signature,omitempty"` // base64 of ed25519 over SigningBytes
}

// ManifestFormat is the version of the manifest that this program writes and the newest that it reads. In format 1 an object is called after its version and its
// table, in format 2 after its content.
const ManifestFormat = 2

// tableRule is what a table may be called.
var tableRule = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// CheckTable returns an error unless name may be a table's name.
func CheckTable(name string) error {
	if !tableRule.MatchString(name) {
		return fmt.Errorf("table name %q: must be 1 to 64 of a-z 0-9 _", name)
	}
	return nil
}

// ObjectName returns what an object of a model is called that has this SHA-256 (lower-case hex).
func ObjectName(model, sha256 string) string { return model + "/" + sha256 + ".arrow" }

// AllObjects returns the objects that m names, for either way to make the version.
func (m *Manifest) AllObjects() []Object { return slices.Concat(m.Objects, m.FromParent) }

// SigningBytes returns what the signature covers: the JSON of m without the signature itself. encoding/json writes map
// keys sorted and fields in order, so both sides compute the same bytes.
func (m Manifest) SigningBytes() ([]byte, error) {
	m.Signature = ""
	return json.Marshal(m)
}

// Validate reports every fault of m at once, or nil.
func (m *Manifest) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if m.Format < 1 || m.Format > ManifestFormat {
		fault("format %d is not known to this program (it reads up to %d): run a newer freshet", m.Format, ManifestFormat)
	}
	if m.Model == "" {
		fault("model is missing")
	}
	if m.Version == 0 {
		fault("version is missing")
	}
	switch m.Kind {
	case KindBase:
		if m.Base != m.Version {
			fault("base %d of a base must be its own version %d", m.Base, m.Version)
		}
		if m.Parent >= m.Version && m.Version > 0 {
			fault("parent %d of a base must be below its version %d", m.Parent, m.Version)
		}
	case KindDelta:
		if m.Parent == 0 || m.Parent >= m.Version {
			fault("parent %d of a delta must be between 1 and its version %d", m.Parent, m.Version)
		}
		if m.Base == 0 || m.Base > m.Parent {
			fault("base %d of a delta must be between 1 and its parent %d", m.Base, m.Parent)
		}
	default:
		fault("kind %q is neither base nor delta", m.Kind)
	}
	if len(m.Objects) == 0 {
		fault("objects are missing")
	}
	if len(m.FromParent) > 0 && (m.Kind != KindBase || m.Parent == 0) {
		fault("from_parent is of a base that has a parent")
	}
	for _, objects := range [][]Object{m.Objects, m.FromParent} {
		faults = append(faults, m.checkObjects(objects)...)
	}
	if m.Format >= 2 && m.Epoch == 0 {
		fault("epoch is missing")
	}
	return errors.Join(faults...)
}

// checkObjects returns the faults of objects that together make a version.
func (m *Manifest) checkObjects(objects []Object) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	tables := map[string]bool{}
	for _, o := range objects {
		if digest, err := hex.DecodeString(o.SHA256); err != nil || len(digest) != 32 || o.Bytes < 0 || o.Name == "" {
			fault("object %q has no usable name, size or sha256", o.Name)
		}
		if m.Format < 2 {
			continue
		}
		if err := CheckTable(o.Table); err != nil {
			fault("object %q: %w", o.Name, err)
		}
		if tables[o.Table] {
			fault("table %q is there twice", o.Table)
		}
		if want := ObjectName(m.Model, o.SHA256); o.Name != want {
			fault("object %q is not called after its content: want %q", o.Name, want)
		}
		tables[o.Table] = true
	}
	return faults
}
