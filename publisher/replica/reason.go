package replica

import (
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// Reason says why an update was not adopted; it is a label of freshet_updates_rejected_total.
type Reason string

// The reasons.
const (
	ReasonManifest  Reason = "manifest"  // it does not parse, breaks a rule, or is of another model
	ReasonSignature Reason = "signature" // no trusted key signed it
	ReasonDowngrade Reason = "downgrade" // it is older than what is served, or the same number with other content
	ReasonEpoch     Reason = "epoch"     // a writer wrote it from whom another has taken the line
	ReasonConfig    Reason = "config"    // the model's shape is not the pinned one, or changes within a chain
	ReasonParent    Reason = "parent"    // its chain leads neither to a base nor to the version held
	ReasonMissing   Reason = "missing"   // a manifest or an object is not in the store
	ReasonDigest    Reason = "digest"    // an object has another size or SHA-256
	ReasonTable     Reason = "table"     // an object is not the table it should be, or the model cannot be built from it
	ReasonWarmup    Reason = "warmup"    // the new model fails to answer
	ReasonStore     Reason = "store"     // NATS, or the disk, did not answer
)

var reasons = []Reason{ReasonManifest, ReasonSignature, ReasonDowngrade, ReasonEpoch, ReasonConfig, ReasonParent, ReasonMissing, ReasonDigest,
	ReasonTable, ReasonWarmup, ReasonStore}

// final says that the same head can only be refused again: it is not tried a second time.
func (r Reason) final() bool {
	return r == ReasonManifest || r == ReasonSignature || r == ReasonDowngrade || r == ReasonEpoch || r == ReasonConfig
}

// refusal is an error with its reason.
type refusal struct {
	reason Reason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(reason Reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// reasonOf returns the reason of err: the refusal's, or what the error of the store says.
func reasonOf(err error) Reason {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.reason
	case errors.Is(err, publisher.ErrMissing):
		return ReasonMissing
	case errors.Is(err, publisher.ErrDigest):
		return ReasonDigest
	case errors.Is(err, publisher.ErrSignature):
		return ReasonSignature
	case errors.Is(err, publisher.ErrGuard), errors.Is(err, schema.ErrCorrupt):
		return ReasonTable
	}
	return ReasonStore
}
