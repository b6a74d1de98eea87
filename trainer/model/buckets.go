package model

import (
	"hash/fnv"
	"math"
	"math/bits"

	"github.com/freshet-ml/freshet/schema"
)

// timeBuckets is HSTU's: floor(ln(seconds)/0.301), clamped.
const timeBuckets = 129

// bucketEdges[b] is the least number of milliseconds in bucket b; bucketFrom[k] the bucket of 2^(k-1), from which to look on.
var bucketEdges, bucketFrom = edgesOfBuckets()

func edgesOfBuckets() (edges [timeBuckets]uint64, from [65]uint8) {
	for b := 1; b < timeBuckets; b++ {
		ms := 1000 * math.Exp(0.301*float64(b))
		if ms >= 1<<63 {
			edges[b] = math.MaxUint64
		} else {
			edges[b] = uint64(math.Ceil(ms))
		}
	}
	for k := 1; k < len(from); k++ {
		for b := 1; b < timeBuckets && edges[b] <= 1<<(k-1); b++ {
			from[k] = uint8(b)
		}
	}
	return edges, from
}

func timeBucket(a, b schema.EventTime) uint8 {
	ms := uint64(a) - uint64(b)
	if a < b {
		ms = -ms
	}
	bucket := bucketFrom[bits.Len64(ms)]
	for bucket+1 < timeBuckets && bucketEdges[bucket+1] <= ms { // at most three: an octave has 2.3 buckets
		bucket++
	}
	return bucket
}

// gapEdges, in seconds, cut the time since the session before; fine where a user is still there, coarse over days.
var gapEdges = [...]float64{5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 28800, 86400, 259200}

const (
	gapNone = uint8(len(gapEdges) + 1) // there is no session before
	gaps    = len(gapEdges) + 2
	hours   = 24
)

// GapBuckets is how many buckets GapBucket has, and one for requests of users without a past.
const GapBuckets = gaps

// GapBucket is the bucket of the time from a session to a request, by which the terms of a score are weighed.
func GapBucket(before, at schema.EventTime) int { return int(gapBucket(before, at)) }

func gapBucket(before, at schema.EventTime) uint8 {
	seconds := (float64(at) - float64(before)) / 1000
	for i, edge := range gapEdges {
		if seconds < edge {
			return uint8(i)
		}
	}
	return uint8(len(gapEdges))
}

// hourOf is the hour of the day in UTC.
func hourOf(t schema.EventTime) uint8 {
	const hour, day = 3_600_000, 24 * 3_600_000
	return uint8((int64(t)%day + day) % day / hour)
}

func hashOf(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// sceneBucket is 0 for no scene and a hash of the name otherwise.
func sceneBucket(scene string, buckets int) uint16 {
	if scene == "" || buckets == 1 {
		return 0
	}
	return uint16(1 + hashOf(scene)%uint32(buckets-1))
}

// userBucket is a hash of the name: users share rows, items never do.
func userBucket(user string, buckets int) int32 { return int32(hashOf(user) % uint32(buckets)) }

// userOf is the row of a user whom context tokens know, -1 for none.
func (c *Config) userOf(name string) int32 {
	if c.UserRows == 0 || name == "" {
		return -1
	}
	return userBucket(name, c.UserRows)
}
