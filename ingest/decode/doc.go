// Package decode makes clicks of the values of records. The noun is the Decoder: it knows one topic's format and names.
//
// # Formats
//
// JSON is an object with user_id, item_id and timestamp, optionally action, event_id, session_id, scene, item {category,
// seller, price} and context. Ids are strings or integers (the digits are kept as they are written); timestamp is an
// integer of milliseconds since 1970 or an RFC 3339 string. A field that has the wrong type, or comes twice, is an error:
// which of two values was meant cannot be known. Fields that are there but break a rule are left for schema.Click.Validate
// to report. Null is an absent field.
//
// # Promise
//
// A record that is of no use gives an error that says why, whatever its bytes are: never a panic, and never more memory
// than a small multiple of its length.
//
// A click is made without allocations: its strings are the record's bytes. See Decoder.Decode for how long they last.
//
// What this package does not do: check that a click is valid (schema.Click.Validate), read Kafka or files, or decide what
// becomes of a record that does not decode.
package decode
