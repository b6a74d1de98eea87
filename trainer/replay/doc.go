// Package replay is experiments over a bounded stream: several models, the arms, are trained on the same sequences and asked the same, by the
// protocol of the published tables of sequential recommendation.
//
// # Nouns
//
//	Sequences   what users did, each in order, as rows of items; a Builder makes them
//	Format      a layout of lines that published sets come in and that has no times
//	Arm         a model and how it is trained, by name; ParseArms reads them from text
//	Experiment  arms over sequences; Plan says what Run would do
//	Result      what one evaluation of an arm found; Report is the last ones of all arms, and the rule
//
// # The protocol: leave-one-out
//
// A user's last item is the test; all others are trained on, the latest Training.Length of them as input and each the target of those before it.
// The test item is ranked among all items of the file, without those that the user had before, as SASRec and HSTU are measured; Experiment.Repeats keeps
// those. Equal scores count against the test item. A test item that the user had before stays a candidate: else no model
// could be right. There is one target, so HR@K is recall@K. Users with fewer than three items are left out and counted; their items stay
// candidates, because the published corpora are those of the whole file.
//
// Each event is a session of its own, and a click whatever its action: the sets that the tables are about have no others.
//
// # Promise
//
// Same sequences, same arm, same machine: same bits, which Result.Digest shows. An arm knows nothing of the others: its numbers are
// the same with and without them.
//
// # Caveats
//
// Times matter where the file has them: the model reads gaps and hours. Pairs and Lists have none, and all events are at one time.
//
// What this package does not do: read files (cmd), know formats with times (ingest/source), or measure a live stream (trainer's Curve).
package replay
