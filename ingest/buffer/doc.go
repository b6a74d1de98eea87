// Package buffer keeps what ingest must not lose, in Pebble: the open sessions, the log of emitted parts, the records put
// aside, and how far each Kafka partition has been read.
//
// # Nouns
//
// A Store is one directory. A partition's log is a sequence of entries: parts, and marks of the two things besides records
// that move a watermark, ticks and ends. A Commit is all that a batch of records changed.
//
// # Promise
//
// A Commit is one synced Pebble batch: after a crash it is there with its offset, or not at all (I2). Readers see only what
// is synced, so nothing that they build on is taken back. All commits given to one call are one batch.
//
// The history of a user before a place in the log is read from the log itself, by an index. It is a pure function of log
// and place, so a reader that starts again from a position finds the histories of that position.
//
// Every value is written and read by the codec of this package alone (keys.go, entry.go, state.go), with golden bytes in
// testdata. Damaged values give an error that names the key, and never a panic.
//
// # Caveats
//
// The log is kept whole. The records aside are bounded: the oldest go first, and are counted.
//
// What this package does not do: decide what a session is (ingest/window), merge partitions (ingest/feed).
package buffer
