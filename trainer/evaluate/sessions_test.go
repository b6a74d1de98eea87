package evaluate

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
)

const gap = 30 * time.Minute

func minutes(n float64) schema.EventTime {
	return start.Add(time.Duration(n * float64(time.Minute)))
}

// TestSessionIsJudgedWhenItIsOver reads like a story.
func TestSessionIsJudgedWhenItIsOver(t *testing.T) {
	e := New(Config{Arms: []string{"a", "b"}})
	s := NewSessions(e, 2, gap)
	click := Target{Action: schema.ActionClick}

	s.Open("u1", minutes(0), "home", [][]int32{{7, 8, 9}, nil})
	s.Click("u1", minutes(0), "item 8", 8, click)
	s.Click("u1", minutes(1), "item 8", 8, click)                                 // not a second target
	s.Click("u1", minutes(2), "item x", -1, Target{Unseen: true, Action: "x"})    // in no list
	s.Click("u1", minutes(3), "item 7", 7, Target{Action: schema.ActionExposure}) // no target
	s.Open("u2", minutes(20), "", [][]int32{{1}, {2}})
	s.Open("u3", minutes(20), "", [][]int32{{1}, {2}}) // one too many
	s.Click("u3", minutes(20), "item 1", 1, click)
	s.Expire(minutes(33))
	if g := e.Whole(NextSession); g.Tests != 0 {
		t.Fatalf("judged at the gap, not behind it: %+v", g)
	}
	s.Expire(minutes(33.1))
	g := e.Whole(NextSession)
	if a, ok := g.Arm("a"); !ok || g.Tests != 1 || g.Targets != 2 || g.Unseen != 1 || a.Recall20 != 0.5 || a.MRR20 != 0.5 || a.Recall1 != 0 {
		t.Errorf("u1: %+v", g)
	}
	if _, ok := g.Arm("b"); ok {
		t.Error("b gave no list and has scores")
	}
	if got, want := s.Stats(), (SessionStats{Open: 1, Refused: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.Close("u2") // without a click: nothing to be judged by
	s.Close("u2")
	if r := e.Report(); r.Kinds[0].Untested != 1 || r.Kinds[0].Whole.Tests != 1 {
		t.Errorf("%+v", r.Kinds[0])
	}

	s.Open("u4", minutes(40), "", [][]int32{{1}, {}})
	s.Click("u4", minutes(40), "item 1", 1, click)
	s.Click("u4", minutes(71), "item 2", 2, click) // of the next session, which was not opened
	if g := e.Whole(NextSession); g.Tests != 2 || g.Targets != 3 {
		t.Errorf("u4: %+v", g)
	}
	s.Open("u5", minutes(80), "", [][]int32{{1}, {}})
	for i := range maxSessionTargets + 9 {
		s.Click("u5", minutes(80), fmt.Sprint(i), int32(i), click)
	}
	if got := s.Stats(); got.Cut != 9 {
		t.Errorf("%+v, want 9 cut", got)
	}
}

// TestSessionsEndInTheOrderOfTheirClicks: what is clicked in again does not keep another from ending, and a click that comes late does not end a session early.
func TestSessionsEndInTheOrderOfTheirClicks(t *testing.T) {
	e := New(Config{Arms: []string{"a"}})
	s := NewSessions(e, 9, gap)
	lists := [][]int32{{1, 2}}
	s.Open("u1", minutes(0), "", lists)
	s.Open("u2", minutes(1), "", lists)
	s.Click("u2", minutes(1), "1", 1, Target{})
	s.Click("u1", minutes(25), "2", 2, Target{})
	s.Click("u1", minutes(10), "3", 3, Target{})
	s.Expire(minutes(41))
	if g := e.Whole(NextSession); g.Tests != 1 || g.Arms[0].MRR1 != 1 || s.Stats().Open != 1 {
		t.Errorf("u2 alone should be over: %+v, %+v", g, s.Stats())
	}
	s.Click("u1", minutes(54), "4", 4, Target{})
	s.Expire(minutes(90))
	if g := e.Whole(NextSession); g.Tests != 2 || g.Targets != 4 {
		t.Errorf("u1 has three items: %+v", g)
	}
}

// visit is a busy day: sessions are opened, clicked in, closed and left, more of them than are held.
func visit(s *Sessions, rng *rand.Rand, at schema.EventTime) {
	user := fmt.Sprint("user ", rng.IntN(200))
	lists := [][]int32{nil, {}, nil}
	for range rng.IntN(120) {
		lists[0] = append(lists[0], int32(rng.IntN(50)))
		lists[1] = append(lists[1], int32(rng.IntN(20)))
	}
	switch rng.IntN(12) {
	case 0, 1:
		s.Open(user, at, "sc\xffne", lists)
	case 2:
		s.Close(user)
	case 3:
		s.Expire(at)
	default:
		row := rng.IntN(40) - 1
		s.Click(user, at, fmt.Sprint(row), int32(row), Target{
			Clicks: rng.Int64(), Age: time.Duration(rng.Int64()), Unseen: row < 0, Action: schema.Action(rune('a' + rng.IntN(300))), InSession: rng.IntN(2) == 0, Earlier: rng.IntN(2) == 0,
		})
	}
}

func TestSessionsStopAnywhere(t *testing.T) {
	const seed = 21
	t.Logf("seed %d", seed)
	cfg := Config{Arms: testArms}
	whole := NewSessions(New(cfg), 50, gap)
	parts := NewSessions(New(cfg), 50, gap)
	a, b, stops := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	for i := range 20_000 {
		at := start + schema.EventTime(i)*5_000 - schema.EventTime(i%3)*60_000
		visit(whole, a, at)
		visit(parts, b, at)
		if n := whole.Stats().Open; n > 50 || len(whole.free)+n > 51 {
			t.Fatalf("%d are held and %d kept for later, of 50", n, len(whole.free))
		}
		if stops.IntN(500) == 0 {
			e := reencoded(t, cfg, parts.e)
			table, err := schema.DecodeTable(encoded(t, parts.Table()))
			if err != nil {
				t.Fatal(err)
			}
			if parts, err = RestoreSessions(e, 50, gap, table); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(encoded(t, whole.Table()), encoded(t, parts.Table())) || !bytes.Equal(encoded(t, whole.e.Table()), encoded(t, parts.e.Table())) {
		t.Error("restored, they went another way")
	}
	if diff := cmp.Diff(whole.e.Report(), parts.e.Report()); diff != "" {
		t.Error(diff)
	}
	if st := whole.Stats(); st.Open == 0 || st.Refused == 0 || whole.e.Whole(NextSession).Tests < 500 {
		t.Errorf("%+v and %d tests: the day was not busy", st, whole.e.Whole(NextSession).Tests)
	}
}

// TestDamagedTables takes numbers and rows away from tables, and puts others in: nothing panics, and what is wrong is an ErrCorrupt.
func TestDamagedTables(t *testing.T) {
	const seed = 23
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cfg := Config{Arms: testArms, Period: time.Minute}
	e := New(cfg)
	sessions := NewSessions(e, 50, gap)
	s := newStream(seed)
	var test Test
	for i := range 3000 {
		s.next(&test)
		e.Add(&test)
		visit(sessions, rng, start+schema.EventTime(i)*5_000)
	}
	faults := 0
	check := func(err error) {
		if err != nil {
			faults++
			if !errors.Is(err, schema.ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
		}
	}
	for range 400 {
		table := e.Table()
		values := table.Columns[0].Data.([]float64)
		switch rng.IntN(3) {
		case 0:
			values = values[:rng.IntN(len(values))]
		case 1:
			values = append(values, 1)
		case 2:
			for range 20 {
				values[rng.IntN(len(values))] = []float64{-1, 0.5, 1e300, 1 << 30, 3}[rng.IntN(5)]
			}
		}
		table.Columns[0].Data = values
		if restored, err := Restore(cfg, table); err != nil {
			check(err)
		} else {
			restored.Add(&test)
			restored.Report()
		}

		table = sessions.Table()
		for _, column := range []int{4, 5} {
			rows := table.Columns[column].Data.([][]int32)
			row := rng.IntN(len(rows))
			if words := rows[row]; len(words) > 0 {
				if rng.IntN(2) == 0 {
					rows[row] = words[:rng.IntN(len(words))]
				} else {
					words[rng.IntN(len(words))] = []int32{-1, -2, 1 << 30, 3}[rng.IntN(4)]
				}
			}
		}
		restored, err := RestoreSessions(e, 50, gap, table)
		check(err)
		if err == nil {
			restored.Table()
		}
	}
	if faults < 200 {
		t.Errorf("only %d faults were found", faults)
	}
	_, err := Restore(Config{Arms: slices.Concat(testArms, []string{"one more"}), Period: time.Minute}, e.Table())
	check(err)
	if err == nil {
		t.Error("a table of other arms was restored")
	}
	if _, err := RestoreSessions(e, 51, gap, sessions.Table()); err == nil {
		t.Error("sessions of another limit were restored")
	}
}
