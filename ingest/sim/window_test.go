package sim

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// The real windows put aside exactly what the shop says it made late or sent twice, whatever the number of partitions.
func TestWindowsAgreeWithTheCounts(t *testing.T) {
	for _, partitions := range []uint32{1, 4, 64} {
		c := DefaultConfig()
		c.Records = 30_000
		c.Late, c.Duplicate = 0.01, 0.02
		shop := open(t, c)
		windows := make([]*window.Windower, partitions)
		for p := range windows {
			w, err := window.New(window.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			windows[p] = w
		}
		for {
			r, err := shop.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			h := fnv.New32a()
			h.Write(r.Key)
			w := windows[h.Sum32()%partitions]
			click, err := read(r.Value, r.EventTime)
			switch {
			case err != nil:
				w.Reject(schema.ReasonUndecodable)
			case click.Validate(10*time.Minute) != nil:
				w.Reject(schema.ReasonInvalid)
			default:
				w.Add(&click)
				w.Committed()
			}
		}
		var sum window.Counts
		for _, w := range windows {
			sum = sum.Plus(w.Meta().Counts)
		}
		n := shop.Counts()
		for reason, want := range map[schema.Reason]int64{
			schema.ReasonLate: n.Late, schema.ReasonDuplicate: n.Duplicates,
			schema.ReasonUndecodable: n.Undecodable(), schema.ReasonInvalid: n.Invalid(), schema.ReasonOverflow: 0,
		} {
			if got := sum.ByReason(reason); got != uint64(want) {
				t.Errorf("%d partitions: %d records are %s, the shop made %d", partitions, got, reason, want)
			}
		}
		if n.Late == 0 || n.Duplicates == 0 {
			t.Errorf("nothing was put to the test: %+v", n)
		}
		if got := sum.In(); got != uint64(n.Records) {
			t.Errorf("%d partitions: %d records went in, the shop made %d", partitions, got, n.Records)
		}
	}
}

func Example() {
	config := DefaultConfig()
	config.Records = 1000
	shop, err := New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shop.Close()
	for {
		if _, err := shop.Next(); err != nil {
			break // io.EOF
		}
	}
	n := shop.Counts()
	fmt.Println(n.Records, "records:", n.Clean(), "clean,", n.Duplicates, "again,", n.Malformed(), "broken")
	// Output: 1000 records: 996 clean, 3 again, 1 broken
}
