package schema

// Reason says why a record was not taken into a session.
type Reason string

// The reasons. Every record that is read is counted once: taken, or under one of these (I7).
const (
	ReasonLate        Reason = "late"        // its event time is before the watermark
	ReasonUndecodable Reason = "undecodable" // it is not a record of the configured format
	ReasonInvalid     Reason = "invalid"     // it decodes, but breaks a rule of Click.Validate
	ReasonOversize    Reason = "oversize"    // it is larger than MaxRecordBytes
	ReasonDuplicate   Reason = "duplicate"   // the session has this click already; counted, its bytes are not kept
	ReasonOverflow    Reason = "overflow"    // its user, or its partition, has as many unsealed clicks as may wait
)

// Reasons lists every Reason in the order in which they are shown. Codecs number them so: it grows at its end.
var Reasons = []Reason{ReasonLate, ReasonUndecodable, ReasonInvalid, ReasonOversize, ReasonDuplicate, ReasonOverflow}

// Rejected is a record that was put aside, with all that is needed to understand it and to send it again.
type Rejected struct {
	Topic     string
	Partition Partition
	Offset    Offset
	ArrivedAt ArrivalTime
	Reason    Reason
	Detail    string // one sentence: what is wrong with it
	Key       []byte
	Value     []byte
}
