// Package flight carries the logs of partitions to other machines, over Arrow Flight.
//
// # Nouns
//
// A Server shows the logs of one store to whoever asks. A Mirror copies the logs of all partitions from one or several
// servers, its nodes, into a store of its own, so that a trainer or a replica reads them there as if it had written them.
// A state says how far a partition's log has come, and goes with every batch.
//
// # Promise
//
// A mirrored log is the log of the nodes, entry by entry, under the same numbers, marks included: a feed of the mirror
// gives the same sequence (I4). An entry is appended once, however often a stream breaks and whichever node it comes from,
// because its number says its place. A mirror's state never promises more than its entries: the watermark that a node has
// reached counts from when the last entry before it is there.
//
// What no node has is not passed over in silence: the mirror waits, and Health says what is missing and what to do.
//
// # The protocol
//
// Any Arrow Flight client reads the parts. The table is schema.PartsSchema; a batch carries the partition's state as JSON
// in app_metadata. There are no dictionaries, and batches are not compressed.
//
//	GetFlightInfo  descriptor path ["log"] or ["log", "<partition>"]: an endpoint for each partition
//	GetSchema      any descriptor: the schema of the parts table
//	ListFlights    a flight for each partition; app_metadata is its state, total_records what is in its log
//	DoAction       "partitions": a result for each partition, its state as JSON
//	DoGet          with a ticket, which is JSON:
//
//	{"partition": 0}                     the parts of partition 0 that are in its log now
//	{"partition": 0, "from": 123}        from entry 123 on; without it from the first that is there
//	{"partition": 0, "since": 1700…}     from the first entry that was due at this time, in ms, or later; with marks, from the
//	                                     last one where none was
//	{"partition": 0, "follow": true}     goes on as the log grows, until the client or the server ends it
//	{"partition": 0, "marks": true}      marks too, without which emits have holes
//	{"partition": 0, "max_bytes": 65536} bounds a batch; default 1 MiB. A part that is larger comes alone
//	{"user": "u1", "n": 20}              the last 20 parts with clicks of a user, oldest first
//	{"live": true}                       clicks as the node takes them, before they are in any part, until the client or the
//	                                     server ends it: a row of kind part for each, in no log, of which user_id and clicks
//	                                     count. A batch without rows comes first; what is taken after it is sent
//
// A state (times in ms; null is the beginning of time):
//
//	{"partition": 0, "first": 0, "next": 124,   the log has the entries first to next - 1
//	 "epoch": 0, "watermark": 1700…,            later entries are of this epoch and due at the watermark, or beyond
//	 "max_seen": 1700…, "ended": false,         the bounded input has ended, and nothing has come since
//	 "next_offset": 5120, "ticks": 3,           records of the topic that are in the state; ticks in the log
//	 "aside": 2, "aside_bytes": 300, "taken": 5000, "emitted": 4990, "rejected": {"late": 2}, "parts": {"age": 120},
//	 "grows": [{"partitions": 4, "epoch": 0, "watermark": null, "emit": 0}]}   of partition 0: where the topic grew
//
// Live clicks are best effort: a client that is slow loses the oldest, and after a break it starts at now. They are durable,
// and come in the log too, once each.
//
// A state says how far the log is, not the batch: what is still to come of it is next minus the batch's last emit, minus
// one. With follow, a batch without rows says that only the state has changed.
//
// With a token every call carries the header "authorization: Bearer <token>". Errors: InvalidArgument for a ticket that
// is none, NotFound for a partition that the node does not have, OutOfRange for entries that it has no longer or not yet,
// DataLoss for damage on its disk, Unavailable when it stops, FailedPrecondition for live clicks of a node that reads no
// Kafka itself.
//
// What this package does not do: merge partitions (ingest/feed), or decide how long a log is kept (ingest/buffer).
package flight
