// Package packed writes clicks as bytes: the one format in which clicks lie in open sessions, in their journal and in the
// log. A click is encoded once, when it comes in, and the same bytes travel until somebody trains on them.
//
// # Nouns
//
// A packed click holds everything of a schema.Click but its user, which a session says once for all of them. Clicks are
// packed clicks one behind the other, in event-time order.
//
// # Promise
//
// The event time of a packed click and the place where it ends can be read without decoding the rest, so that clicks are
// compared, moved and cut without being decoded. Decoding what Append wrote gives the click back. Bytes that Append did
// not write give ErrCorrupt, never a panic, and never more memory than a fixed multiple of their length.
//
// What this package does not do: order clicks, or know what a session is (ingest/window).
package packed
