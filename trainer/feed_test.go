package trainer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// memoryFeed is a log of one partition in memory. It hands out a few parts at a time and can fail where it is told to.
type memoryFeed struct {
	parts    []schema.Part
	next     int
	perCall  int
	failAt   int // Next fails once before this part; 0 never
	failed   bool
	noMemory error // of History
	holds    int
	held     schema.Emit
}

var errFeed = errors.New("the disk is gone")

func (f *memoryFeed) Next(ctx context.Context, max int) ([]schema.Part, schema.Progress, error) {
	if err := ctx.Err(); err != nil {
		return nil, schema.Progress{}, err
	}
	if f.failAt > 0 && f.next >= f.failAt && !f.failed {
		f.failed = true
		return nil, schema.Progress{}, errFeed
	}
	n := min(max, f.perCall, len(f.parts)-f.next)
	out := f.parts[f.next : f.next+n]
	f.next += n
	if f.next == len(f.parts) {
		return out, schema.Progress{Epoch: 1, Through: schema.BeginningOfTime, Ended: true}, nil
	}
	return out, schema.Progress{Through: f.parts[f.next].Due}, nil
}

func (f *memoryFeed) Frontier() (schema.EventTime, int64, error) {
	return f.parts[len(f.parts)-1].Due, int64(len(f.parts)), nil
}

// Hold checks that positions are of parts that were returned, and never go back.
func (f *memoryFeed) Hold(position schema.Position) error {
	f.holds++
	if p := position[0]; p < f.held || int(p) > f.next {
		return fmt.Errorf("position %d is held after %d, with %d parts read", p, f.held, f.next)
	}
	f.held = position[0]
	return nil
}

func (f *memoryFeed) History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	if f.noMemory != nil {
		return nil, f.noMemory
	}
	var out []schema.Part
	for _, part := range f.parts[:before] {
		if part.UserID == user && len(part.Clicks) > 0 {
			out = append(out, part)
		}
	}
	return out[max(0, len(out)-n):], nil
}

func (f *memoryFeed) Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error) {
	var out []string
	for _, part := range f.parts {
		if user := part.UserID; part.Partition == p && user > after && len(part.Clicks) > 0 && keep([]byte(user)) {
			out = append(out, user)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(n, len(out))], nil
}

// parts draws a stream in which some items follow each other.
func drawParts(n int) []schema.Part {
	rng := rand.New(rand.NewPCG(7, 7))
	parts := make([]schema.Part, n)
	at := schema.EventTime(1_700_000_000_000)
	for i := range parts {
		at += schema.EventTime(rng.IntN(900))
		p := schema.Part{Emit: schema.Emit(i), Due: at, UserID: fmt.Sprint("u", rng.IntN(20)), SessionStart: at / 600_000}
		for range rng.IntN(4) {
			action := []schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, "fav"}[rng.IntN(4)]
			p.Clicks = append(p.Clicks, schema.Click{UserID: p.UserID, ItemID: fmt.Sprint("i", rng.IntN(40)), Action: action, EventTime: at, ArrivedAt: schema.ArrivalTime(at)})
		}
		parts[i] = p
	}
	return parts
}

// shortFeed is a log that begins late.
type shortFeed struct {
	memoryFeed
	begins schema.Emit
}

func (f *shortFeed) Hold(position schema.Position) error {
	if position[0] < f.begins {
		return fmt.Errorf("%w: entry %d is wanted, and it begins at %d", ErrGone, position[0], f.begins)
	}
	return f.memoryFeed.Hold(position)
}
