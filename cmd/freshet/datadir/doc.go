// Package datadir owns the directory in which one freshet process keeps everything.
//
//	DIR/FORMAT         the format of the directory: "freshet data directory, format 1"
//	DIR/ID             what others know the directory by: 32 hex digits
//	DIR/LOCK           held (flock) by the process that uses the directory; its text is that process's id
//	DIR/running        there while a process runs; left behind by one that did not stop in order
//	DIR/kafka/         the embedded broker
//	DIR/nats/          the embedded NATS server
//	DIR/buffer/        windows, session log and positions (Pebble)
//	DIR/checkpoints/   the trainer's checkpoints
//	DIR/replicas/ID/   each replica's last good model
//	DIR/keys/          the key that signs manifests, readable by its owner only
//
// # Promise
//
// At most one process has a directory open. A directory written by a newer freshet is refused before anything in it is
// read or changed. Losing the lock file, or the process that held it, never locks anybody out: the lock is the kernel's
// and ends with its holder.
//
// # Caveats
//
// The lock is advisory and does not reach over network file systems that do not support flock.
//
// What this package does not do: know the formats below the sub-directories, each of which has its own owner and version.
package datadir
