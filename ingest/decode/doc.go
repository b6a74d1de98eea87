// Package decode makes clicks of the values of records. The noun is the Decoder: it knows the format of one topic, and how
// the fields of a click are called there.
//
// # Formats
//
// A record is an object with user_id, item_id and timestamp, optionally action, event_id, session_id, scene, item {category,
// seller, price} and context. Config.Fields names what is called otherwise, at any depth. Fields that are there but break a
// rule are left for schema.Click.Validate to report.
//
// JSON: ids are strings or integers (the digits are kept as they are written); timestamp is an integer of milliseconds
// since 1970 or an RFC 3339 string. A field that has the wrong type, or comes twice, is an error: which of two values was
// meant cannot be known. Null is an absent field.
//
// Avro: ids are strings, integers, enums or bytes of text; timestamp is a long, of milliseconds or as its logical type
// says, or RFC 3339; a price is a number or a decimal; the symbol of an action is taken in lower case; unions are what the
// record has of them. A local timestamp is taken as UTC.
//
// Protobuf: as Avro, with google.protobuf.Timestamp and the wrappers of scalars. An action of an enum loses the enum's name:
// ACTION_CART is cart. What proto3 does not write, because it is 0 or empty, is absent.
//
// A context that is an object of Avro or Protobuf becomes JSON.
//
// # Schemas
//
// The schema is in a file, or each record names its own: 0x00, the schema's id in a registry with Confluent's API, and the
// record. Fields are found by their names in the schema that the record was written with, so that versions of it may follow
// one another in one topic. A schema that cannot be read, or lacks a field that every click has, gives each of its records
// an error that says so.
//
// # Promise
//
// A record that is of no use gives an error that says why, whatever its bytes are: never a panic, and never more memory
// than a small multiple of its length and a context of at most schema.MaxRecordBytes.
//
// A registry that does not answer is no fault of the record. The error is an Unavailable then, and the record good to be
// decoded again. Only where the registry says that there is no such schema the record is of no use.
//
// A click is made without allocations where its fields are text, and with one where ids are numbers of Avro or Protobuf:
// its strings are the record's bytes. See Decoder.Decode for how long they last.
//
// # Caveats
//
// What is registered under an id is taken not to change. At most 1024 schemas are remembered.
//
// What this package does not do: check that a click is valid (schema.Click.Validate), read Kafka or files, encode, or
// decide what becomes of a record that does not decode.
package decode
