// Package model is TBGRecall (arXiv 2508.11977): it reads the sessions of a user and predicts the set of items of the next one. Each piece has a switch
// (Config), so that HSTU (arXiv 2402.17152) and SASRec (arXiv 1808.09781), and TBGRecall without one of its pieces, run in the same code.
//
// # Nouns
//
//	Row       the place of an item in the tables; items get rows in the order in which they appear, and give them up when nobody clicks them
//	Sides     side information of an item, its category and its price band: rows of a table that items share
//	Session   what a user did in one emitted part: distinct items, each with its strongest action
//	Example   the past sessions of a user, the moment of a request, and the items of the part that followed; or a whole history
//	Terms     numbers from live tables that enter the scores of a request: of every item, and of those that are marked for it
//	Model     weights, rows, optimiser, vocabulary and random state: what is trained
//	Snapshot  what changed since the last one, copied, to be encoded elsewhere
//	Served    an immutable model that answers requests
//	Filter    which items may be recommended
//	Index     lists of items that are alike, of which a request looks into some
//	Memory    what a Served has read of a user: the keys and values of closed sessions
//
// # How it works
//
// Every session is one context token, which stands for the request (scene, hour, time since the session before, user), and one token per
// item (item, action, scene). The sequence ends with the context token of the request to be answered. Tokens see all earlier sessions, the context token of
// their own and themselves, never their siblings: what was shown together has no order. All tokens of a session share one rotary position and one
// time. The tokens run through HSTU blocks, optionally with experts behind them; a context token's output, through a head for how many sessions it looks ahead,
// is a query vector, and an item's score is its product with the item's vector plus the item's bias. Both a token and a target add to the item's own
// vector the mean of those of its side information: what was learned of a category holds for an item of it that was never clicked. The loss is a softmax of
// each positive over sampled items, corrected for how often an item is sampled, and two that tell clicked from shown and bought from clicked.
//
// Under Config.Terms the score of an item for a request has more terms beside the product, from tables that are as fresh as the stream's last click (Live, Mark): each
// enters times a weight that depends on how long ago the user's newest session was. The weights are learned with the network, or alone where the network learns late. They
// are published with it, the tables are not: a Served answers with those that With gave it, which may be newer than itself.
//
// After Distill the loss has another part: how far the softmax over the same candidates has moved from that of the model as it was then (Kullback-Leibler), which is kept
// whole: the teacher.
//
// Under Config.Tokens item there are no context tokens: each item asks for the next one. With pointwise attention that is HSTU, with softmax and a network of
// its own SASRec.
//
// # How it is fast
//
// Only tokens that are there are computed, and of the attention only what the mask reaches; in the last block only what is asked. A batch is cut into
// groups of sequences that fit the second cache, forward and backward one after the other (net.go), and dealt to Config.Lanes lanes. Lanes have
// gradients of their own, added in a fixed order. Memory is used again: a step in its stride allocates next to nothing.
//
// A look at all items goes by chunks of rows, by floats or by codes of a byte or half a byte a number (codes.go), with one number an item for all that does not depend on who asks
// (score.go). An index looks into a part of them, with a recall that was measured (ivf.go); what a request marks is scored exactly by either. A version shares its rows with the one
// before, but for what changed (patch.go).
//
// # Promise
//
// Same config, same calls, same machine: same bits (I4). Tables and Restore lose nothing: a model that was restored goes on as one
// that never stopped (I3). A loss or a gradient that is not finite moves no weight, and StepStats says which tensor it was.
// A Served is never half of one version: tables are checked whole before any of them is used (I8).
//
// # Caveats
//
// A Model belongs to one goroutine, and so does a Memory. A Served may be used by many. Memory grows up to Config.MaxItems rows, some 360 bytes each at
// width 64, and 24 more where ranks have terms; then those go that were not clicked for the longest (Sweep). Rows of the side table are not given up, but there are at most
// Config.SideRows; values beyond them are ignored. A teacher is another 260 bytes a row. Users are hashed into Config.UserRows, items never. Dropout does not reach into the attention's weights.
//
// What this package does not do: read the stream or decide what is trained when (trainer), move or sign tables (publisher),
// or measure (trainer/evaluate).
package model
