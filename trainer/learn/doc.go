// Package learn moves a model forward with its stream, a micro-batch of parts at a time: the same core runs live, in a replay, and in each arm of one.
//
// # Nouns
//
//	Learner  a model, the live tables beside it, and what the prequential evaluation has found of both
//	Batch    parts that are scored and trained on together, with what was known of their users; Batcher cuts them
//	Drifts   lasting rises of the loss of the fast lane's steps, which a learner counts and may adapt to
//	History  where the earlier parts of a user are read
//
// # The order
//
// Test, then train (I6): a batch is ranked by every arm with the state of before it, then the network takes one step, then the tables learn, click by
// click. Items appear in the vocabulary in the order of their clicks; one that the state of before the batch did not know is a miss for every arm.
//
// Histories are read as of a part's place in the log, so they hold the earlier parts of the same batch, and are the same after a restart (I4). Parts of
// users without history are not tested and give no step: there is nothing to predict from, and training the query of an unknown user on them was measured to
// hurt.
//
// An experiment over a log that has an end may go through it otherwise: Ask tests and moves nothing, Weigh teaches the blend alone whom to trust, Observe
// teaches the tables, and as often as one likes Revise network and terms, or Review the network alone.
//
// What this package does not do: cut the stream by the clock, write files, publish (trainer), or choose what is compared (trainer/replay).
package learn
