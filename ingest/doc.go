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
// # Partitions that move
//
// With Options.Moves a partition goes on at another node where its owner was: the new owner imports a snapshot of its state,
// and reads the records behind it again. What it emits then has been emitted before, with the same numbers, because the log is
// a function of the records (I1), and of the marks: ticks, ends and growths of the topic, which no record says. So marks are
// recorded outside of the node before they are made, and the new owner makes those that are recorded, each before the first
// record that is not before its offset. Readers drop what they have.
//
// Two nodes may believe to own a partition for a while, and both emit. They do not differ, because
//
//   - only one of them can record marks: a claim makes every later Record of the owner before fail, and shows the new owner
//     all earlier ones;
//   - a new owner makes no mark of its own at a place that an owner before may have passed without it: it waits until that
//     one has let go, or for SettleFor, in which an owner notices (CheckEvery) or is thrown out by its group; and then until it
//     has reached what was the end of the partition;
//   - a mark of which is not known whether it is recorded is passed by nobody before it is known.
//
// If the claims cannot be reached, an owner reads on, and makes no marks; a new owner waits. An owner that is cut off from the
// claims and from its group, but not from the brokers, for longer than SettleFor, would break this; where it shows later,
// the node says so and goes on with what others have (Moves in Stats counts it).
//
// # Caveats
//
// Idle ticks and ends are the two things besides records that move a watermark. Both are entries of the log, as is what a
// topic has grown to.
//
// A change of the window configuration is none: stop the nodes in order before it, or some sessions between the last snapshot
// and a crash end differently for a new owner than they did.
//
// What this package does not do: talk to Kafka or read files (ingest/source), or decide what is done with a part.
package ingest
