// Package schema holds the nouns that every part of freshet shares: Click, Part, Position, Rejected, Manifest, and the
// Arrow tables in which a model travels.
//
// # Promise
//
// The types are plain data. Nothing here does I/O, reads a clock or starts a goroutine, and the package imports only the
// standard library and Arrow, so that any room of the house, and any other program, may import it.
//
// Times come in two types that do not mix: EventTime is when a user did a thing, ArrivalTime is when Kafka got to know.
// Everything that must come out the same on a second reading (I1, I4) is computed from event times and offsets alone.
//
// What this package does not do: decode Kafka records (ingest/source), lay out bytes in Pebble (ingest/buffer), or move
// objects over NATS (publisher).
package schema
