// Package window cuts the clicks of one partition into sessions, in event time.
//
// # Nouns
//
// A Windower is the state of one partition: its watermark and its open sessions. A session is open until the watermark
// has passed its last click by more than the gap. A part is a slice of a session that is emitted and never changes again.
// A click is sealed once its event time is before the watermark; only sealed clicks are emitted.
//
// # Promise
//
// The parts that come out, in their order, are a pure function of the clicks that went in, in their order, the ticks, the
// ends and the Config (I1): there is no clock, no randomness, no I/O and no goroutine here, and how the clicks were
// batched, or how often the state was saved and restored between them, does not show.
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
//
// So an advance from W to W' emits dues in [W, W') in rising order, and End emits the remaining ones, none below W. This is
// also why a reader may merge partitions by due and take the watermark as the bound of all that is still to come.
//
// # Caveats
//
// An event id is remembered as its 64-bit hash for the life of its session. Two different ids of one session of 1000
// clicks collide with a probability of about 3e-14.
//
// What this package does not do: decode records, number the log, or store anything (ingest/buffer).
package window
