package window_test

import (
	"slices"
	"unsafe"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// The proofs see a Windower through this file only: clicks, ticks and ends go in, parts with their clicks come out, and the
// state can be made durable and be lost at any place.

// failer is what a test and a rapid property share.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// subject is a Windower and the disk that it is saved on.
type subject struct {
	t      failer
	config window.Config
	w      *window.Windower
	disk   *disk
	lent   []byte // what the strings of the last click point to
}

func newSubject(t failer, c window.Config) *subject {
	t.Helper()
	w, err := window.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{t: t, config: c, w: w, disk: newDisk()}
}

// add gives the Windower a click whose memory is used for other things afterwards, as a decoder's is.
func (s *subject) add(c schema.Click) ([]schema.Part, schema.Reason) {
	s.lent = slices.Grow(s.lent[:0], len(c.UserID)+len(c.ItemID)+len(c.EventID)+len(c.SessionID))
	for _, text := range []*string{&c.UserID, &c.ItemID, &c.EventID, &c.SessionID} {
		if *text != "" {
			from := len(s.lent)
			s.lent = append(s.lent, *text...)
			*text = unsafe.String(&s.lent[from], len(*text))
		}
	}
	parts, reason := s.w.Add(&c)
	for i := range s.lent {
		s.lent[i] = '?'
	}
	return s.flat(parts), reason
}

func (s *subject) tick(at schema.EventTime) []schema.Part { return s.flat(s.w.Tick(at)) }

// end ends the epoch.
func (s *subject) end() []schema.Part { return s.flat(s.w.End(s.w.Meta().Epoch + 1)) }

func (s *subject) meta() window.Meta { return s.w.Meta() }

// flat returns parts with their clicks unpacked. The packed ones are overwritten: they are the caller's.
func (s *subject) flat(parts []window.Part) []schema.Part {
	s.t.Helper()
	out := make([]schema.Part, len(parts))
	for i, p := range parts {
		clicks, err := p.Packed.Decode(p.UserID)
		if err != nil {
			s.t.Fatal(err)
		}
		out[i] = p.Part
		out[i].Clicks = clicks
	}
	for _, p := range parts {
		clear(p.Packed.Bytes)
	}
	return out
}

// commit makes durable what has happened since the last one: as a journal, or now and then as pages.
func (s *subject) commit(pages bool) {
	if pages {
		s.disk.snapshot(s.t, s.w, 64)
	} else {
		s.disk.commit(s.w)
	}
}

// crash loses everything since the last commit.
func (s *subject) crash() { s.w = s.disk.restore(s.t, s.config) }
