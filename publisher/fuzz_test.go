package publisher_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
)

// FuzzParseReport: what is read as a report is written and read again as the same.
func FuzzParseReport(t *testing.F) {
	f := fuzz.Of(t)
	whole, _ := json.Marshal(publisher.Report{ID: "r1", Model: "m", Version: 7, Candidate: 8, Order: 3, Pinned: true, Step: 12, AppliedAt: time.Unix(1, 0).UTC(), Address: "a:1", Refused: "why", NeedsBase: true})
	f.Add(whole)
	f.Add([]byte(`{"id":"r1","version":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := publisher.ParseReport(b)
		if !ok {
			return
		}
		once, err := json.Marshal(r)
		if err != nil {
			t.Skip("a year beyond 9999")
		}
		if again, ok := publisher.ParseReport(once); !ok || !cmp.Equal(r, again) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

// FuzzParseLease: so with a lease, and one that cannot be read names nobody who could take it over from themselves.
func FuzzParseLease(t *testing.F) {
	f := fuzz.Of(t)
	whole, _ := json.Marshal(publisher.Lease{Epoch: 9, ID: "t1", Holder: "host", Since: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC()})
	f.Add(whole)
	f.Add([]byte(`{"epoch":1.5,"holder":"host"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := publisher.ParseLease(b)
		if json.Unmarshal(b, new(publisher.Lease)) != nil && (l.Holder != "" || l.Epoch != 0 || l.ID == "") {
			t.Fatalf("%+v of what cannot be read", l)
		}
		once, err := json.Marshal(l)
		if err != nil {
			t.Skip("a year beyond 9999")
		}
		if again := publisher.ParseLease(once); !cmp.Equal(l, again) {
			t.Fatalf("%+v became %+v", l, again)
		}
	})
}
