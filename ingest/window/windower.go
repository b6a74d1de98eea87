package window

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"time"
	"unsafe"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/zeebo/xxh3"
)

// Windower is the windowing state of one partition. It is not safe for concurrent use: its partition's owner calls it.
type Windower struct {
	limits limits
	meta   Meta
	floor  schema.EventTime // the watermark before the present advance; between advances, the watermark

	slab  slab
	arena arena
	users table
	seed  maphash.Seed
	open  int
	gaps  calendar // when the gap of a session ends
	other calendar // when something else is due with it before

	journal   []byte // see Journal
	replaying bool   // parts are in the log already
	out       []Part // what is due now; the room before it belongs to callers
	large     bool   // a part in out has much text
	expected  byte   // of what Expect has read, so that it is read
	text      []byte // room for the bytes of parts; the room before it belongs to callers
}

// Part is an emitted part. Its clicks are packed; Clicks of the embedded part is nil. It shares no memory with the
// Windower, but some with the parts around it: who keeps one for long copies it.
type Part struct {
	schema.Part
	Packed packed.Clicks
}

// limits is the Config in milliseconds.
type limits struct {
	Config
	gap, bound, partAge, maxAge schema.EventTime
	partClicks, maxClicks       uint32
}

func limitsOf(c Config) limits {
	ms := func(d time.Duration) schema.EventTime { return schema.EventTime(d.Milliseconds()) }
	return limits{
		Config: c, gap: ms(c.Gap), bound: ms(c.LatenessBound), partAge: ms(c.PartAge), maxAge: ms(c.MaxSessionAge),
		partClicks: uint32(c.PartClicks), maxClicks: uint32(c.MaxSessionClicks),
	}
}

// later returns t later by ms, which is not negative, saturating at the end of time.
func later(t, ms schema.EventTime) schema.EventTime {
	if sum := t + ms; sum >= t {
		return sum
	}
	return schema.EndOfTime
}

// newWindower returns a Windower without sessions at m. c must be valid.
func newWindower(c Config, m Meta) *Windower {
	w := &Windower{limits: limitsOf(c), meta: m, floor: m.Watermark, seed: maphash.MakeSeed()}
	// No due is later than watermark + lateness bound + gap: then every session has a day of its own.
	shift := uint(bits.Len64(uint64(later(w.limits.gap, w.limits.bound)) / (days - 2)))
	w.gaps = calendar{w: w, which: 0, shift: shift, due: w.gapDue}
	w.other = calendar{w: w, which: 1, shift: shift, due: w.otherDue}
	w.clear()
	return w
}

// clear gives back the memory of sessions that are all closed.
func (w *Windower) clear() {
	w.slab, w.arena, w.users = slab{}, arena{}, table{}
	w.gaps.begin(w.floor)
	w.other.begin(w.floor)
}

// Add takes one click: it advances the watermark, and returns the parts that became due and, where the click was not
// taken, why. The click must be valid (schema.Click.Validate). Add keeps nothing of it: the click, and what its strings
// point to, may be used again. The parts are the caller's.
//
// The advance comes before the click finds its session. For the gap the order does not matter, since a click that pushes
// the watermark beyond last + gap is itself beyond; for max_session it makes the click begin the next session.
func (w *Windower) Add(click *schema.Click) ([]Part, schema.Reason) {
	t := click.EventTime
	if t < w.meta.Watermark {
		return nil, w.Reject(schema.ReasonLate)
	}
	w.see(t)
	before := len(w.journal)
	if reason := w.place(w.noteClick(click)); reason != "" {
		w.journal = w.journal[:before]
		w.noteSkip(reason, t)
		w.count(reason)
		return w.flush(), reason
	}
	return w.flush(), ""
}

// see takes notice of a click at t that is not late.
func (w *Windower) see(t schema.EventTime) {
	w.meta.Ended = false
	if t > w.meta.MaxSeen {
		w.meta.MaxSeen = t
		w.advance(t.Add(-w.limits.LatenessBound))
	}
}

// Reject counts a record that did not become a click, so that the partition's counts are in one place. It returns reason.
func (w *Windower) Reject(reason schema.Reason) schema.Reason {
	w.noteReject(reason)
	w.meta.Ended = false
	return w.count(reason)
}

func (w *Windower) count(reason schema.Reason) schema.Reason {
	w.meta.Counts.Rejected[slices.Index(schema.Reasons, reason)]++
	return reason
}

// Tick advances the watermark to t, if it is not there yet, without a click: time has passed on an idle partition.
func (w *Windower) Tick(t schema.EventTime) []Part {
	if t > w.meta.Watermark {
		w.noteTick(t)
		w.advance(t)
	}
	return w.flush()
}

// End says that the bounded input has ended: every session closes with one final part, cause end, and the epoch becomes
// next, which must be greater. More input may follow: it begins after everything seen so far.
//
// The parts come in the order of what would have been due next, under the present epoch. Their dues are cut at the latest
// event time seen, or the watermark if ticks brought it further: no due is then below the watermark, as doc.go promises,
// and no due lies in a future that the stream never reached.
func (w *Windower) End(next schema.Epoch) []Part {
	if next <= w.meta.Epoch {
		panic("window: end: the epoch must grow")
	}
	w.noteEnd(next)
	latest := max(w.meta.MaxSeen, w.meta.Watermark)
	for {
		r, due, _ := w.next(schema.EndOfTime)
		if r == 0 {
			break
		}
		s := w.slab.at(r)
		w.emit(s, s.pending, s.size, true, min(due, latest), causeEnd)
		w.remove(r)
	}
	w.meta.Watermark = w.meta.AfterEnd()
	w.floor = w.meta.Watermark
	w.clear()
	w.meta.Epoch, w.meta.Ended = next, true
	return w.flush()
}

