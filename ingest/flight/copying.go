package flight

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// errStore marks a fault of the mirror's own store.
var errStore = errors.New("the mirror's own store")

// copying is one stream on its way into the store.
type copying struct {
	puller   *puller
	plan     plan
	own      buffer.Meta
	overlap  bool // the first row is the last one that the store has
	sequence sequence
}

func newCopying(r *puller, p plan) *copying {
	own := r.mirror.store.Partition(r.partition)
	c := &copying{puller: r, plan: p, own: own}
	c.sequence = sequence{partition: r.partition, next: own.NextEmit, epoch: own.Window.Epoch, due: own.Window.Watermark}
	switch {
	case p.begin && p.state.First > own.NextEmit:
		c.sequence.next = p.state.First
	case p.begin:
		c.sequence.any = true // as far back as is kept
	case own.FirstEmit < own.NextEmit && p.state.First < own.NextEmit:
		// Where two nodes have different logs, the last entry tells: a difference shifts all that follow.
		c.overlap = true
	}
	return c
}

func (c *copying) ticket() ticket {
	t := ticket{Partition: &c.sequence.partition, Follow: true, Marks: true, MaxBytes: c.puller.mirror.cfg.BatchBytes}
	from := c.sequence.next
	switch keep := c.puller.mirror.cfg.Keep; {
	case c.sequence.any:
		since := schema.EventTime(c.plan.state.Watermark).Add(-keep)
		t.Since = &since
		return t
	case c.overlap:
		from--
	}
	t.From = &from
	return t
}

// add checks d and appends it. It reports whether the node had anything new.
func (c *copying) add(d delivery) (news bool, err error) {
	if d.state.Partition != c.sequence.partition {
		return false, fmt.Errorf("%w: the state is of partition %d, not %d", errDamaged, d.state.Partition, c.sequence.partition)
	}
	rows, clicks := d.rows, d.clicks
	if c.overlap && len(rows) > 0 {
		if err := c.compare(&rows[0], clicks[0]); err != nil {
			return false, err
		}
		rows, clicks, c.overlap = rows[1:], clicks[1:], false
	}
	entries := make([]buffer.Entry, len(rows))
	for i := range rows {
		if err := c.sequence.take(&rows[i]); err != nil {
			return false, err
		}
		entries[i] = entryOf(&rows[i])
		entries[i].Packed = clicks[i]
	}
	if c.plan.gap && len(entries) > 0 {
		if err := c.fill(entries[0].Emit); err != nil {
			return false, err
		}
		c.plan.gap = false
	}
	m, news := c.meta(entries, d.state)
	if !news {
		return false, nil
	}
	if err := c.append(m, entries); err != nil {
		return false, err
	}
	c.puller.mirror.entries.Add(uint64(len(entries)))
	c.puller.mirror.bytes.Add(uint64(d.bytes))
	return true, nil
}

func (c *copying) append(m buffer.Meta, entries []buffer.Entry) error {
	if err := c.puller.mirror.store.Append(c.sequence.partition, m, entries); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	c.own = c.puller.mirror.store.Partition(c.sequence.partition)
	return nil
}

// fill puts a mark in the place of each entry up to end that no node has, so that the log has no hole, and says for ever
// what it lacks.
func (c *copying) fill(end schema.Emit) error {
	mirror, from := c.puller.mirror, c.own.NextEmit
	mirror.cfg.Log.Warn("flight: going on without entries that no node has", "partition", c.sequence.partition, "from", from, "entries", end-from)
	for c.own.NextEmit < end {
		m := c.own
		mark := buffer.Mark{Epoch: m.Window.Epoch, Watermark: m.Window.Watermark, Offset: m.NextOffset}
		entries := make([]buffer.Entry, 0, appendRows)
		for m.NextEmit < end && len(entries) < appendRows {
			entries = append(entries, buffer.Entry{Kind: buffer.KindGap, Emit: m.NextEmit, Mark: mark})
			m.NextEmit++
		}
		if err := c.append(m, entries); err != nil {
			return err
		}
		mirror.gaps.Add(uint64(len(entries)))
	}
	return nil
}

// compare checks that the last entry that the store has is also the node's.
func (c *copying) compare(r *schema.PartsRow, clicks packed.Clicks) error {
	last := c.own.NextEmit - 1
	mine, err := c.puller.mirror.store.LogPacked(c.sequence.partition, last, 1)
	if err != nil || len(mine) == 0 {
		if c.puller.mirror.store.Partition(c.sequence.partition).FirstEmit > last {
			return nil // retention was quicker
		}
		return fmt.Errorf("%w: read entry %d of partition %d: %w", errStore, last, c.sequence.partition, err)
	}
	if mine[0].Kind == buffer.KindGap {
		return nil // it took the place of an entry that was not known
	}
	if row := rowOf(c.sequence.partition, &mine[0]); !sameRow(&row, r) || mine[0].Packed.N != clicks.N || !bytes.Equal(mine[0].Packed.Bytes, clicks.Bytes) {
		return fmt.Errorf("%w: entry %d of partition %d is another on this node than the one that was mirrored: one of the two logs is not of this topic, or was made with other window settings; take that node out of --feed, or begin with an empty data directory",
			errDisagree, last, c.sequence.partition)
	}
	return nil
}

// meta returns the partition's meta once entries are appended, and whether it or they are new.
//
// The node's state counts once its last entry is there. Until then a reader may be promised only what the entries
// themselves say: nothing that follows is due before the last of them.
func (c *copying) meta(entries []buffer.Entry, s state) (buffer.Meta, bool) {
	m := c.own
	if c.sequence.next == s.Next && !c.sequence.any {
		now := s.meta()
		ahead := cmp.Or(cmp.Compare(now.Window.Epoch, m.Window.Epoch), cmp.Compare(now.Window.Watermark, m.Window.Watermark)) >= 0 && now.NextOffset >= m.NextOffset
		if ahead && (len(entries) > 0 || now.NextOffset > m.NextOffset || now.Window != m.Window) {
			return now, true
		}
	}
	if len(entries) == 0 {
		return m, false
	}
	m.NextEmit = c.sequence.next
	w := &m.Window
	w.Epoch, w.Watermark, w.Ended = c.sequence.epoch, c.sequence.due, false
	for i := range entries {
		e := &entries[i]
		switch e.Kind {
		case buffer.KindPart:
			w.Counts.Emitted += uint64(e.Packed.N)
			for j, cause := range window.Causes {
				if cause == e.Part.Cause {
					w.Counts.Parts[j]++
				}
			}
		case buffer.KindTick:
			m.Ticks++
		}
	}
	w.Counts.Taken = max(w.Counts.Taken, w.Counts.Emitted)
	return m, true
}
