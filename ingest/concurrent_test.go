package ingest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// TestPartitionsGoOnAtTheSameTime drives partitions, an end, a reader and a watcher at once, as a live process does. The
// reader must see the sorted logs, whatever the interleaving.
func TestPartitionsGoOnAtTheSameTime(t *testing.T) {
	const partitions, batches, size = 3, 30, 20
	s := open(t, buffer.Memory())
	defer s.Close()
	n := newNode(t, s, smallWindows(), first(partitions)...)
	must(t, n.Topology(context.Background(), partitions))
	reader, err := feed.New(s, nil)
	must(t, err)

	reading, readContext := errgroup.WithContext(context.Background())
	var got []schema.Part
	reading.Go(func() error {
		for {
			parts, progress, err := reader.Next(readContext, 16)
			if err != nil {
				return err
			}
			if got = append(got, parts...); progress.Ended {
				return nil
			}
			n.Stats()
			n.Offsets()
		}
	})
	applying, ctx := errgroup.WithContext(context.Background())
	for _, p := range first(partitions) {
		applying.Go(func() error {
			at := noon
			for i := range batches {
				var records []source.Record
				for j := range size {
					at += schema.EventTime((i*7+j*13+int(p))%11 - 3)
					records = append(records, record(i*size+j, schema.Click{UserID: fmt.Sprint(p, j%4), ItemID: "x", EventTime: at}))
				}
				if err := n.Apply(ctx, p, batch(records...)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, applying.Wait())
	must(t, n.End(context.Background()))
	must(t, reading.Wait())

	var want []schema.Part
	for _, p := range first(partitions) {
		for _, e := range wholeLog(t, s, p) {
			if e.Kind == buffer.KindPart {
				want = append(want, e.Part)
			}
		}
	}
	slices.SortFunc(want, buffer.Order)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("read differs (-sorted +read):\n%s", diff)
	}
	balance(t, s, partitions*batches*size)
}

// first returns the partitions 0 to n-1.
func first(n int) (partitions []schema.Partition) {
	for p := range n {
		partitions = append(partitions, schema.Partition(p))
	}
	return partitions
}

// Example shows clicks going in and parts coming out.
func Example() {
	store, err := buffer.Open("data", buffer.Options{FS: buffer.Memory()})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	o := ingest.DefaultOptions("clicks")
	o.IdleAfter = 0 // a replay: time is what the clicks say
	node, err := ingest.New(store, decode, o)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := node.Topology(ctx, 1); err != nil {
		panic(err)
	}
	if _, err := node.Assign(ctx, 0); err != nil {
		panic(err)
	}
	clicks := batch(
		record(0, schema.Click{UserID: "ann", ItemID: "shoes", EventTime: noon}),
		record(1, schema.Click{UserID: "bob", ItemID: "hat", EventTime: noon + 2000}),
		record(2, schema.Click{UserID: "ann", ItemID: "socks", EventTime: noon + 4000}))
	if err := node.Apply(ctx, 0, clicks); err != nil {
		panic(err)
	}
	if err := node.End(ctx); err != nil {
		panic(err)
	}
	reader, err := feed.New(store, nil)
	if err != nil {
		panic(err)
	}
	parts, progress, err := reader.Next(ctx, 10)
	if err != nil {
		panic(err)
	}
	for _, p := range parts {
		fmt.Print(p.UserID, ":")
		for _, c := range p.Clicks {
			fmt.Print(" ", c.ItemID)
		}
		fmt.Println()
	}
	fmt.Println("ended:", progress.Ended)
	// Output:
	// ann: shoes socks
	// bob: hat
	// ended: true
}
