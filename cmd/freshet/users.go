package main

// What replicas know of users, as the commands set it up.

// cacheBytes is the share of one of some replicas, as a replica wants it: its zero is a default.
func cacheBytes(all int64, replicas int) int64 {
	if all == 0 {
		return -1
	}
	return max(1, all/int64(replicas))
}
