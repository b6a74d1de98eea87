// Package source is where clicks come from: it reads the click topic for a Handler, and writes files
// and other streams to it. The nouns are Record and Batch (what is read), Handler (who takes it), Stream and Outgoing
// (what is to be written), Kafka (the reader), Producer (the writer), Security (how brokers are reached) and DeadLetters
// (where rejected records go).
//
// # Promise
//
// Kafka gives the handler every committed record of its partitions from the offset that the handler's Assign names, in
// order, and never a transaction marker or a record of an aborted transaction, however the records are compressed. Where to
// go on is the handler's to know: the offsets that are committed to the group are for lag displays only (I2). A partition
// is revoked before any member of this process is assigned it again, and gets no batch afterwards. A handler that wants to
// know of new partitions (TopologyHandler) is told before it gets their records.
//
// While brokers are away, moved, or answer with errors, reading waits with growing pauses, tells since when and why
// (Outage), and goes on where it stopped. What waiting cannot heal is told at once, with what to do: settings that do not
// fit to the brokers, a partition that is not there, an end that lies before what was read (ErrTruncated), a topic that was
// made anew (ErrRecreated), and, where it is configured so, records that retention took first (ErrExpired).
//
// Producer puts every record of a stream into the topic once, in order within its partition, however often it, or the
// broker, is killed and started again: each record carries its index in the stream (header freshet-seq), and a batch that
// is sent again carries the sequence by which the broker knows it. A stream stays on the partitions with which it began.
//
// DeadLetters forwards each rejected record at least once. A row of a file that cannot be read is passed on as it stands,
// so that the ingester counts it and puts it aside: nothing vanishes here (I7).
//
// Sort gives the records of a file in the order of their time, in bounded memory: a replay of rows in another order would
// make nearly every click late.
//
// # Caveats
//
// What retention removed before it was read is gone. By default reading goes on with the earliest record, which is logged
// and counted in KafkaStats.Expired.
//
// A topic that is deleted and made anew is known by its id, which brokers have since 2.8, within KafkaConfig.WatchEvery;
// until then records of the new one may be taken for a continuation. If it happens while nobody reads, only an end that is
// too near gives it away.
//
// Where partitions are added, other producers move users to them, and a user's clicks are then on two partitions.
//
// A batch may hold at most 256 MiB when it is no longer compressed. A batch that is damaged on its way is fetched again;
// one that is damaged in the broker's log stops its partition there, which Health says.
//
// The promise of Producer holds while one producer at a time writes a stream. A producer that was killed may have left a
// request with the broker; the next one waits until the partitions have been quiet for 200 ms, which a broker that hangs
// for longer than that can outlast.
//
// Brokers that end authenticated connections after a time (connections.max.reauth.ms) cause one failed request each time:
// connections are made anew and not authenticated again. OAUTHBEARER and GSSAPI are not spoken.
//
// What this package does not do: make clicks of records (ingest/decode), put records aside, keep offsets, or
// run a broker.
package source
