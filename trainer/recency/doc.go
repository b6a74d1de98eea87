// Package recency says what is trained on when: the recency policy of a trainer, and what gives way when time runs short.
//
// # Nouns
//
// The fast lane takes each part once, when it comes. A Schedule deals users to buckets by a salted hash and says, as event time passes, which
// bucket has its Run: over all its users, with loss on the parts of the last periods (stochastic partial incremental training, PIT: TBGRecall,
// arXiv 2508.11977). A Lane walks a Run in Chunks of users. A Governor sees how far training is behind, and decides what is shed; a Decision
// is what it decided.
//
// # The policies
//
// The rows are TBGRecall's, with what its authors measured: time on how many machines, and the hit rate at 4000.
//
//	                       fast   buckets  window      stochastic_length   machines, time   HR@4000
//	full retraining        false  1        all of it   0                   128, 5 days      23.76 %
//	plain incremental      false  1        1           0                   1280, 16 h       29.76 %
//	stochastic length      false  1        all of it   1.6                 128, 48 h        26.50 %
//	PIT                    false  10       10          0                   128, 11 h        29.45 %
//	each part at once      true   0        -           0                   (ours)
//	and again by PIT       true   10       10          0                   (the default)
//
// All of it is AllPeriods; share 1 lets a run end before the next part, as a daily job does.
//
// Under Distill every step, of either lane, is also held to what the model said when the last period ended: behind the batch whose parts were the first of the next
// (Ends), and so before the run of the period. A period is a moment of the stream; a version is one of the clock, and would not come again after a crash.
//
// # A batch
//
// Batches have numbers, whichever lane they are of. For each, in this order: the Decision; if Lane.Ready says that it is the lane's turn,
// Lane.Next, whose chunk is the batch; else the next parts of the stream, of which those that KeepsPart refuses are not stepped on (tables
// learn from them, and they are counted in Shed), then Lane.Earn, Schedule.Advance and Lane.Add with its runs. A checkpoint has State of
// Schedule and Lane, and holds the log at Lane.Hold.
//
// # Promise
//
// With window = buckets and one epoch, each part is learned from in exactly one run, 0 to 2·buckets-2 periods after the one it came in; in
// general in window/buckets on average. That holds of parts that are among the newest of their user's history when the run comes, as many as a
// history may have: what is older is not read. A run that is shed is not made up for: the past is what gives way.
//
// Nothing here has a clock, does I/O or starts a goroutine. What is random is a hash of what it is about. What is decided by the outside, such
// as how far behind training is, goes into a Decision, which is written down before it takes effect; so the same log, config, seed and
// decisions give the same steps (I4), with any crashes in between: Schedule, Lane and Governor keep their state in a checkpoint.
//
// What this package does not do: read the log, make examples of parts, or step.
package recency
