// Package replica follows the line of versions of one model and answers recommendations from the newest one it could verify.
//
// # Nouns
//
// A version is a model, and the live tables beside it where the line has them. A Replica answers from one, in the lane stable: the head, or what an operator's order
// (publisher.Order) pins. An order may name a candidate besides: the lane candidate answers a share of the users, chosen by a hash of their ids, so that a user is in the
// same lane on every replica; a request without a user is answered by the stable lane. To adopt is to fetch an update, verify it, build the model from it off the
// serving path, warm it up and swap it in. The last good version is kept on disk. Histories are what users did before.
//
// # Promise
//
// A request is answered from exactly one version (I8): its answer is computed from one load of one pointer, to both lanes, and the header
// X-Freshet-Version names that version. A version serves only after sizes, digests, signature, parents and config digest
// were checked, its tables were decoded; and it answered the last requests of many users. When anything is wrong the replica goes on serving what it
// has, counts the reason in freshet_updates_rejected_total, reports it, and tries again after a jittered, bounded wait.
// Versions only grow (I5): a head older than one that was served is refused; the only way down is a pin, and after it the head is held to the same.
// An order is obeyed if its signature is trusted and its serial is above all that were seen. What it asks for and cannot be had is reported, and tried again; what served before
// goes on serving, but for a candidate that is not wanted any more.
//
// The score of an item is the one that the trainer would give it with the same weights, tables and past, up to the order of float32 sums.
//
// What a version has read of a user's history is kept (Config.CacheBytes), so that the next request costs what is new. Whether it was kept does not show in an answer,
// but for the order of sums.
//
// With a directory, a replica starts and serves with NATS down, as the last order says. Losing NATS while serving changes nothing but the age.
//
// # HTTP API
//
//	GET  /v1/recommend?user_id=u1&k=20&scene=home
//	POST /v1/recommend {"user_id","clicks":[{"item_id","action","timestamp"}],"k","scene","exclude":[],"exclude_seen",
//	                    "filter":{"category":[],"allow":[]},"interests"}
//	POST /v1/batch     {"requests":[…]} to {"answers":[…]}, all from one version, an error in the place of each that is wrong
//	GET  /v1/model     what is served      GET /livez    200 while the process lives
//	GET  /openapi.json all of this as OpenAPI 3.1, for programs
//	GET  /metrics      Prometheus          GET /readyz   200 once a verified version serves, else 503 and why
//
// k is 1 to 1000 (default 20), a body at most 1 MiB with at most 1000 clicks, 10000 excluded and 10000 allowed items; a batch has at
// most 100 requests for 10000 items in all. Timestamps are epoch milliseconds or RFC 3339 and default to now. Bodies are said to be
// application/json. Unknown fields are passed over, and one that comes twice is refused. An item's source is "model", or "baseline"
// where nothing in the user's history is known to the version and the items answer that are popular in its live tables: these know rows, and names
// of rows come with weights, so that they can say no more of items that the weights do not have. Errors are
// {"error":{"code","message","field","request_id"}}; a request keeps the X-Request-Id it came with. Bearer tokens, where there are
// any, guard /v1/ and nothing else.
//
// Too much is refused before it is late: 429 with Retry-After where a request would wait too long for its turn (line.go), where large
// bodies hold too much memory, and over a rate. 503 says that no version serves.
//
// # Refusals
//
// The reasons of freshet_updates_rejected_total, which reports and /v1/model begin with:
//
//	unsigned   trusted keys, and no signature         replay     an older one in the place of the newest
//	signer     signed by a key that is not trusted    downgrade  made later than what is served, under a lower number
//	tampered   changed after it was signed            forked     the number of what is served, other content
//	truncated  the end of a manifest or object gone   digest     an object of another SHA-256, or with more bytes
//	manifest   does not parse, breaks a rule          config     another shape of the model
//	parent     leads neither to a base nor here       missing    a manifest or an object is not in the store
//	table      not what it should be                  warmup     the new model fails to answer
//	store      NATS, or the disk, did not answer      epoch      by a writer from whom another has taken the line
//
// An order is refused as order (it breaks a rule), replay, unsigned, signer or tampered: freshet_orders_refused_total.
//
// # Caveats
//
// Without trusted keys, unsigned versions are accepted: NATS' own permissions then guard the line. When NATS was lost with
// all its data and the trainer began again below the version held here, the replica refuses: empty its directory to accept.
//
// What this package does not do: train, score the quality of a version, or retrieve from more rows than one process holds.
package replica
