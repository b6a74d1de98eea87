// Package export writes what a store holds as tables that other programs read: sessions, clicks, and the records aside, as
// Parquet, Arrow IPC files or CSV.
//
// # Nouns
//
// A Job is one table of one store. It reads a Log, which does not change meanwhile, and writes rows through a Sink in one of
// the formats. A File is where they go on a disk.
//
//	sessions   user_id, session_start, session_end, clicks, items           one row per closed session
//	clicks     all fields of a click, session_start, partition, emit, part  one row per click
//	aside      topic, partition, offset, arrived_at, reason, detail, bytes  one row per record put aside
//
// Times are milliseconds since the epoch. What a click does not have is null, and empty in CSV.
//
// # Promise
//
// Rows come in the order of the parts that complete them, which is sorted by (epoch, due, partition, emit): the same log
// gives the same rows in the same order. A session is the parts of one user with one start; its row stands where its final
// part does. A session without a final part is open: it is left out and counted, or on request comes behind all others.
//
// Memory is bounded. Parts of sessions that are not complete are held up to Options.HeldBytes; of those for which there is
// no room the earlier parts are read again when the final one comes.
//
// A File is there whole or not at all: it is written under another name beside its place and renamed at the end.
//
// # Caveats
//
// In CSV the items of a session are separated by spaces, so an item id with a space in it cannot be written: the job ends
// with an error that says to use another format, because a changed id would match nothing.
//
// An open session has here only what was emitted of it. Its last clicks may still wait in the window.
//
// WritePlain writes a small table that another room has computed, which is in memory as a whole.
//
// What this package does not do: read a store that a running process holds, or send records back to Kafka.
package export
