// Package source is where clicks come from: it reads the click topic for a Handler, and writes files and other streams
// to it. The nouns are Record and Batch (what is read), Handler (who takes it), Stream and Outgoing
// (what is to be written), Kafka (the reader) and Producer (the writer).
//
// # Promise
//
// Kafka gives the handler every committed record of its partitions from the offset that the handler's Assign names, in
// order, and never a transaction marker or a record of an aborted transaction. Where to go on is the handler's to know:
// the offsets that are committed to the group are for lag displays only (I2). A partition is revoked before any member of
// this process is assigned it again. While brokers are away reading waits, and goes on where it stopped.
//
// Producer puts every record of a stream into the topic once, in order within its partition, however often it, or the
// broker, is killed and started again: each record carries its index in the stream (header freshet-seq), and a batch that
// is sent again carries the sequence by which the broker knows it.
//
// A row of a file that cannot be read is passed on as it stands, so that the ingester counts it and puts it aside: nothing
// vanishes here (I7).
//
// Sort gives the records of a file in the order of their time, in bounded memory: a replay of rows in another order would
// make nearly every click late.
//
// # Caveats
//
// What retention removed before it was read is gone: reading goes on with the earliest record, which is logged and counted
// in KafkaStats.Expired. A partition that ends before the offset wanted is an ErrTruncated, because going on would pass
// over records in silence.
//
// The promise of Producer holds while the topic keeps its number of partitions and while one producer at a time writes a
// stream. A producer that was killed may have left a request with the broker; the next one waits until the partitions have
// been quiet for 200 ms, which a broker that hangs for longer than that can outlast.
//
// A batch may hold at most 256 MiB when it is no longer compressed. A batch that is damaged on its way is fetched again;
// one that is damaged in the broker's log stops its partition there, which Health says.
//
// What this package does not do: make clicks of records (ingest/decode), check that a click is valid (schema.Click.Validate), put records aside, keep offsets,
// run a broker, or talk TLS and SASL.
package source
