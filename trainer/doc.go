// Package trainer turns parts into a better model: parts in, checkpoints and versions out.
//
// # Promise
//
// A part that is tested is so before anything learns from it (I6). Its clicks teach the live tables exactly once, and it gives the fast lane one step, whatever crashes in
// between: the checkpoint holds weights, optimiser, vocabulary, random state, live tables, metrics and the position in the log together (I3). Parts that give way while training
// is behind, and those from before a new model's beginning, teach the tables alone, and are counted. Runs over buckets learn from parts again.
//
// The same log, config and seed give the same state, and so the same digest of a checkpoint (I4). Therefore micro-batches are cut by event time
// and count, never by arrival; what the wall clock decides does not touch the state (when to publish, when to checkpoint) or is written to a journal before it takes effect
// (what gives way); and user histories are not state at all: they are read from the log as of the part that is being trained.
//
// # Nouns
//
// A version carries the live tables, and the weights with it or, where they are to come more rarely, later.
//
// Trainer drives a learn.Learner, which is the state, and is its only writer. Feed and Publisher are what it needs of the outside. Freshness joins the arrival of clicks with the adoption of versions.
//
// # Checkpoints
//
// A checkpoint is a base or a delta on the file it names (checkpoint.go). A damaged file costs the restore points that need it, and no clicks: the log is
// held from the oldest kept restore point on. Where it begins later all the same, Run returns a GapError.
//
// What this package does not do: read Kafka or Pebble, talk to NATS, or serve.
package trainer
