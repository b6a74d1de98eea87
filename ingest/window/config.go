package window

import (
	"errors"
	"fmt"
	"time"
)

// Config says how clicks become sessions and parts. Durations are whole milliseconds, as event times are.
type Config struct {
	// Gap is the longest distance of two neighbouring clicks of one session. Default 30m, the usual cut of web analytics.
	Gap time.Duration
	// LatenessBound is how much later than the newest click a click may come. Default 5s: what producers with retries need;
	// every second of it is a second of freshness.
	LatenessBound time.Duration
	// PartAge is how long a sealed click of an open session may wait for its part. Default 10s; 0 turns it off.
	PartAge time.Duration
	// PartClicks is how many sealed clicks of an open session may wait for their part. Default 50; 0 turns it off.
	PartClicks int
	// MaxSessionAge closes a session that the gap never closes (a bot, a screen that refreshes itself). Default 6h.
	MaxSessionAge time.Duration
	// MaxSessionClicks closes a session with that many sealed clicks, for the same reason. Default 1000.
	MaxSessionClicks int
	// MaxOpenSessions is how many sessions of a partition may be open: one more closes the one whose last click is the
	// oldest. It bounds the memory of a partition, at about 300 bytes a session of two clicks. Default 1000000;
	// 0 turns it off.
	MaxOpenSessions int
}

// DefaultConfig returns the defaults named at the fields.
func DefaultConfig() Config {
	return Config{
		Gap:              30 * time.Minute,
		LatenessBound:    5 * time.Second,
		PartAge:          10 * time.Second,
		PartClicks:       50,
		MaxSessionAge:    6 * time.Hour,
		MaxSessionClicks: 1000,
		MaxOpenSessions:  1_000_000,
	}
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	duration := func(name string, d, least time.Duration) {
		if d < least {
			faults = append(faults, fmt.Errorf("%s %v: must be at least %v", name, d, least))
		}
		if d%time.Millisecond != 0 {
			faults = append(faults, fmt.Errorf("%s %v: must be whole milliseconds", name, d))
		}
	}
	duration("gap", c.Gap, time.Millisecond)
	duration("lateness_bound", c.LatenessBound, 0)
	duration("part_age", c.PartAge, 0)
	duration("max_session_age", c.MaxSessionAge, time.Millisecond)
	if c.MaxSessionClicks < 1 || c.MaxSessionClicks > 1_000_000 {
		faults = append(faults, fmt.Errorf("max_session_clicks %d: must be from 1 to 1000000", c.MaxSessionClicks))
	}
	if c.PartClicks < 0 || c.PartClicks > c.MaxSessionClicks {
		faults = append(faults, fmt.Errorf("part_clicks %d: must be from 0 to max_session_clicks %d", c.PartClicks, c.MaxSessionClicks))
	}
	if c.MaxOpenSessions < 0 || c.MaxOpenSessions > 1<<30 {
		faults = append(faults, fmt.Errorf("max_open_sessions %d: must be from 0 to %d", c.MaxOpenSessions, 1<<30))
	}
	return errors.Join(faults...)
}
