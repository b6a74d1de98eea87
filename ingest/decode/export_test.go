package decode

import "time"

// SetClock lets a test say what time it is for the registry's client, and see how long it waits.
func (d *Decoder) SetClock(now func() time.Time, sleep func(time.Duration)) {
	if d.schemas == nil {
		return
	}
	d.schemas.now, d.schemas.sleep = now, sleep
}

// Known returns how many schemas are remembered.
func (d *Decoder) Known() int { return len(*d.schemas.known.Load()) }

// MaxSchemas is how many may be.
const MaxSchemas = maxSchemas
