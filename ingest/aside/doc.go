// Package aside looks at the records that ingest put aside, and takes away those that were sent again.
//
// # Nouns
//
// A Book is all the records aside of one store: Local reads a store that this process has open, Client one that another
// process has, over the HTTP API that Handler serves. A Place, partition and offset, names a record. A Filter chooses some.
//
// # Promise
//
// Records come by partition and offset. A reading that goes on after a Place sees every record that was there when it began
// and has not been removed or trimmed, once. Pages are bounded in records, in bytes and in how much is looked at for them,
// so that neither a caller nor a filter that matches nothing can hold a node up.
//
// # The HTTP API
//
// On nodes that have a store (up, ingest, train), behind the same bearer token as the rest. Errors are
// {"error":{"code","message","field"}}.
//
//	GET  /v1/aside?reason=&partition=&since=&until=&limit=&after=
//	    a page, one JSON object a line (Record). reason and partition may come several times; since and until are ms, of
//	    arrival, since included and until not; limit is at most 1000, default 100; after is a place. Where there may be
//	    more, the header X-Freshet-Next names the place to go on after.
//	GET  /v1/aside/summary?reason=&partition=&since=&until=
//	    how many match, by reason, and how far each partition has been read (Summary).
//	GET  /v1/aside/{partition}/{offset}
//	    one record.
//	POST /v1/aside/redriven    {"records":["0:12","3:7"]}
//	    removes records that were sent again, at most 1000, and answers {"removed":2}.
//
// # Caveats
//
// A record without a key and one with an empty key look the same here.
//
// What this package does not do: send records to Kafka (ingest/source), or decide what goes aside (ingest).
package aside