// advance moves the watermark up to t and emits all that becomes due.
func (w *Windower) advance(t schema.EventTime) {
	if t <= w.meta.Watermark {
		return
	}
	w.meta.Watermark = t
	for {
		r, due, what := w.next(t)
		if r == 0 {
			break
		}
		w.happen(r, due, what)
	}
	w.floor = t
}

// next returns the session with which something is due first, if that is before t, and what it is. Where the end of the
// gap and something else are due with a session at the same time, the gap makes the other needless.
func (w *Windower) next(t schema.EventTime) (ref, schema.EventTime, kind) {
	gap, gapDue := w.gaps.next(t)
	other, otherDue := w.other.next(t)
	switch {
	case other == 0,
		gap != 0 && gapDue < otherDue,
		gap != 0 && gapDue == otherDue && !w.before(other, gap):
		return gap, gapDue, kindGap
	}
	return other, otherDue, w.slab.at(other).kind
}

// happen does what is due with session r.
func (w *Windower) happen(r ref, due schema.EventTime, what kind) {
	s := w.slab.at(r)
	n, size := w.sealed(s, w.meta.Watermark)
	switch what {
	case kindClicks, kindAge:
		full := w.fullAt(s)
		w.emit(s, n, size, false, due, causeOf[what])
		w.take(s, n, size)
		if s.emitted < w.limits.maxClicks {
			full = w.fullAt(s)
		}
		w.schedule(r, s, full)
		return
	}
	w.emit(s, n, size, true, due, causeOf[what])
	if n == s.pending {
		w.remove(r)
		return
	}
	// A maximum left clicks that are not sealed: they begin the next session.
	w.take(s, n, size)
	w.begin(s)
	w.other.remove(r)
	w.schedule(r, s, w.fullAt(s))
}

// begin makes a new session of the pending clicks of s.
func (w *Windower) begin(s *session) {
	s.start, s.number, s.emitted, s.ids = packed.Time(w.pendingOf(s)), 0, 0, 0
	block := w.arena.bytes(s.block, s.class) // its ids are some of the session's before, so there is room
	for clicks := w.pendingOf(s); len(clicks) > 0; clicks = clicks[packed.Len(clicks):] {
		if id := packed.EventID(clicks); len(id) > 0 {
			s.ids++
			binary.LittleEndian.PutUint64(block[len(block)-int(s.ids)*idBytes:], xxh3.Hash(id))
		}
	}
}

// cause is the place of a schema.Cause in Causes.
type cause uint8

const (
	causeAge cause = iota
	causeClicks
	causeGap
	causeMax
	causeEnd
	causeFull
)

var causeOf = [...]cause{kindGap: causeGap, kindMax: causeMax, kindClicks: causeClicks, kindAge: causeAge}

// emit puts out a part with the first n pending clicks of s, which have size bytes. The user and the clicks lie next to
// each other in the session's block, and so they do in the part's.
func (w *Windower) emit(s *session, n, size uint32, final bool, due schema.EventTime, why cause) {
	number := s.number
	s.number++
	w.meta.Counts.Emitted += uint64(n)
	w.meta.Counts.Parts[why]++
	if w.replaying {
		return
	}
	user := uint32(s.user)
	text := w.own(w.arena.bytes(s.block, s.class)[:user+size])
	if len(w.out) == cap(w.out) {
		w.out = append(make([]Part, 0, max(partsAtOnce, 2*len(w.out))), w.out...)
	}
	w.out = append(w.out, Part{
		Part: schema.Part{
			Epoch: w.meta.Epoch, Due: due, UserID: unsafe.String(unsafe.SliceData(text), user), SessionStart: s.start,
			Number: int32(number), Final: final, Cause: Causes[why],
		},
		Packed: packed.Clicks{N: int(n), Bytes: text[user:len(text):len(text)]},
	})
}

// Parts and their bytes are made in rooms that many of them share, each its own piece of it, so that emitting one costs no
// allocation.
const (
	partsAtOnce = 128
	textAtOnce  = 32 << 10
)

// own returns a copy of b that will never change.
func (w *Windower) own(b []byte) []byte {
	if len(b) > textAtOnce/4 {
		w.large = true
		return slices.Clone(b)
	}
	if len(b) > cap(w.text)-len(w.text) {
		w.text = make([]byte, 0, textAtOnce)
	}
	from := len(w.text)
	w.text = append(w.text, b...)
	return w.text[from:]
}

// flush returns the parts that were put out since the last time.
func (w *Windower) flush() []Part {
	n := len(w.out)
	if n == 0 {
		return nil
	}
	parts := w.out[:n:n]
	if w.out = w.out[n:]; w.large { // the next parts must not hold on to these
		w.out, w.large = nil, false
	}
	return parts
}
