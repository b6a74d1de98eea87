package schema

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// EventTime is when a user did a thing, in milliseconds since the Unix epoch.
type EventTime int64

// ArrivalTime is the timestamp of the Kafka record, in milliseconds since the Unix epoch. Freshness is measured from it.
type ArrivalTime int64

// The ends of event time. BeginningOfTime is the watermark of a partition that has had no record.
const (
	BeginningOfTime EventTime = math.MinInt64
	EndOfTime       EventTime = math.MaxInt64
)

// Add returns t later by d, saturating at the ends of time.
func (t EventTime) Add(d time.Duration) EventTime {
	ms := EventTime(d.Milliseconds())
	switch {
	case t == BeginningOfTime || t == EndOfTime:
		return t
	case ms > 0 && t > EndOfTime-ms:
		return EndOfTime
	case ms < 0 && t < BeginningOfTime-ms:
		return BeginningOfTime
	}
	return t + ms
}

// Time returns t as a time.Time in UTC.
func (t EventTime) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Time returns t as a time.Time in UTC.
func (t ArrivalTime) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Action is what the user did. Actions that are not known keep their own name and are trained as ActionClick.
type Action string

// The known actions, weakest first.
const (
	ActionExposure Action = "exposure"
	ActionClick    Action = "click"
	ActionCart     Action = "cart"
	ActionPurchase Action = "purchase"
)

// ItemInfo is optional side information of an item.
type ItemInfo struct {
	Category string  `json:"category,omitempty"`
	Seller   string  `json:"seller,omitempty"`
	Price    float64 `json:"price,omitempty"`
}

// Click is one thing a user did. Every action is a click, also an exposure, a cart and a purchase.
type Click struct {
	UserID    string
	ItemID    string
	EventTime EventTime
	Action    Action

	EventID   string   // optional; names the event for deduplication
	SessionID string   // optional; the producer's own session id, kept and not used for windows
	Scene     string   // optional; where on the site, e.g. "home"
	Item      ItemInfo // optional
	Context   []byte   // optional; a JSON object, kept as it came and not trained on

	ArrivedAt ArrivalTime // set by the reader of the record, not by the producer
}

// Limits of a valid click.
const (
	MaxIDBytes     = 256     // user_id, item_id, event_id, session_id, scene, action, category, seller
	MaxRecordBytes = 1 << 20 // a whole record
)

// EarliestEventTime is 2000-01-01: anything before is a unit mistake (seconds read as milliseconds), not a click.
const EarliestEventTime EventTime = 946_684_800_000

// Validate reports every fault of c at once, or nil. A click may be at most maxAhead later than its arrival, because one
// click from the far future would push the watermark and make every following click late.
func (c *Click) Validate(maxAhead time.Duration) error {
	var faults []error
	id := func(name, value string, required bool) {
		if required && value == "" {
			faults = append(faults, fmt.Errorf("%s is missing", name))
		}
		if len(value) > MaxIDBytes {
			faults = append(faults, fmt.Errorf("%s has %d bytes, at most %d are allowed", name, len(value), MaxIDBytes))
		}
	}
	id("user_id", c.UserID, true)
	id("item_id", c.ItemID, true)
	id("action", string(c.Action), true)
	id("event_id", c.EventID, false)
	id("session_id", c.SessionID, false)
	id("scene", c.Scene, false)
	id("item.category", c.Item.Category, false)
	id("item.seller", c.Item.Seller, false)
	if math.IsNaN(c.Item.Price) || math.IsInf(c.Item.Price, 0) {
		faults = append(faults, errors.New("item.price is not a finite number"))
	}
	if c.EventTime < EarliestEventTime {
		faults = append(faults, fmt.Errorf("timestamp %d is before 2000-01-01: send milliseconds since 1970", c.EventTime))
	}
	if latest := EventTime(c.ArrivedAt).Add(maxAhead); c.EventTime > latest {
		faults = append(faults, fmt.Errorf("timestamp %s is more than %v after its arrival at %s",
			c.EventTime.Time().Format(time.RFC3339), maxAhead, c.ArrivedAt.Time().Format(time.RFC3339)))
	}
	return errors.Join(faults...)
}
