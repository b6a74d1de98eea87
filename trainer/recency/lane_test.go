package recency

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

// memoryLog is a log in memory. It can fail at the n-th read from now.
type memoryLog struct {
	parts  [][]schema.Part // by partition
	failIn int
}

var errRead = errors.New("the disk is gone")

func (m *memoryLog) read() error {
	m.failIn--
	if m.failIn == 0 {
		return errRead
	}
	return nil
}

func (m *memoryLog) Users(p schema.Partition, after string, n int, keep func([]byte) bool) ([]string, error) {
	if err := m.read(); err != nil {
		return nil, err
	}
	var users []string
	for i := range m.parts[p] {
		if user := m.parts[p][i].UserID; user > after && keep([]byte(user)) {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	users = slices.Compact(users)
	return users[:min(n, len(users))], nil
}

func (m *memoryLog) History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	if err := m.read(); err != nil {
		return nil, err
	}
	var out []schema.Part
	for _, part := range m.parts[p][:before] {
		if part.UserID == user {
			out = append(out, part)
		}
	}
	return out[max(0, len(out)-n):], nil
}

func (m *memoryLog) add(p int, user string, due schema.EventTime) {
	m.parts[p] = append(m.parts[p], schema.Part{
		Partition: schema.Partition(p), Emit: schema.Emit(len(m.parts[p])), UserID: user, Due: due, Clicks: []schema.Click{{UserID: user, ItemID: "i"}},
	})
}

func (m *memoryLog) position() schema.Position {
	at := schema.Position{}
	for p := range m.parts {
		at[schema.Partition(p)] = schema.Emit(len(m.parts[p]))
	}
	return at
}

// restored returns the lane and the schedule that a checkpoint of these would give.
func restored(t fataler, c Config, l *Lane, s *Schedule) (*Lane, *Schedule) {
	t.Helper()
	again := func(from, to any) {
		b, err := json.Marshal(from)
		if err == nil {
			err = json.Unmarshal(b, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var ls LaneState
	var ss State
	again(l.State(), &ls)
	again(s.State(), &ss)
	lane, err := RestoreLane(c, ls)
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := RestoreSchedule(c, ss)
	if err != nil {
		t.Fatal(err)
	}
	return lane, schedule
}

type fataler interface {
	Helper()
	Fatal(...any)
}

// TestALaneGoesOnWhereItStopped trains on a drawn stream with W = B twice: once through, and once with failing reads, restarts from
// checkpoints, and parts that come to the log before their turn. Both must see the same chunks; and by the end each part
// has been learned from exactly Epochs times, with the parts before it as its input.
func TestALaneGoesOnWhereItStopped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		c.Buckets, c.Period = rapid.IntRange(1, 6).Draw(t, "buckets"), time.Second
		c.Window, c.Epochs, c.Salt = c.Buckets, rapid.IntRange(1, 3).Draw(t, "epochs"), rapid.Uint64().Draw(t, "salt")
		c.Share = rapid.SampledFrom([]float64{.25, 1}).Draw(t, "share")
		n, history := rapid.IntRange(1, 5).Draw(t, "users of a chunk"), 1000
		type step struct {
			partition int
			user      string
			due       schema.EventTime
		}
		var stream []step
		due := schema.EventTime(rapid.IntRange(-5000, 5000).Draw(t, "begin"))
		for range rapid.IntRange(1, 80).Draw(t, "parts") {
			due += schema.EventTime(rapid.SampledFrom([]int{0, 10, 200, 900, 4000, 40_000}).Draw(t, "step"))
			p := rapid.IntRange(0, 1).Draw(t, "partition")
			stream = append(stream, step{p, fmt.Sprint("u", p, rapid.IntRange(0, 9).Draw(t, "user")), due})
		}
		train := func(trouble bool) (chunks []Chunk) {
			lane, schedule := NewLane(c), NewSchedule(c)
			log, trained := &memoryLog{parts: make([][]schema.Part, 2)}, schema.Position{0: 0, 1: 0}
			if trouble { // all is in the log before it is trained on
				for _, s := range stream {
					log.add(s.partition, s.user, s.due)
				}
			}
			turn := func(share float64) {
				for lane.Ready(share) {
					if trouble {
						log.failIn = rapid.IntRange(0, 9).Draw(t, "fails in")
						if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
							lane, schedule = restored(t, c, lane, schedule)
						}
					}
					chunk, err := lane.Next(log, n, history, share)
					if errors.Is(err, errRead) {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					chunks = append(chunks, chunk)
				}
			}
			for i, s := range stream {
				if !trouble {
					log.add(s.partition, s.user, s.due)
				}
				trained[schema.Partition(s.partition)]++
				through := s.due
				if i+1 < len(stream) {
					through = stream[i+1].due
				}
				runs, _ := schedule.Advance(through, s.due)
				lane.Earn(5, c.Share)
				if shed := lane.Add(runs, trained); shed > 0 && c.Share == 1 {
					t.Fatalf("%d runs shed", shed)
				}
				turn(c.Share)
				if hold := lane.Hold(trained); lane.Pending() == 0 && !gocmp.Equal(hold, trained) || hold[0] > trained[0] {
					t.Fatalf("%v is held at %v, with %d runs", hold, trained, lane.Pending())
				}
			}
			// Periods go by until every bucket has had its turn.
			for range 2 * c.Buckets {
				due += 1000
				runs, _ := schedule.Advance(due, stream[len(stream)-1].due)
				lane.Add(runs, trained)
				turn(1)
			}
			return chunks
		}
		before := due
		want := train(false)
		due = before
		got := train(true)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("with trouble (-without +with):\n%s", diff)
		}
		if c.Share < 1 {
			return // runs may have been shed
		}
		learned := map[[2]int]int{}
		for _, chunk := range want {
			if len(chunk.Sequences) > n {
				t.Fatalf("%d users in a chunk of %d", len(chunk.Sequences), n)
			}
			for _, q := range chunk.Sequences {
				if b := c.Bucket([]byte(q.UserID)); b != chunk.Run.Bucket || q.Learn < 1 || q.Learn > len(q.Parts) {
					t.Fatalf("%s of bucket %d learns from %d of %d parts in a run over %d", q.UserID, b, q.Learn, len(q.Parts), chunk.Run.Bucket)
				}
				for i, part := range q.Parts {
					if part.UserID != q.UserID || i > 0 && part.Emit <= q.Parts[i-1].Emit {
						t.Fatalf("the parts of %s: %+v", q.UserID, q.Parts)
					}
					if i >= len(q.Parts)-q.Learn {
						learned[[2]int{int(part.Partition), int(part.Emit)}]++
					}
				}
			}
		}
		emits := [2]int{}
		for _, s := range stream {
			if got := learned[[2]int{s.partition, emits[s.partition]}]; got != c.Epochs {
				t.Fatalf("the part of %s due at %d is learned from %d times in %d epochs", s.user, s.due, got, c.Epochs)
			}
			emits[s.partition]++
		}
	})
}

