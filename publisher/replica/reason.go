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
	ReasonUnsigned  Reason = "unsigned"  // there are trusted keys, and it has no signature
	ReasonSigner    Reason = "signer"    // it is signed by a key that is not trusted
	ReasonTampered  Reason = "tampered"  // it was changed after it was signed
	ReasonReplay    Reason = "replay"    // an older one was put back in the place of the newest; of an order also another of the same serial
	ReasonDowngrade Reason = "downgrade" // it was made later than what was served, under a lower number
	ReasonForked    Reason = "forked"    // it has the number of what was served, and other content
	ReasonEpoch     Reason = "epoch"     // a writer wrote it from whom another has taken the line
	ReasonConfig    Reason = "config"    // the model's shape is not the pinned one, or changes within a chain
	ReasonParent    Reason = "parent"    // its chain leads neither to a base nor to the version held
	ReasonMissing   Reason = "missing"   // a manifest or an object is not in the store
	ReasonTruncated Reason = "truncated" // the end of a manifest or of an object is missing
	ReasonDigest    Reason = "digest"    // an object has another SHA-256, or more bytes
	ReasonTable     Reason = "table"     // an object is not the table it should be, or the model cannot be built from it
	ReasonWarmup    Reason = "warmup"    // the new model fails to answer
	ReasonStore     Reason = "store"     // NATS, or the disk, did not answer
)

var reasons = []Reason{ReasonManifest, ReasonUnsigned, ReasonSigner, ReasonTampered, ReasonReplay, ReasonDowngrade, ReasonForked, ReasonEpoch, ReasonConfig,
	ReasonParent, ReasonMissing, ReasonTruncated, ReasonDigest, ReasonTable, ReasonWarmup, ReasonStore}

// final says that the same head can only be refused again: it is not tried a second time.
func (r Reason) final() bool {
	switch r {
	case ReasonManifest, ReasonUnsigned, ReasonSigner, ReasonTampered, ReasonReplay, ReasonDowngrade, ReasonForked, ReasonEpoch, ReasonConfig:
		return true
	}
	return false
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
	case errors.Is(err, publisher.ErrTruncated):
		return ReasonTruncated
	case errors.Is(err, publisher.ErrUnsigned):
		return ReasonUnsigned
	case errors.Is(err, publisher.ErrSigner):
		return ReasonSigner
	case errors.Is(err, publisher.ErrTampered):
		return ReasonTampered
	case errors.Is(err, publisher.ErrGuard), errors.Is(err, schema.ErrCorrupt):
		return ReasonTable
	}
	return ReasonStore
}
