// Package replay is experiments over a bounded stream: several models, the arms, learn the same and are asked the same, by one of three protocols.
//
// # Nouns
//
//	prequential    StreamExperiment of StreamArms over a Feed, within Bounds; Look makes its Survey; StreamReport
//	ader           PeriodExperiment of Arms with Cycles over Periods, which a PeriodBuilder makes; PeriodReport
//	leave-one-out  Experiment of Arms over Sequences, which a Builder makes of events or of lines in a Format; Report
//
// ParseStreamArms, ParsePeriodArms and ParseArms read arms from text. Plan says what Run would do. The reports of the first two have a Page, and their
// metrics over time as a table (Over).
//
// # The protocol: prequential
//
// Each arm is a learn.Learner that goes through the log on its own, in the micro-batches of the trainer: every part is asked for, then learned. An arm may be late: what it
// learns then is read a second time, Delay of event time behind, so that memory does not grow with it. Under WeightsDelay a learner with tables of its own follows
// behind the one that is asked. Ranks are kept test by test and judged together at the end, so that differences are of the same tests;
// one that an arm could not be asked, because it knew nothing of the user or of the items yet, is a miss of that arm.
//
// # The protocol: ader
//
// That of ADER (Mi, Lin & Faltings 2020): train up to a period, test on the next. Every event of a session after its first is asked for, given those before it;
// items that are in no period up to then are taken out of the test. Metrics are means over the cycles, each weighing the same. Arms with online=true are
// a learn.Learner each: of a period first the weights of its blend learn, from a sample that is asked for as in the test; then its network, in epochs: beside its
// terms over single clicks, as the tables were before the period, or with terms=false over whole sessions; then its tables, every click once. The test teaches it
// nothing. The blend and the baselines among its tables are rows of their own.
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
// Same input, same arm, same machine: same bits, which the digests show. An arm knows nothing of the others: its numbers are
// the same with and without them.
//
// # Caveats
//
// Times matter where the file has them: the model reads gaps and hours. Pairs and Lists have none, and all events are at one time.
//
// What is kept of the tests of a stream is some forty bytes each for the first arm and a dozen for the others: a hundred megabytes for three million clicks.
//
// What this package does not do: read files or logs (cmd), know formats with times (ingest/source), or draw (page).
package replay
