// Package trainer turns parts into a better model: parts in, checkpoints and versions out.
//
// # Promise
//
// A part is scored before it is trained on (I6), and trained on exactly once, whatever crashes in between: the checkpoint
// holds weights, optimiser, vocabulary, random state, baselines, metrics and the position in the log together (I3).
//
// The same log, config and seed give the same state, and so the same digest of a checkpoint (I4). Therefore micro-batches are cut by event time
// and count, never by arrival; nothing the wall clock decides (when to publish, when to checkpoint) touches the state; and
// user histories are not state at all: they are read from the log as of the part that is being trained.
//
// # Nouns
//
// A version carries the live tables, and the weights with it or, where they are to come more rarely, later.
//
// Trainer owns the state and is its only writer. Feed and Publisher are what it needs of the outside. Curve is what the
// prequential evaluation has found so far. Freshness joins the arrival of clicks with the adoption of versions.
//
// # Checkpoints
//
// A checkpoint is a base or a delta on the file it names (checkpoint.go). A damaged file costs the restore points that need it, and no clicks: the log is
// held from the oldest kept restore point on. Where it begins later all the same, Run returns a GapError.
//
// What this package does not do: read Kafka or Pebble, talk to NATS, or serve.
package trainer
