package buffer

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

type fataler interface {
	Helper()
	Fatal(...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openMemory(t fataler, fs FS) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	must(t, err)
	return s
}

func partOf(user string, due schema.EventTime, clicks int) Entry {
	p := schema.Part{UserID: user, Due: due, SessionStart: due, Cause: schema.CauseAge}
	for i := range clicks {
		p.Clicks = append(p.Clicks, schema.Click{UserID: user, ItemID: fmt.Sprint(i), EventTime: due, Action: schema.ActionClick})
	}
	return Entry{Kind: KindPart, Part: p}
}

// wholeLog reads all that is there of p's log.
func wholeLog(t fataler, s *Store, p schema.Partition) []Entry {
	t.Helper()
	var all []Entry
	for {
		some, err := s.Log(p, s.Partition(p).FirstEmit+schema.Emit(len(all)), 7)
		must(t, err)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
	}
}

// input is a batch of records of one partition: clicks, and bad records where there is none.
type input struct {
	partition schema.Partition
	first     schema.Offset
	clicks    []*schema.Click
}

// newInputs returns batches of two partitions, the same for the same size.
func newInputs(batches, size int) []input {
	random := rand.New(rand.NewPCG(7, 7))
	var inputs []input
	next := [2]schema.Offset{}
	now := [2]schema.EventTime{1_700_000_000_000, 1_700_000_000_000}
	for i := range batches {
		p := schema.Partition(i % 2)
		in := input{partition: p, first: next[p]}
		for range size {
			now[p] += schema.EventTime(random.IntN(30) - 8)
			click := &schema.Click{
				UserID: fmt.Sprint("u", p, random.IntN(6)), ItemID: fmt.Sprint("i", random.IntN(50)), EventTime: now[p], Action: schema.ActionClick,
				EventID: fmt.Sprint(random.IntN(200)), ArrivedAt: schema.ArrivalTime(now[p]),
			}
			if random.IntN(40) == 0 {
				click = nil
			}
			in.clicks = append(in.clicks, click)
			next[p]++
		}
		inputs = append(inputs, in)
	}
	return inputs
}

func smallConfig() window.Config {
	return window.Config{
		Gap: 60 * time.Millisecond, LatenessBound: 20 * time.Millisecond, PartAge: 20 * time.Millisecond, PartClicks: 4,
		MaxSessionAge: time.Second, MaxSessionClicks: 30,
	}
}

// owner is the owner of partitions 0 and 1, as ingest.Node is one.
type owner struct {
	s       *Store
	windows [2]*window.Windower
	next    [2]schema.Offset
}

func newOwner(s *Store, c window.Config) (*owner, error) {
	o := &owner{s: s}
	for p := range o.windows {
		var err error
		if o.windows[p], err = s.Load(schema.Partition(p), c); err != nil {
			return nil, err
		}
		o.next[p] = s.Partition(schema.Partition(p)).NextOffset
	}
	return o, nil
}

// take gives in to its window, and returns what came of it.
func (o *owner) take(in input) Commit {
	c := Commit{Partition: in.partition}
	w := o.windows[in.partition]
	for i, click := range in.clicks {
		offset := in.first + schema.Offset(i)
		if offset < o.next[in.partition] {
			continue
		}
		o.next[in.partition] = offset + 1
		reason := schema.ReasonUndecodable
		if click == nil {
			w.Reject(reason)
		} else {
			var parts []window.Part
			parts, reason = w.Add(click)
			c.add(parts)
		}
		if reason == schema.ReasonLate || reason == schema.ReasonUndecodable {
			c.Aside = append(c.Aside, schema.Rejected{
				Topic: "clicks", Partition: in.partition, Offset: offset, ArrivedAt: schema.ArrivalTime(1000 + i), Reason: reason,
				Detail: "it is what it is", Key: []byte("key"), Value: fmt.Append(nil, offset),
			})
		}
	}
	o.finish(&c)
	return c
}

func (c *Commit) add(parts []window.Part) {
	for i := range parts {
		c.Entries = append(c.Entries, Entry{Kind: KindPart, Part: parts[i].Part, Packed: parts[i].Packed})
	}
}

func (o *owner) finish(c *Commit) {
	w := o.windows[c.Partition]
	c.NextOffset, c.Window, c.Journal = o.next[c.Partition], w.Meta(), w.Journal()
}

func (o *owner) commit(commits ...Commit) error {
	if err := o.s.Commit(commits...); err != nil {
		return err
	}
	for i := range commits {
		o.windows[commits[i].Partition].Committed()
	}
	return nil
}

// end closes all sessions of both partitions in one commit.
func (o *owner) end(epoch schema.Epoch) error {
	commits := make([]Commit, len(o.windows))
	for p, w := range o.windows {
		c := &commits[p]
		c.Partition = schema.Partition(p)
		c.add(w.End(epoch))
		c.Entries = append(c.Entries, Entry{Kind: KindEnd, Mark: Mark{Epoch: epoch, Watermark: w.Meta().Watermark, Offset: o.next[p]}})
		o.finish(c)
	}
	return o.commit(commits...)
}
