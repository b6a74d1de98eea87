// Package buffer keeps what ingest must not lose, in Pebble: the windows with their open sessions, the log of emitted
// parts, the records put aside, and how far each Kafka partition has been read.
//
// # Nouns
//
// A Store is one directory. A partition's log is a sequence of entries: parts, and marks of what else there is to know:
// ticks and ends, which move a watermark without a record, and growths of the topic. A Commit is all that a batch of
// records changed. The journal of a partition is what its windows were told since their last snapshot.
//
// # Promise
//
// A Commit is one synced Pebble batch: after a crash it is there with its offset, or not at all (I2). Readers see only what
// is synced, so nothing that they build on is taken back. All commits given to one call are one batch. After a failed write
// a store writes no more; with too little room on the disk it writes nothing, and says so (ErrNoRoom).
//
// Load gives back the windows of the last commit, from the snapshot and the journal behind it, and checks that they have
// the Meta of that commit. A snapshot is due when the journal is as long as the last snapshot: so it costs no more than was
// written since, and a start reads no more than twice the open sessions, however many there are.
//
// The history of a user before a place in the log is read from the log itself, by an index. It is a pure function of log,
// place and Options.LogAge, so a reader that starts again from a position finds the histories of that position (I4), also
// while retention removes old entries. Retention removes nothing that a held position needs (Hold).
//
// Histories are for who wants what users did and not the log: of the logs that other nodes have, they keep the latest parts of each
// user, bounded by user and in total.
//
// A partition moves to another node as a stream (Export, Import); its log can be mirrored to any number (Append).
//
// Every value is written and read by the codec of this package alone (keys.go names them all), with golden bytes in
// testdata. Damaged values give an error that names the key, and never a panic. Open brings a directory of an earlier
// format up to this one.
//
// # Caveats
//
// Options.LogBytes can shorten histories at moments that depend on the bytes of the whole store. The records aside are
// bounded: the ones that arrived first go first, and are counted.
//
// What this package does not do: decide what a session is (ingest/window), merge partitions (ingest/feed).
package buffer
