// Package ingest takes clicks in and puts parts of sessions out, each exactly once.
//
// # Nouns
//
// A Node owns some partitions of the click topic. It is the source.Handler that a Kafka consumer, or a reader of a file,
// hands its batches to; it decodes them, gives the clicks to the partition's window.Windower, and commits what changed to
// the buffer.Store. Readers of the parts use ingest/feed.
//
// # Promise
//
// A batch is one commit: the journal of the windows, log, records aside, counters and the next offset (I2). A record that
// was committed is skipped when it comes again, so a part is emitted once however often Kafka delivers its clicks, and
// however often the process dies (I1). How records are batched does not show in the log.
//
// Every record that was read is counted once: Counts.In = clicks in emitted parts + rejected by reason + pending (I7). A
// bad record never stops the stream: it goes aside with its bytes, its reason, and a sentence.
//
// A full disk stops the stream and nothing else: Apply waits, Health says why, and reading goes on by itself.
//
// # Caveats
//
// Idle ticks and ends are the two things besides records that move a watermark. Both are entries of the log, as is what a
// topic has grown to. Who makes a partition's log again from its records needs them: Options.BeforeMark.
//
// What this package does not do: talk to Kafka or read files (ingest/source), or decide what is done with a part.
package ingest
