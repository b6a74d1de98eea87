package feed_test

import (
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// walk reads the histories of all users of f as of a position, n users at a time, and leaves out those who had none then.
func walk(t fataler, f *feed.Feed, at schema.Position, n int) (all []schema.Part) {
	t.Helper()
	for _, p := range at.Partitions() {
		for after := ""; ; {
			users, err := f.Users(p, after, n, func(user []byte) bool { return user[len(user)-1] != '3' })
			must(t, err)
			for _, user := range users {
				history, err := f.History(p, user, at[p], 3)
				must(t, err)
				all = append(all, history...)
			}
			if len(users) < n {
				break
			}
			after = users[n-1]
		}
	}
	return all
}

// TestAWalkIsAsOfItsPosition walks the users of a log as of a position, again when the log has grown, and in a mirror,
// in steps of other sizes: all must find the same, and what a look through the log finds.
func TestAWalkIsAsOfItsPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, mirror := open(t), open(t)
		begin(t, s, 2)
		due := [2]schema.EventTime{}
		add := func() {
			for range rapid.IntRange(1, 4).Draw(t, "commits") {
				p := schema.Partition(rapid.IntRange(0, 1).Draw(t, "partition"))
				c := buffer.Commit{Partition: p, Window: window.NewMeta()}
				for range rapid.IntRange(0, 20).Draw(t, "parts") {
					due[p] += schema.EventTime(rapid.IntRange(0, 3).Draw(t, "step"))
					part := schema.Part{UserID: fmt.Sprint("u", rapid.IntRange(0, 12).Draw(t, "user")), Due: due[p], SessionStart: due[p], Cause: schema.CauseAge}
					for range rapid.IntRange(0, 2).Draw(t, "clicks") {
						part.Clicks = append(part.Clicks, schema.Click{UserID: part.UserID, ItemID: "i", EventTime: due[p], Action: schema.ActionClick})
					}
					c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindPart, Part: part})
				}
				c.Window.Watermark = due[p]
				must(t, s.Commit(c))
			}
		}
		add()
		f, err := feed.New(s, nil)
		must(t, err)
		position := schema.Position{0: s.Partition(0).NextEmit, 1: s.Partition(1).NextEmit}
		var want []schema.Part
		for _, p := range position.Partitions() {
			byUser := map[string][]schema.Part{}
			var users []string
			entries, err := s.Log(p, 0, 1000)
			must(t, err)
			for _, e := range entries {
				if user := e.Part.UserID; len(e.Part.Clicks) > 0 && user[len(user)-1] != '3' {
					users = append(users, user)
					byUser[user] = append(byUser[user], e.Part)
				}
			}
			slices.SortFunc(users, byLength)
			for _, user := range slices.Compact(users) {
				parts := byUser[user]
				want = append(want, parts[max(0, len(parts)-3):]...)
			}
		}
		check := func(where string, f *feed.Feed) {
			t.Helper()
			if got := walk(t, f, position, rapid.IntRange(1, 9).Draw(t, "n")); !slices.EqualFunc(want, got, func(a, b schema.Part) bool { return gocmp.Equal(a, b) }) {
				t.Fatalf("%s: %s", where, gocmp.Diff(want, got))
			}
		}
		check("at once", f)
		add()
		check("when the log has grown", f)
		for p := range schema.Partition(2) {
			entries, err := s.Log(p, 0, 1000)
			must(t, err)
			must(t, mirror.Append(p, s.Partition(p), entries))
		}
		other, err := feed.New(mirror, position)
		must(t, err)
		check("in a mirror", other)
		must(t, s.Close())
		must(t, mirror.Close())
	})
}

// byLength orders users as the index does.
func byLength(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return slices.Compare([]byte(a), []byte(b))
}
