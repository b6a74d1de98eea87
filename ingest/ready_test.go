package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// TestGoodRecordsWaitForTheirSchema: while the decoder cannot know what a record is, nothing goes aside and nothing is
// passed over; and who is told to stop meanwhile goes on from the store.
func TestGoodRecordsWaitForTheirSchema(t *testing.T) {
	store, err := buffer.Open("store", buffer.Options{FS: buffer.Memory()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	away, waits := 0, 0
	decode := func(r source.Record, c *schema.Click) error {
		if r.Offset == 1 && away > 0 {
			away--
			return fmt.Errorf("%w: nobody answers", ingest.ErrNotReady)
		}
		*c = schema.Click{UserID: "u", ItemID: fmt.Sprint(r.Offset), Action: schema.ActionClick, EventTime: noon}
		return nil
	}
	o := ingest.DefaultOptions("clicks")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var node *ingest.Node
	stopAt := 3
	o.Wait = func(ctx context.Context, _ time.Duration) error {
		if waits++; waits == stopAt {
			stop()
		}
		if err := node.Health(); err == nil || !strings.Contains(err.Error(), "nobody answers") {
			t.Errorf("while it waits, health is %v", err)
		}
		return ctx.Err()
	}
	if node, err = ingest.New(store, decode, o); err != nil {
		t.Fatal(err)
	}
	batch := source.Batch{Records: make([]source.Record, 3), Next: 3, HighWatermark: 3}
	for i := range batch.Records {
		batch.Records[i] = source.Record{Offset: schema.Offset(i), ArrivedAt: schema.ArrivalTime(noon)}
	}
	for _, c := range []struct {
		away int
		ctx  context.Context
	}{{10, ctx}, {2, context.Background()}} {
		away = c.away
		if next, err := node.Assign(context.Background(), 0); err != nil || next != 0 {
			t.Fatalf("assigned at %d: %v", next, err)
		}
		err = node.Apply(c.ctx, 0, batch)
		if c.ctx == ctx && !errors.Is(err, context.Canceled) {
			t.Fatalf("told to stop while it waits: %v", err)
		}
	}
	if err != nil || waits != stopAt+1 {
		t.Fatalf("%d waits, %v", waits, err)
	}
	if err := node.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	if n := store.Totals().Counts; n.Taken != 3 || n.In() != 3 {
		t.Errorf("counts %+v", n)
	}
}
