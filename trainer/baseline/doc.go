// Package baseline holds the simple recommenders that always run beside the model: Popularity and ItemToItem.
//
// # Promise
//
// They learn click by click, forget what they must to stay within their bounds, and rank by the same rule as the model:
// a target's rank is the number of items that score at least as high, so that ties count against it. Their tables travel
// in the trainer's checkpoint, and the same clicks in the same order give the same bytes (I4).
//
// What this package does not do: know item names (it speaks in rows of the model's vocabulary), choose what is scored, or
// serve requests: a replica answers cold users from the popularity column of the model it has adopted.
package baseline
