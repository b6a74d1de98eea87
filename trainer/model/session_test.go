package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

// TestReadServedSession: items come once, in the order of their first click, with their strongest action, however many there are and whatever lies before the room
// that is given.
func TestReadServedSession(t *testing.T) {
	actions := []schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, schema.ActionPurchase}
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.IntRange(1, 4*fewEvents).Draw(t, "items")
		clicks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schema.Click {
			item := rapid.IntRange(0, items-1).Draw(t, "item")
			return schema.Click{ItemID: string(rune('a' + item)), Action: rapid.SampledFrom(actions).Draw(t, "action"), EventTime: schema.EventTime(item), Scene: "home"}
		}), 0, 8*fewEvents).Draw(t, "clicks")
		var want ServedSession
		for i := range clicks {
			if i == 0 {
				want.At, want.Scene = clicks[0].EventTime, clicks[0].Scene
			}
			strongest, first := clicks[i].Action, true
			for j := range clicks {
				if clicks[j].ItemID == clicks[i].ItemID {
					first = first && j >= i
					if Stronger(clicks[j].Action, strongest) {
						strongest = clicks[j].Action
					}
				}
			}
			if first {
				want.Events = append(want.Events, ServedEvent{clicks[i].ItemID, strongest})
			}
		}
		before := ServedEvent{ItemID: "before"}
		room := make([]ServedEvent, 1, 1+rapid.IntRange(0, 2*items).Draw(t, "room"))
		room[0] = before
		got := ReadServedSession(room, clicks)
		if len(got.Events) == 0 {
			got.Events = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if room[0] != before {
			t.Fatalf("the room's event became %v", room[0])
		}
		if diff := cmp.Diff(want.Events, NewServedSession(clicks).Events); diff != "" {
			t.Fatalf("without room (-want +got):\n%s", diff)
		}
	})
}
