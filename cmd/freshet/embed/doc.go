// Package embed runs the two servers that freshet talks to inside the freshet process, so that one command is a whole
// system: Kafka is a Kafka-protocol broker on a real TCP port, NATS a NATS server with JetStream. Both keep their data
// below a directory and both are reached over their real protocols, by the same code that reaches external ones.
//
// # Promise
//
// What the broker or JetStream has acknowledged is there after Close and after a kill of the process (SIGKILL); with
// Sync also after a loss of power. Starting again on the same directory goes on with the same topics, partitions, offsets
// and streams. A directory whose topic has another number of partitions is refused rather than changed, because partitions
// are the unit of order and a user must stay on one.
//
// # Caveats
//
// Both servers listen on the loopback address only and ask for no password: they are for one machine. The broker is a
// single node without replication (kfake of franz-go).
//
// What this package does not do: read or write clicks, know a subject or a bucket, or decide where data lives.
package embed
