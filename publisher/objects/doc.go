// Package objects lays objects down in a bucket of NATS' object store, and reads them again.
//
// # Nouns
//
// A Bucket is one object store. An object has a name, an id that its name alone decides, and chunks of 512 KiB:
//
//	$O.<bucket>.C.<id>                 the chunks, in order, each a message
//	$O.<bucket>.M.<base64url of name>  JSON of jetstream.ObjectInfo: size, chunks, digest, <id>; one per name
//
// This is what NATS specifies (ADR-20), so every NATS client reads what is written here.
//
// The client's own Put and Get would do, but for three things. Put draws the id at random, so that the chunks of a put that
// was cut off stay for ever, under a name that nobody knows; here the id follows from the name. In nats.go v1.55.0 a Put that
// ends quickly can leave a goroutine behind, which at a delta every few seconds adds up. And Get hands chunks over as fast as
// they come, to a buffer of its own of up to 64 MB; a Reader holds one chunk.
//
// # Promise
//
// Each request has a deadline, because calls to an object store can hang (nats.net#1013). What a Reader has read to its end
// has the size and the SHA-256 that were written. An object without its entry, of a put that was cut off, cannot be opened,
// and is found by List.
//
// # Caveats
//
// Two writers of one name at a time are not kept apart, but one of them fails: each chunk says which one it follows.
//
// What this package does not do: choose names, try again, or decide when an object is no longer needed.
package objects
