package sim

// Counts says what a shop has produced so far. Records is the sum of Clean, Duplicates and Malformed.
type Counts struct {
	Records int64

	// Clean records by action, each counted at its first delivery.
	Exposures, Clicks, Carts, Purchases int64

	OutOfOrder int64 // of the clean ones: delivered after a record with a later event time, in time
	Late       int64 // of the clean ones: delivered at least 12 times Config.Lateness after a later record of its user
	Duplicates int64 // second deliveries

	// Additional records that no reader can take, by what is wrong with them.
	Truncated, NotJSON                     int64 // undecodable
	NoUser, Seconds, TooOld, LongID        int64 // invalid: user_id missing, time in seconds, time in 1999, item_id of 300 bytes
	Oversize                               int64
	Sessions, ItemsBorn, ItemsDied, Shifts int64 // in the world behind the records: sessions begun, births, deaths, changes of taste
}

// Clean returns the number of first deliveries of well-formed records, late ones among them.
func (c Counts) Clean() int64 { return c.Exposures + c.Clicks + c.Carts + c.Purchases }

// Undecodable returns how many records a decoder refuses.
func (c Counts) Undecodable() int64 { return c.Truncated + c.NotJSON }

// Invalid returns how many records decode but break a rule of schema.Click.Validate.
func (c Counts) Invalid() int64 { return c.NoUser + c.Seconds + c.TooOld + c.LongID }

// Malformed returns how many records are undecodable, invalid or oversize.
func (c Counts) Malformed() int64 { return c.Undecodable() + c.Invalid() + c.Oversize }
