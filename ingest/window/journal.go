package window

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// The journal: what a Windower was told, in order, so that another one that is told the same becomes the same (I1). It
// begins with the format version, a byte; then operations:
//
//	u8 = 1  string user, packed click     a click that was taken
//	u8 = 2  u8 reason, varint time        a click that was not taken, and not late
//	u8 = 3  u8 reason                     a record that was not taken: a late click, or no click at all
//	u8 = 4  varint watermark              a tick that moved it
//	u8 = 5  uvarint epoch                 an end
//
// A string is its uvarint length and its bytes; a reason is its place in schema.Reasons, which only grows at its end.
const (
	opClick  = 1
	opSkip   = 2
	opReject = 3
	opTick   = 4
	opEnd    = 5
)

// maxKept bounds the room for the journal that is kept from one commit to the next.
const maxKept = 4 << 20

// Journal returns the operations since the last Committed; nothing if there were none. It is valid until the next call of
// w. The journal grows until Committed is called: who does not store it must call that all the same.
func (w *Windower) Journal() []byte { return w.journal }

// Committed says that the Journal is durable, and begins the next one.
func (w *Windower) Committed() {
	if w.journal = w.journal[:0]; cap(w.journal) > maxKept {
		w.journal = nil
	}
}

// note begins an operation.
func (w *Windower) note(op byte) {
	if len(w.journal) == 0 {
		w.journal = append(w.journal, codecVersion)
	}
	w.journal = append(w.journal, op)
}

// noteClick packs a click into the journal, and returns its user and its packed bytes there. They are valid until the
// journal is written to again.
func (w *Windower) noteClick(c *schema.Click) (user, text []byte) {
	w.note(opClick)
	w.journal = binary.AppendUvarint(w.journal, uint64(len(c.UserID)))
	from := len(w.journal)
	w.journal = append(w.journal, c.UserID...)
	to := len(w.journal)
	w.journal = packed.Append(w.journal, c)
	return w.journal[from:to], w.journal[to:]
}

func (w *Windower) noteSkip(reason schema.Reason, t schema.EventTime) {
	w.note(opSkip)
	w.journal = append(w.journal, byte(slices.Index(schema.Reasons, reason)))
	w.journal = binary.AppendVarint(w.journal, int64(t))
}

func (w *Windower) noteReject(reason schema.Reason) {
	w.note(opReject)
	w.journal = append(w.journal, byte(slices.Index(schema.Reasons, reason)))
}

func (w *Windower) noteTick(t schema.EventTime) {
	w.note(opTick)
	w.journal = binary.AppendVarint(w.journal, int64(t))
}

func (w *Windower) noteEnd(epoch schema.Epoch) {
	w.note(opEnd)
	w.journal = binary.AppendUvarint(w.journal, uint64(epoch))
}

// Replay does again what journal says was done after the state that w has now. The parts are in the log already, and are
// not returned. It returns ErrCorrupt where journal is damaged or does not follow on that state; w is then of no use.
func (w *Windower) Replay(journal []byte) error {
	if len(w.journal) > 0 {
		panic("window: replay: there are operations that are not committed")
	}
	if len(journal) == 0 {
		return nil
	}
	r := reader{b: journal, size: len(journal)}
	r.version()
	w.replaying = true
	defer func() {
		w.replaying = false
		w.Committed()
	}()
	for r.err == nil && len(r.b) > 0 {
		w.redo(&r)
		w.journal = w.journal[:0]
	}
	if r.err != nil {
		return fmt.Errorf("window: replay: %w", r.err)
	}
	return nil
}

// redo does the next operation of r again.
func (w *Windower) redo(r *reader) {
	switch op := r.byte(); op {
	case opClick:
		user, click := r.string(), r.click()
		switch {
		case r.err != nil:
		case packed.Time(click) < w.meta.Watermark:
			r.fail("a click before the watermark")
		default:
			w.see(packed.Time(click))
			if reason := w.place(user, click); reason != "" {
				r.fail("a click that is not taken: " + string(reason))
			}
		}
	case opSkip:
		reason, t := r.reason(), schema.EventTime(r.varint())
		switch {
		case r.err != nil:
		case t < w.meta.Watermark:
			r.fail("a click before the watermark")
		default:
			w.see(t)
			w.count(reason)
		}
	case opReject:
		if reason := r.reason(); r.err == nil {
			w.Reject(reason)
		}
	case opTick:
		t := schema.EventTime(r.varint())
		switch {
		case r.err != nil:
		case t <= w.meta.Watermark:
			r.fail("a tick to before the watermark")
		default:
			w.Tick(t)
		}
	case opEnd:
		epoch := r.epoch()
		switch {
		case r.err != nil:
		case epoch <= w.meta.Epoch:
			r.fail("an end of an epoch that has ended")
		default:
			w.End(epoch)
		}
	default:
		r.fail("an unknown operation")
	}
}
