package replica

import (
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Limits of a request.
const (
	defaultK      = 20
	maxK          = 1000
	maxBodyBytes  = 1 << 20
	maxClicks     = 1000
	maxExclude    = 10_000
	maxAllow      = 10_000
	maxCategories = 100
	maxInterests  = 4
	maxAhead      = 10 * time.Minute // of a click's timestamp, as for clicks on Kafka
)

// Request asks for recommendations. Either a user or clicks must be given.
type Request struct {
	UserID      string         `json:"user_id,omitempty"`
	Clicks      []RequestClick `json:"clicks,omitempty"` // what the user did since, in any order
	K           int            `json:"k,omitempty"`      // items wanted, 1 to 1000; 0 = 20
	Scene       string         `json:"scene,omitempty"`
	Exclude     []string       `json:"exclude,omitempty"`      // item ids that must not be recommended
	ExcludeSeen bool           `json:"exclude_seen,omitempty"` // nor those in the clicks and the known history
	Filter      Filter         `json:"filter,omitzero"`
	Interests   int            `json:"interests,omitempty"` // spread the answer over so many interests of the user, at most 4; 0 = do not
}

// RequestClick is a click that the replica may not know of yet.
type RequestClick struct {
	ItemID    string           `json:"item_id"`
	Action    schema.Action    `json:"action,omitempty"`    // default click
	Timestamp schema.EventTime `json:"timestamp,omitempty"` // epoch ms; 0 = now
}

// Filter restricts what is recommended. An empty list restricts nothing.
type Filter struct {
	Category []string `json:"category,omitempty"` // an item's category is one of these
	Allow    []string `json:"allow,omitempty"`    // an item is one of these
}

// check refuses what breaks a limit. The lengths of lists and of what is in them are checked while they are read.
func (q *Request) check() error {
	if q.UserID == "" && len(q.Clicks) == 0 {
		return invalid("user_id", "user_id is missing, and there are no clicks in its place")
	}
	if q.K < 1 || q.K > maxK {
		return invalid("k", "k is %d, it must be from 1 to %d", q.K, maxK)
	}
	if q.Interests < 0 || q.Interests > maxInterests {
		return invalid("interests", "interests is %d, it must be from 0 to %d", q.Interests, maxInterests)
	}
	if err := checkID("user_id", q.UserID); err != nil {
		return err
	}
	return checkID("scene", q.Scene)
}

func checkID(field, value string) error {
	if len(value) > schema.MaxIDBytes {
		return invalid(field, "%s has %d bytes, at most %d are allowed", field, len(value), schema.MaxIDBytes)
	}
	return nil
}
