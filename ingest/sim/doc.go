// Package sim is a simulated shop: a stream of drifting clicks whose best reachable score is known.
//
// Nouns: the catalogue holds items, on shelves (one cluster, one price band); the crowd holds users, who have a taste and
// come in sessions; the outbox delivers records, some of them late, twice or broken.
//
// # Promise
//
// A Shop is a function of its Config: no clock, one seed, the same bytes every time (I1 and I4 begin here). Its memory is
// bounded by users and items, whatever the length of the stream. Counts says exactly what the stream has held (I7).
//
// # The world
//
// Item i has a cluster, a price band (of three), an appeal and a life L, log-normal around ItemLife; a dead item's place
// goes to a new one. With x its age over L, and refreshed every 5 s of event time, its weight is
//
//	w(i) = appeal(i) * (0.05 + 5x exp(1-5x))     appeal = rank^-1.1, its rank uniform among its cluster
//
// User u likes one band and three clusters, with shares 0.62, 0.26, 0.12; both say how an item of a cluster is found:
//
//	shelf(i | c, u) ∝ w(i) * (3 if band(i) = band(u), else 1)              over the items of cluster c
//
// Before a session one favourite is exchanged with chance TasteDrift, and all with TasteJump. The intent of a session is
// the cluster of its first click: every later click may know it. The next item of a session is drawn from
//
//	first:  0.76 Σ taste(c) shelf(i|c,u) + 0.14 front(i) + 0.06 return(i) + 0.04 any(i)
//	later:  0.52 shelf(i|intent,u) + 0.19 next(i|last) + 0.11 front(i) + 0.11 return(i) + 0.07 any(i)
//
// where next gives 0.40, 0.25, 0.15, 0.12, 0.08 to five items that belong to the last one (of its cluster or the cluster's
// companion, chosen by appeal when it was born), front is demand(cluster)*w(i) over the thirty highest of the whole shop,
// return falls over the user's last eight different items without the last one, and any is uniform. The mass of what is
// impossible goes to shelf. After a click the user puts the same item into the cart instead with chance 0.10 (within the
// intent, else 0.03), and after that buys it with 0.40. Think time is log-normal, a session ends after each click with
// chance 1/SessionClicks, and idle time is exponential with the mean that makes everybody together produce Rate.
//
// Exposures show pages of the shop's own choice: they say nothing about the next click that the clicks before do not say.
//
// # The oracle
//
// Each click, cart and purchase carries {"oracle_rank":r} in its context: the place of its item in the distribution above,
// given all that is hidden but had an influence, ties counted against it. The share of r ≤ 20 among any set of clicks is
// the best recall@20 that any model can reach on it in the long run. Who sees the clicks alone reaches less: TestWhatCanBeKnown
// asks readers that know these equations and infer the rest.
//
// # Caveats
//
// A late record waits until a record of the same user, at least 12 bounds younger, has been delivered. One user has one key
// and one partition, so it is late in every window that is configured with Config.Lateness or less; a user who never comes
// back never delivers it. Bytes are equal between runs on one architecture; another may round exp and log differently.
// Rate is exact in the mean only. A stream that starts now must be paced: at full speed its timestamps run ahead.
//
// What this package does not do: produce to Kafka or keep to a pace (ingest/source, cmd), or judge a model.
package sim
