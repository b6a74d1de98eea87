package replica

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/freshet-ml/freshet/schema"
)

// Lane says which of a replica's versions answered.
type Lane string

// The lanes.
const (
	LaneStable    Lane = "stable"    // the head, or the version that an order pins
	LaneCandidate Lane = "candidate" // a version on trial, for a share of the users
)

// lanes is what requests are answered from: immutable, so that whoever loaded the pointer to it has whole versions and one share (I8).
type lanes struct {
	stable    *version
	candidate *version       // nil = there is none
	trial     schema.Version // that the order names as the candidate; 0 = the head
	share     float64        // of the users whom candidate answers
}

// lanes returns the lanes served, or empty ones while there are none.
func (r *Replica) lanes() lanes {
	if l := r.current.Load(); l != nil {
		return *l
	}
	return lanes{}
}

// of returns what answers q. A user stays in a lane as long as the share stays, on every replica, and a growing share only adds users. Who is not named cannot be kept
// in a lane, and gets the stable one.
func (l *lanes) of(q Request) (*version, Lane) {
	if l.candidate != nil && q.UserID != "" && place(q.UserID) < l.share {
		return l.candidate, LaneCandidate
	}
	return l.stable, LaneStable
}

// place spreads users evenly over [0, 1).
func place(user string) float64 {
	sum := sha256.Sum256([]byte(user))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// held returns the versions of both lanes.
func (l lanes) held() (all []*version) {
	for _, v := range []*version{l.stable, l.candidate} {
		if v != nil {
			all = append(all, v)
		}
	}
	return all
}

// version returns the version that a lane answers from, or nil.
func (l lanes) version(lane Lane) *version {
	if lane == LaneCandidate {
		return l.candidate
	}
	return l.stable
}

// number returns v's version, or 0 of nil.
func (v *version) number() schema.Version {
	if v == nil {
		return 0
	}
	return v.manifest.Version
}
