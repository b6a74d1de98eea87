// Package feed reads the logs of all partitions as one sequence of parts.
//
// # Nouns
//
// A Feed is one reader with a position: per partition, the emit it wants next. Progress says how far in event time it has
// come.
//
// # Promise
//
// The sequence is the parts of all partitions sorted by (epoch, due, partition, emit). It is a pure function of the logs
// (I4): it depends neither on when partitions grew, nor on how much was asked for at a time, nor on where the reader
// stopped and began again. Marks of the log are passed over.
//
// To keep it, a part is returned only when no other partition can have a smaller one any more. A partition whose next part
// is not known can still have parts due at its watermark or later, in its epoch (window/doc.go); so the slowest partition
// sets the pace, and one without records stops it until it ticks or ends. The metas with the watermarks are read before
// the logs: a watermark then never promises more than has been read.
//
// # Caveats
//
// All partitions of the topic must be named at the start: one that appears later would have come too late.
//
// What this package does not do: remember positions (the reader's checkpoint does, with what it made of the parts), or
// carry parts to other machines.
package feed
