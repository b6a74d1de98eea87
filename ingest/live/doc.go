// Package live hands clicks to whoever wants them at once: when they are durable, and before they are in any part.
//
// # Nouns
//
// A Broadcast is where a node tells of Clicks; a Listener hears those that are told while it listens.
//
// # Promise
//
// Telling never waits. A listener that is slow loses the oldest clicks that it has not taken, and they are counted. Where nobody listens nothing is kept.
//
// # Caveats
//
// It is best effort: a click may be lost, or come again after a restart of the node. What has to be exact is read from the log, which has each click once.
//
// What this package does not do: carry clicks to other machines (ingest/flight), or know users (publisher/replica).
package live
