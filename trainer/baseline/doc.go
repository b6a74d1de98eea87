// Package baseline holds what is learned of the stream click by click, without gradients: tables of counts and of recent sessions. They give the model the terms
// that enter its scores as fresh as the last click, and they are recommenders of their own, which always run beside the model.
//
// # Nouns
//
//	Live     the tables, learning; the trainer's
//	Served   the tables of one publication; a replica's. It never changes
//	Request  what is known of a user who asks
//	marks    terms that some items have for one request (model.Mark): transitions into them, votes of neighbours, clicked before
//	Votes    what the arms say to a request: popularity at four half-lives, item-to-item, V-SKNN, STAN, VSTAN
//
// # How it works
//
// Popularity is the logarithm of a weight to which a click at time t adds 2^(t/halfLife): time passes without touching anything. Transitions count 1/d for an item
// that followed another d clicks later in a session; a table of its own, of arrivals, counts what sessions begin with, given the clicks before. Recent sessions
// stand in a ring, and with every item stand those it is in; one pass over them serves all three kinds of neighbours. Terms and marks are computed by the same code
// from the trainer's tables and from published ones.
//
// Popularity and ItemToItem are single baselines with tables of their own.
//
// # Promise
//
// The same clicks in the same order give the same bytes (I4). Tables and Restore lose nothing (I3). A Served says, bit for bit, what the Live said when it
// published, and is never half of one publication (I8). Every table is bounded: by rows, by successors of a row, by sessions, by clicks of a session, and by
// sessions of a row. Ranks follow the rule of the model: the number of items that score at least as high, so that ties count against the target. A row that is
// to be given to another item is forgotten everywhere.
//
// # Caveats
//
// A Live belongs to one goroutine; a Served may be used by many. An item takes some 60 bytes of counts, and in the worst case 3 KB of each table of transitions and
// 2 KB of sessions; a session some 100. With Config.Neighbours a publication carries, of every item that was clicked in between, the sessions that are new in its list and those that are gone.
//
// What this package does not do: know item names (it speaks in rows of the model's vocabulary), weigh the terms, choose what is scored, or
// serve requests: a replica asks the Served that it has adopted.
package baseline
