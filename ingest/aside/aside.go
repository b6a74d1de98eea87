package aside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// ErrNone says that there is no record at a place.
var ErrNone = errors.New("no record is aside there")

// Place names a record: where in the topic it was.
type Place struct {
	Partition schema.Partition
	Offset    schema.Offset
}

// Start is the place before all others.
var Start = Place{Offset: -1}

// String returns the place as ParsePlace reads it: "3:17".
func (p Place) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// ParsePlace reads PARTITION:OFFSET.
func ParsePlace(text string) (Place, error) {
	partition, offset, ok := strings.Cut(text, ":")
	p, err := strconv.ParseUint(partition, 10, 31)
	o, err2 := strconv.ParseUint(offset, 10, 63)
	if !ok || err != nil || err2 != nil {
		return Place{}, fmt.Errorf("%q is not a place: write PARTITION:OFFSET, such as 3:17", text)
	}
	return Place{schema.Partition(p), schema.Offset(o)}, nil
}

// UnmarshalText is ParsePlace, for flags and JSON.
func (p *Place) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePlace(string(text))
	return err
}

// MarshalText is String.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Filter chooses records. The zero Filter chooses all.
type Filter struct {
	Reasons    []schema.Reason    // any of them; none = all
	Partitions []schema.Partition // any of them; none = all
	Since      schema.ArrivalTime // ms; 0 = no bound
	Until      schema.ArrivalTime // ms, not included; 0 = no bound
}

// Validate reports every fault of f at once, or nil.
func (f Filter) Validate() error {
	var faults []error
	for _, r := range f.Reasons {
		if !slices.Contains(schema.Reasons, r) {
			names := make([]string, len(schema.Reasons))
			for i, r := range schema.Reasons {
				names[i] = string(r)
			}
			faults = append(faults, fmt.Errorf("reason %q: choose from %s", r, strings.Join(names, ", ")))
		}
	}
	for _, p := range f.Partitions {
		if p < 0 {
			faults = append(faults, fmt.Errorf("partition %d: must not be negative", p))
		}
	}
	if f.Since != 0 && f.Until != 0 && f.Since >= f.Until {
		faults = append(faults, fmt.Errorf("since %s is not before until %s", f.Since.Time(), f.Until.Time()))
	}
	return errors.Join(faults...)
}

// Matches reports whether f chooses r.
func (f Filter) Matches(r *schema.Rejected) bool {
	return (len(f.Reasons) == 0 || slices.Contains(f.Reasons, r.Reason)) &&
		(len(f.Partitions) == 0 || slices.Contains(f.Partitions, r.Partition)) &&
		r.ArrivedAt >= f.Since && (f.Until == 0 || r.ArrivedAt < f.Until)
}

// Page is some records, and where to go on.
type Page struct {
	Records []schema.Rejected
	// Next is the place to go on after, where More says that there may be more. A page may be empty and not the last.
	Next Place
	More bool
}

// Summary counts records.
type Summary struct {
	Records    int64                        `json:"records"`
	Bytes      int64                        `json:"bytes"` // of keys and values
	Reasons    map[schema.Reason]int64      `json:"reasons"`
	Partitions map[schema.Partition]Reading `json:"partitions"` // all of the store's, whether they have records aside or not
}

// Reading is how far a partition has been read.
type Reading struct {
	Next      schema.Offset    `json:"next"`      // the offset of the next record
	Watermark schema.EventTime `json:"watermark"` // ms; a click before it is late
}

// Book is the records aside of one store.
type Book interface {
	// Page returns up to limit records that f chooses, by partition and offset, that come after a place.
	Page(ctx context.Context, f Filter, after Place, limit int) (Page, error)
	// Record returns the record at a place, or ErrNone.
	Record(ctx context.Context, at Place) (schema.Rejected, error)
	// Summary counts the records that f chooses.
	Summary(ctx context.Context, f Filter) (Summary, error)
	// Remove takes records away that were sent again, and returns how many of them were there.
	Remove(ctx context.Context, places []Place) (int, error)
}

// Each calls do with every record that f chooses, until it returns an error. It reads a page at a time, so that do may
// remove records.
func Each(ctx context.Context, b Book, f Filter, do func(r *schema.Rejected) error) error {
	for page := (Page{Next: Start, More: true}); page.More; {
		var err error
		if page, err = b.Page(ctx, f, page.Next, MaxPage); err != nil {
			return err
		}
		for i := range page.Records {
			if err := do(&page.Records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
