// Package feed reads the logs of all partitions as one sequence of parts.
//
// # Nouns
//
// A Feed is one reader with a position: per partition, the emit it wants next. Progress says how far in event time it has
// come. A place is a point of the sequence's order: (epoch, due, partition, emit).
//
// # Promise
//
// The sequence is the parts of all partitions sorted by place. It is a pure function of the logs (I4): it depends neither
// on when partitions grew, nor on how much was asked for at a time, nor on where the reader stopped and began again. Of the
// marks of the log, ticks and ends are passed over.
//
// To keep it, a part is returned only when no other partition can have a smaller one any more. A partition whose next part
// is not known can still have parts due at its watermark or later, in its epoch (window/doc.go); so the slowest partition
// sets the pace, and one without records stops it until it ticks or ends. The metas with the watermarks are read before
// the logs: a watermark then never promises more than has been read.
//
// Which partitions there are is part of the logs too: a Grow mark in partition 0's says that from its place on, its epoch
// and watermark there, the topic has so many. A partition that a mark added may have parts that are due before the mark.
// They could not be returned before it, because nobody knew of them; so they count as due at the mark, and are returned
// with its epoch and due. Then the argument holds for growing topics: what a partition has yet to return is neither before
// its own bound nor before the mark that added it; partition 0 is the lowest, so its mark comes before all else that is due
// there; and the place of the mark that added a partition is kept with partition 0's meta (buffer.Meta.Grows), so that a
// reader that begins behind the mark counts as one that has read it.
//
// # Caveats
//
// Partition 0's log must be in the store, its own or a mirror: nothing is returned before it is known which partitions
// there are. Where it has no Grow mark, they are the ones of the position and those that have a log when the Feed is made.
//
// A Feed does not hold its position in the store: only its owner knows which position is durable. The owner calls
// buffer.Store.Hold before it reads, and after each checkpoint.
//
// What this package does not do: remember positions (the reader's checkpoint does, with what it made of the parts), or
// carry parts to other machines.
package feed
