package sim

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Config says which shop. Equal configs give equal streams, byte for byte. Start from DefaultConfig: a share of 0 means
// none, not a default.
type Config struct {
	Seed    uint64           // of all randomness; default 1
	Start   schema.EventTime // event time of the opening; default 2026-01-01T08:00:00Z, fixed so that every run is the same
	Rate    float64          // records per second of event time, of every sort together; default 100
	Records int              // the stream ends after so many records, of every sort together; 0 is no end; default 0

	Users    int // how many come and go; default 3000, enough for Rate 100: each comes back about every four minutes
	Items    int // live at a time; default 3000
	Clusters int // categories; default 50, few enough that a minute of clicks shows them all

	SessionClicks float64       // mean clicks, carts and purchases of a session, at least 1; default 6
	Think         time.Duration // median time between two of them; default 15 s, which keeps a session far below the usual gap
	ItemLife      time.Duration // median time from an item's birth to its death; default 1 h: a tenth of them change in minutes
	TasteDrift    float64       // share of sessions before which one favourite is exchanged; default 0.05
	TasteJump     float64       // share of sessions before which all favourites are exchanged; default 0.01

	ExposureShare float64 // exposures among clean records; default 0.25; 0 switches them off

	// Lateness is the bound of the windows that will read the stream; default 5 s. Out-of-order records stay within 0.4 of
	// it, late ones are at least 12 times as far behind.
	Lateness time.Duration

	// What goes wrong, as shares of the clean records; each below 0.5.
	OutOfOrder  float64 // delivered after younger records, in time; default 0.05
	Late        float64 // delivered for certain too late; default 0.002
	Duplicate   float64 // delivered twice; default 0.005
	Undecodable float64 // an additional record that is not JSON; default 0.001
	Invalid     float64 // an additional record that breaks a rule of schema.Click.Validate; default 0.001
	Oversize    float64 // an additional record above schema.MaxRecordBytes; default 0: a broker refuses them unless it is told not to
}

// DefaultConfig returns the shop that freshet shows when it is given no other stream.
func DefaultConfig() Config {
	return Config{
		Seed:  1,
		Start: 1_767_254_400_000,
		Rate:  100,

		Users:    3000,
		Items:    3000,
		Clusters: 50,

		SessionClicks: 6,
		Think:         15 * time.Second,
		ItemLife:      time.Hour,
		TasteDrift:    0.05,
		TasteJump:     0.01,

		ExposureShare: 0.25,
		Lateness:      5 * time.Second,
		OutOfOrder:    0.05,
		Late:          0.002,
		Duplicate:     0.005,
		Undecodable:   0.001,
		Invalid:       0.001,
	}
}

// AtRate returns c at another rate, with more users where c has fewer than thirty for each record per second: a higher rate
// is then more users at the same pace, and not the same users without a pause.
func (c Config) AtRate(recordsPerSecond float64) Config {
	c.Rate = recordsPerSecond
	if users := 30 * recordsPerSecond; users > float64(c.Users) && users < usersMax {
		c.Users = int(users)
	}
	return c
}

// Bounds that keep the state of a shop within a few hundred bytes for each user and item.
const (
	usersMax        = 10_000_000
	itemsMax        = 1_000_000
	clustersMax     = 1000
	itemsOfAShelf   = 3 // at the least, so that a shelf has a head and a tail
	favouriteCount  = 3
	bandCount       = 3
	thinkSigma      = 0.8
	idleShareMin    = 0.05 // of a user's cycle; below it the rate asked for cannot be kept
	inTimeShare     = 0.4  // of Lateness: the largest delay of an out-of-order record
	inTimeMillisMax = 2000
	lateFactor      = 12 // of Lateness: the least delay of a late record
)

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			fault("%s %d: must be between %d and %d", name, v, low, high)
		}
	}
	share := func(name string, v, high float64) {
		if !(v >= 0 && v <= high) {
			fault("%s %v: must be between 0 and %v", name, v, high)
		}
	}
	if c.Start < schema.EarliestEventTime {
		fault("start %d: must not be before 2000-01-01; it is in milliseconds since 1970", c.Start)
	}
	if c.Start > schema.EventTime(math.MaxInt64/2) {
		fault("start %d: must be in milliseconds since 1970", c.Start)
	}
	if !(c.Rate > 0) || math.IsInf(c.Rate, 0) {
		fault("rate %v: must be a positive number of records per second", c.Rate)
	}
	if c.Records < 0 {
		fault("records %d: must not be negative; 0 is no end", c.Records)
	}
	within("users", c.Users, 1, usersMax)
	within("items", c.Items, 1, itemsMax)
	within("clusters", c.Clusters, favouriteCount+1, clustersMax)
	if least := c.Clusters * bandCount * itemsOfAShelf; c.Items < least && c.Clusters > 0 {
		fault("items %d: %d clusters need at least %d", c.Items, c.Clusters, least)
	}
	if !(c.SessionClicks >= 1 && c.SessionClicks <= 1000) {
		fault("session clicks %v: must be between 1 and 1000", c.SessionClicks)
	}
	duration := func(name string, v, low, high time.Duration) {
		if v < low || v > high {
			fault("%s %v: must be between %v and %v", name, v, low, high)
		}
	}
	duration("think", c.Think, 100*time.Millisecond, time.Hour)
	duration("item life", c.ItemLife, time.Minute, 10*365*24*time.Hour)
	duration("lateness", c.Lateness, 10*time.Millisecond, 24*time.Hour)
	share("taste drift", c.TasteDrift, 1)
	share("taste jump", c.TasteJump, 1)
	share("exposure share", c.ExposureShare, 0.8)
	share("out of order", c.OutOfOrder, 0.5)
	share("late", c.Late, 0.5)
	share("duplicate", c.Duplicate, 0.5)
	share("undecodable", c.Undecodable, 0.5)
	share("invalid", c.Invalid, 0.5)
	share("oversize", c.Oversize, 0.5)
	if len(faults) == 0 {
		if least := c.usersMin(); c.Users < least {
			fault("users %d: too few for %v records per second, which need at least %d: give more users or a lower rate", c.Users, c.Rate, least)
		}
	}
	return errors.Join(faults...)
}

// sessionMillis is the mean length of a session: the thinking between its clicks, log-normal.
func (c Config) sessionMillis() float64 {
	return (c.SessionClicks - 1) * float64(c.Think.Milliseconds()) * math.Exp(thinkSigma*thinkSigma/2)
}

// cycleMillis is the mean time from the start of a user's session to the start of the next that makes all users together
// produce Rate records per second.
func (c Config) cycleMillis() float64 {
	clean := c.SessionClicks / (1 - c.ExposureShare)
	records := clean * (1 + c.Duplicate + c.Undecodable + c.Invalid + c.Oversize)
	return float64(c.Users) * records / c.Rate * 1000
}

// usersMin is the least number of users who can produce Rate without being in two sessions at once.
func (c Config) usersMin() int {
	perUser := c.cycleMillis() / float64(c.Users)
	return max(1, int(math.Ceil(c.sessionMillis()/(1-idleShareMin)/perUser)))
}

// inTimeMillis is the largest delay of a record that is to be taken in time.
func (c Config) inTimeMillis() int64 {
	return min(inTimeMillisMax, int64(inTimeShare*float64(c.Lateness.Milliseconds())))
}

// lateMillis is the least distance of a late record behind a record of the same user.
func (c Config) lateMillis() int64 { return lateFactor * c.Lateness.Milliseconds() }
