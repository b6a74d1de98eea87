// Package snapshots keeps the state of partitions in NATS, so that another node can go on with a partition where its owner
// was. This page is the format's specification.
//
// # Nouns
//
// The entry of a partition says who claims it, which snapshots of its state there are, and which marks its log has had since
// the older of them. A mark is what moves a log and is not in the partition's records: an idle tick, an end, a growth of the
// topic. A place is an offset (the next record) and an emit number (the next entry of the log).
//
//	KV            freshet_partitions_<name>  <partition>             the entry, JSON; every write expects the revision before
//	object store  freshet_snapshots_<name>   <partition>.<token>.<n>  a snapshot, never changed; chunks of 512 KiB
//
// The name is made of topic and group, with a hash of both, so that deployments share a NATS. The bytes of a snapshot are
// the caller's, who also checks what is in them; here they have a size and a SHA-256.
//
// # Owning a partition
//
// Who takes a partition over claims it: reads the entry and writes it back with a token of its own. From then on every write
// of the owner before is refused, because it expects the revision that the claim has replaced: it is fenced. So the marks that
// a claim returns are all that were ever made, and nobody else makes another one.
// An owner that lets go says so, and where: then nobody is left who believes to own the partition.
//
// A mark is recorded before it is made: an owner who dies in between leaves it to the next, who makes it at the same place.
// A snapshot is put under a name of its own and then entered. The last two are kept, and the marks since the older one;
// as well as 256 before them; marks_from says up to where there were others.
//
// # Promise
//
// An entry never names a snapshot that is not wholly stored. A snapshot of an earlier place than the newest is refused.
// A mark that Record returned no error for is in the entry until two snapshots cover it. A mark that it returned an error for
// is not, and never will be, unless the error is ErrDoubt.
//
// Where NATS loses an entry (it acknowledges before it syncs, unless sync_interval is always), the owner's next write brings
// it back whole, if nobody has claimed the partition meanwhile.
//
// # Caveats
//
// Claims are not ordered as the consumer group orders its members: a member that is late can fence the rightful owner, who
// has to claim again. Two Kafkas with the same topic and group cannot share a NATS account; where the brokers tell topics
// apart by an id, the second is refused.
//
// What this package does not do: choose when to take a snapshot, or what is in it.
package snapshots
