// Package window cuts the clicks of one partition into sessions, in event time.
//
// # Nouns
//
// A Windower is the state of one partition: its watermark and its open sessions. A session is open until the watermark
// has passed its last click by more than the gap. A part is a slice of a session that is emitted and never changes again.
// A click is sealed once its event time is before the watermark; only sealed clicks are emitted. The journal is what a
// Windower was told since the last commit; pages are all its open sessions. Pages, and the journal since, are its state.
//
// # Promise
//
// The parts that come out, in their order, are a pure function of the clicks that went in, in their order, the ticks, the
// ends and the Config (I1): there is no clock, no I/O and no goroutine here, nothing random that shows, and how the clicks
// were batched, or how often the state was saved and restored between them, does not show.
//
// Every click is counted once: taken, or rejected with a reason; and what is taken is either emitted or pending (I7).
//
// Part.Due never falls within an epoch. Write W for the watermark. After every advance all dues below W have been emitted
// (that is the advance's loop). A due that arises later is not below W, because each kind of due either is the time of a
// click, or lies after one, that is not late (so not before W), or it existed before and was not below W:
//   - age: pending[0] + part_age. An emission takes every click before W, so what is left, and what comes, is not before W.
//   - clicks, and max by count: the time of the k-th click. Only clicks that are not before W can be inserted, so either
//     the k-th click stays the one it was, or it is replaced by one that is not before W.
//   - gap: last + G. It only grows.
//   - max by age: start + max_session. The start falls only to the time of a click that is not late.
//   - full: W itself. It is emitted between two advances, at once.
//
// So an advance from W to W' emits dues in [W, W') in rising order, what is full after it has the due W', and End emits the
// remaining ones, none below W. This is also why a reader may merge partitions by due and take the watermark as the bound
// of all that is still to come.
//
// When as many sessions are open as may be (Config.MaxOpenSessions), a click that would open one more closes the one whose
// last click is the oldest; of equal ones, the lower user. That is a function of the open sessions alone, so I1 holds. It
// is closed only if all of its clicks are sealed: an unsealed one could not be emitted, because a click before it may still
// come, and begins no session of its own without taking the place that was to be made. If the oldest last click is not
// sealed, none is, and the new click is rejected (overflow): within one lateness bound more users came than may be open.
//
// # Cost
//
// A click costs the same work however many sessions are open, and waits for memory beside it, of which Expect takes some away: a session is a place in a slab and a
// block of bytes, in which clicks lie packed (package packed); a table without pointers finds it; two calendars order the
// sessions by due. A million sessions of two clicks take about 290 MB and cost the garbage collector nothing. Memory that
// was once needed is kept for sessions to come, until an end.
//
// # Caveats
//
// An event id is remembered as its 64-bit hash for the life of its session. Two different ids of one session of 1000
// clicks collide with a probability of about 3e-14. The pending clicks of one user take at most 64 MiB; more is overflow.
//
// What this package does not do: decode records, number the log, or store anything (ingest/buffer).
package window
