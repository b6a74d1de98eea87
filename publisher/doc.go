// Package publisher publishes versions of a model over NATS JetStream. This page is the protocol's specification: a program
// in any language that follows it can write or read the line of versions. Package replica is the reader in Go.
//
// # Nouns
//
// A version is one published state of a model; versions are whole numbers that only grow. A manifest (schema.Manifest, JSON)
// describes a version; its objects hold the tables. The head is the manifest of the newest version. A base holds the whole
// model, a delta what changed since its parent. A chain is a base and the deltas after it. A base may have both: then its from_parent lists objects
// which make of its parent the very version, number for number, that its objects are, and who has the parent need not load it.
//
//	object store freshet_models     <model>/<sha256>.arrow            Arrow IPC file, one record batch; chunks of 512 KiB
//	KV           freshet_manifests  <model>.<version>                 manifest, JSON; created once and never changed
//	KV           freshet_heads      <model>                           the same JSON bytes as the newest version's manifest
//	KV           freshet_replicas   <model>.<replica id>              Report, JSON; expires 30 s after its last refresh
//	KV           freshet_writers    <model>                           Lease, JSON; expires 15 s after its last refresh
//	KV           freshet_orders     <model>                           Order, JSON; may be missing, with its bucket; the versions it names are kept
//
// Objects are named by their content: the lower-case hex of their SHA-256. A manifest lists them as {"table","name","bytes","sha256"}, each table once. In
// format 1 of the manifest there is no table and no from_parent, the name is <model>/<version>/<table>.arrow, and there is no epoch; readers read both.
//
// # The weights
//
// A base has the tables items and params, a delta both or neither; from_parent has what a delta would. The metadata of both: form (JSON), digest (config_digest), items (rows of the model afterwards).
//
//	items   item_id, row, vector, bias, popularity, category, side_category, side_price, generation
//	        Lines rise by row; a delta has those that changed, and those that are new without a hole. An empty item_id is a free row; generation (how often the row was
//	        given up; 0 without the column) says that its name changed. vector is a FixedSizeList<float32>[d]; or in its place stand vector_int8, a
//	        FixedSizeList<int8>[d], and scale, float32: a number is scale times its code.
//	params  name, shape, values, rows
//	        A line a tensor, always all of them, in the same order; the last two are the side table, side (n, d), whose row side_category and side_price name (0 is none),
//	        and side_bias (n). values is a List<float32>, row-major; or in its place stands values_float16, a List<float16>. With the column rows, List<int32>, a
//	        line has only those rows of its tensor, rising, and the others stay as they were; a row is as long as the last dimension, a tensor of one dimension is one
//	        row. shape is that of the whole tensor; side and side_bias grow from version to version, and what is new is there.
//
// The writer may withhold rows that moved little since they were last published (publish.min_change, a share of their length): a reader need not know. A base with
// from_parent withholds the same.
//
// # The live tables
//
// They are what the stream itself says, from which the terms and marks of a score are computed (trainer/baseline, trainer/model). A
// line that uses none has none. A delta may have them alone: then step, items and config_digest are those of the newest weights
// before it, which they are used with, and trained_through is theirs. They may name rows that items does not have yet. Lines
// rise by row, or slot; a base has all, a delta those that changed; the metadata says how many there are afterwards.
//
//	counts       row, clicks, popularity_0 … popularity_3   of items: the clicks, and base-2 logarithms of their sum with 2^(t/half-life) each, t since 1970
//	                                                        Metadata: config (JSON), rows, sessions, clicks and popularity_0 … popularity_3 of all items
//	transitions  arrival, row, successors, weights, whole   what was clicked after an item in a session (arrival 0), then what the next session began with (1)
//	                                                        Where whole is 0 the line has the successors whose weight changed, with weight 0 those that are
//	                                                        gone; where it is 1, or there is no such column, all. Successors rise. Metadata: rows, arrivals: the lines of either
//	neighbours   slot, key, at, rows                        optional, with postings, as config says: a recent session's key, newest click (ms), and clicks
//	                                                        Metadata: slots
//	postings     row, sessions, gone, whole                 the slots of the sessions that an item is in, in their order. Where whole is 0: take the slots of gone out
//	                                                        of the list, then put those of sessions behind it; else sessions is the list. Metadata: rows
//
// Model names and replica ids are 1-64 of A-Z a-z 0-9 _ -, table names 1-64 of a-z 0-9 _, versions are decimal.
//
// # The writer of a line
//
// A line has one writer (I5). It holds the key <model> of freshet_writers: {"epoch","id","holder","since","expires"}, written with the revision that it last saw, and
// refreshed every 5 s. The bucket's TTL alone ends a lease: no clock but the server's decides. Whoever starts finds
//
//   - no lease: it creates one. Its epoch is the head's plus one; of a line without a head, the seconds since 1970, which are above the epochs of a line that NATS has lost.
//   - one with its own holder, which only one process at a time can be (whoever has the lock of a directory: the directory's id): it takes it at once, with the epoch plus one.
//   - another's: it is refused, and told id and since; or it takes it on purpose, as from itself.
//
// A writer that cannot refresh its lease creates it again when NATS is back, with its epoch; where it finds another's, it stops for good. The manifest carries the
// epoch, which never falls along a line.
//
// # Writing a version
//
//  1. Encode the tables; take size and SHA-256 (lower-case hex) of each. Refresh the lease.
//  2. Create (never overwrite) freshet_manifests <model>.<version>. Whoever creates it owns the version number. One that is taken is passed over for good.
//  3. Put the objects, as NATS' object store lays them down (ADR-20); one that the chain of the head names, and that is there, need not be put again.
//  4. Set freshet_heads <model> with the revision that the writer last saw (0 = the key must not exist). A refusal means that
//     another writer extends the line: stop for good, unless that head's epoch is lower than one's own. A timeout is no refusal: read the head, compare its bytes.
//
// A crash before 4 leaves a manifest and objects that no head leads to. A writer's first version, and the one after a failed attempt, is a base without from_parent. parent is the version
// that was the head before, of bases too: so the versions that were published are those that parents lead to from the head.
//
// # What is removed
//
// After each base, and by Store.Collect: all but the two newest chains, the chains of what live replicas report and of what freshet_orders names, and manifests above
// the head. Whoever collects lists the objects first (and the stream's last message), then reads head, reports, orders and manifests, then removes, up to that message:
// objects that no manifest which stays names, before the manifest that names them; at last those that no manifest names. So it takes nothing that is being written, and
// what a crash leaves is found by the next one.
//
// # Reading a version
//
// Hear of freshet_heads <model> and read it: after each write, the server tells freshet.heads.<model>, and freshet.orders.<model>
// of orders, a message without content, whose header Nats-Sequence is the revision. News can be lost: read at the beginning,
// after each new connection, and now and then. Whoever may create consumers may as well watch the key. From a delta walk parent by parent through freshet_manifests, until the parent is the version
// held (compare its manifest byte for byte) or a base is reached; then apply in rising order. From a base that has from_parent one may walk on, and take from_parent
// as its delta, as long as that costs fewer bytes than the base; where something is missing on the way, take the base. Refuse a manifest whose version
// is not above the one held, whose epoch is below it, whose signer is not trusted, or whose config_digest differs within a chain; refuse an object of
// other size or SHA-256, a model whose own digest is not config_digest or whose item count is not items, and live tables that
// leave a hole, come in part, or change what no base gave. After a refusal go on serving what is held, and try again; who says needs_base in his report, gets a base soon. Tables that
// a reader does not know, it leaves alone.
//
// # Signature
//
// Ed25519, base64 (standard alphabet, padded), over the manifest's stored JSON bytes without the last member
// ,"signature":"…". The member signer holds the nkey public key. Objects are covered through their digests.
//
// A reader may trust several keys, so that one takes the place of another without a version refused: let every reader trust
// the new key beside the old; start the writer with the new one, whose first version is a base; when all readers serve that,
// let them forget the old. A key that others may have read is forgotten first; readers then serve what they have until a
// version by the new one comes.
//
// # Orders
//
// An order {format, model, serial, version, candidate {version, share}, by, at, why, signer, signature} says what replicas are to
// serve: version 0 is the head, any other that version, also an older one; candidate, where there is one, is what a share of the
// users gets instead. It is signed as a manifest is, by any trusted key, and written with the revision that its giver last saw.
// serial only grows. A replica keeps the highest that it has seen and refuses a lower one, and another order of the same; one that
// is removed from the bucket stays in force. Without any order replicas follow the head. A pinned version is read by its own chain.
//
// # Promise
//
// A head never names a version whose objects are not all stored, and what a live replica needs to go on is not removed. One writer at a time extends a line, and a writer that was
// overtaken is refused at its next version. A version with a number that is not finite is never published.
//
// # Caveats
//
// NATS acknowledges before it syncs to disk unless sync_interval is always: the line is distribution, never the only copy.
// A writer that was overtaken may move the head once more, if it was about to when it lost the line; the new one then goes on above that.
//
// What this package does not do: train, decide when to publish, find changed rows, or keep a copy of the model.
package publisher