// TestALaneTakesItsShare lets the fast lane work beside a long run and measures who read how many parts.
func TestALaneTakesItsShare(t *testing.T) {
	c := DefaultConfig()
	c.Buckets, c.Window = 1, 1
	log := &memoryLog{parts: make([][]schema.Part, 1)}
	for u := range 400 {
		for range 5 {
			log.add(0, fmt.Sprintf("u%04d", u), 0)
		}
	}
	lane := NewLane(c)
	lane.Add([]Run{{From: 0, Through: 1}}, log.position())
	fast, slow := 0, 0
	for lane.Pending() > 0 {
		lane.Earn(60, .25)
		fast += 60
		for lane.Ready(.25) {
			chunk, err := lane.Next(log, 8, 5, .25)
			if err != nil {
				t.Fatal(err)
			}
			slow += chunk.Work
		}
	}
	if share := float64(slow) / float64(slow+fast); share < .24 || share > .26 || slow < 2000 {
		t.Fatalf("the lane read %d parts of %d: %.3f", slow, slow+fast, share)
	}
	lane.Add([]Run{{From: 0, Through: 1}}, log.position())
	lane.Earn(1000, 0)
	if lane.Ready(0) {
		t.Fatal("a lane without a share has its turn")
	}
}

// TestALaneLooksAtFewAtATime walks users who have nothing to learn: a chunk ends without them all.
func TestALaneLooksAtFewAtATime(t *testing.T) {
	c := DefaultConfig()
	c.Buckets, c.Window = 1, 1
	log := &memoryLog{parts: make([][]schema.Part, 1)}
	for u := range 10 * looks {
		log.add(0, fmt.Sprintf("u%04d", u), 0)
	}
	log.add(0, "v", 1000)
	lane := NewLane(c)
	lane.Add([]Run{{From: 1000, Through: 2000}}, log.position())
	chunks, learned := 0, 0
	for ; lane.Pending() > 0; chunks++ {
		chunk, err := lane.Next(log, 2, 20, 1)
		if err != nil || chunk.Work > 2*looks {
			t.Fatalf("%d parts read for a chunk, %v", chunk.Work, err)
		}
		learned += len(chunk.Sequences)
	}
	if chunks != 6 || learned != 1 {
		t.Fatalf("%d chunks, %d users", chunks, learned)
	}
}

// TestOldRunsAreShed adds more runs than may wait.
func TestOldRunsAreShed(t *testing.T) {
	c := DefaultConfig()
	c.Buckets = 3
	log := &memoryLog{parts: make([][]schema.Part, 1)}
	for _, user := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		log.add(0, user, 0)
	}
	lane := NewLane(c)
	run := func(period int64) Run { return Run{Period: period, Bucket: int(period) % 3, From: 0, Through: 1} }
	if shed := lane.Add([]Run{run(0), run(1), run(2)}, schema.Position{0: 8}); shed != 0 {
		t.Fatalf("%d shed", shed)
	}
	for range 2 { // into the first
		if _, err := lane.Next(log, 1, 5, 1); err != nil {
			t.Fatal(err)
		}
	}
	if shed := lane.Add([]Run{run(3), run(4)}, schema.Position{0: 8}); shed != 2 {
		t.Fatalf("%d shed", shed)
	}
	waiting := func(periods ...int64) (runs []PendingRun) {
		for _, p := range periods {
			runs = append(runs, PendingRun{run(p), schema.Position{0: 8}})
		}
		return runs
	}
	walked := lane.State()
	if diff := gocmp.Diff(waiting(0, 3, 4), walked.Runs); diff != "" || walked.After == "" {
		t.Fatalf("the walk is behind %q: %s", walked.After, diff)
	}
	if shed := lane.Add([]Run{run(5), run(6)}, schema.Position{0: 8}); shed != 2 { // six periods behind the first
		t.Fatalf("%d shed", shed)
	}
	want := LaneState{Runs: waiting(4, 5, 6)}
	if diff := gocmp.Diff(want, lane.State()); diff != "" {
		t.Fatal(diff)
	}
	if _, err := RestoreLane(policy(2, 2), want); err == nil {
		t.Fatal("a run over a bucket that is not there was taken")
	}
}
