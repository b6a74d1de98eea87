package ingest_test

import (
	"context"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// TestWhatIsCommittedIsTold: the clicks that the windows took, once each, and nothing of what went aside, came twice, or was not made durable.
func TestWhatIsCommittedIsTold(t *testing.T) {
	o := smallWindows()
	o.Live = &live.Broadcast{}
	s := open(t, buffer.Memory())
	n := newNode(t, s, o, 0)
	click := func(user string, at schema.EventTime) schema.Click {
		return schema.Click{UserID: user, ItemID: "i", Action: schema.ActionClick, EventTime: noon + at}
	}
	must(t, n.Apply(context.Background(), 0, batch(record(0, click("before", 0))))) // nobody listens
	l := o.Live.Listen()
	defer l.Close()
	first := batch(record(1, click("u1", 1)), source.Record{Offset: 2, Value: []byte("not json")}, record(3, click("u1", 1)), record(4, click("u2", 50)), record(5, click("u1", 2)))
	must(t, n.Apply(context.Background(), 0, first))
	for i := range first.Records { // the source uses the memory again
		clear(first.Records[i].Value)
		clear(first.Records[i].Key)
	}
	must(t, n.Apply(context.Background(), 0, batch(record(4, click("u2", 50)), record(6, click("u3", 51)))))
	must(t, s.Close())
	if err := n.Apply(context.Background(), 0, batch(record(7, click("u4", 52)))); err == nil {
		t.Fatal("a closed store took a commit")
	}
	batches, err := l.Next(t.Context())
	must(t, err)
	var got []string
	for _, b := range batches {
		must(t, b.Each(func(c *schema.Click) error {
			got = append(got, c.UserID+" "+c.ItemID)
			if c.ArrivedAt != schema.ArrivalTime(c.EventTime) {
				t.Errorf("%+v", c)
			}
			return nil
		}))
	}
	if diff := gocmp.Diff([]string{"u1 i", "u2 i", "u3 i"}, got); diff != "" {
		t.Error(diff)
	}
	if s := o.Live.Stats(); s.Told != 3 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}
