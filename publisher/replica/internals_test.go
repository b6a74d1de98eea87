package replica

import "weak"

// What tests of this package look at from within.

// StableIsFreed returns a function that says whether the model that answers in the stable lane now has been freed.
func (r *Replica) StableIsFreed() func() bool {
	w := weak.Make(r.lanes().stable.served)
	return func() bool { return w.Value() == nil }
}

// Recorded are the requests that the next version is warmed up with.
func (r *Replica) Recorded() []Request { return r.requests.all() }

// Restore adopts what is on the disk, as Run does at its start.
func (r *Replica) Restore() { r.restore() }

var (
	EncodeRequests = encodeRequests
	DecodeRequests = decodeRequests
	Place          = place
)

const MaxRecordedBytes = maxRecordedBytes
