// Package evaluate judges several recommenders, the arms, side by side on one stream: each test is put to all of them before any
// may learn from it (Dawid 1984, "Present position and potential developments: the prequential approach").
//
// Evaluation takes Tests and keeps, for each kind of test and each arm, recall, MRR and NDCG at Places: over the whole stream,
// over its last share, faded, over event time, and by what is known of the targets. Compare says whether two arms differ.
// Sessions holds the lists given at a session's first click until the session is over. Drift says when a loss has changed.
//
// # Promise
//
// What is kept does not grow with the stream: curves join neighbouring points, names beyond a bound are "other", sessions
// beyond a bound are not held and counted. The same tests in the same order give the same numbers and the same bytes, and what
// is restored from its table goes on as if it had never stopped (I3, I4). Nothing here reads a clock or starts a goroutine.
//
// # Caveats
//
// An arm that did not judge every test of a group has no scores there: its mean would be over other tests than its neighbours'.
// Sums are of float64: a group of 2^53 tests is beyond them.
//
// What this package does not do: rank items (model, baseline), choose what is tested (trainer), or draw (cmd).
package evaluate
