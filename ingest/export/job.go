package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Options say what is exported.
type Options struct {
	What What
	// Since and Until bound the rows, from Since on and before Until: a session by its end, a click by its event time, a
	// record aside by its arrival. Zero is no bound.
	Since, Until int64 // ms
	// Slack says how much later than it is due a click of a part may be, and so how far before Since the log is read: the
	// lateness bound and more. Default a day, which is more than any stream's. Sessions that began before that are completed
	// from the log. With Open the log is read whole.
	Slack time.Duration
	// Span is how much later than a click the part with it may be due: the longest session and its gap. So far behind Until
	// the log is read. Zero, or Open, is to its end.
	Span time.Duration
	// Open takes sessions that have no final part yet too, behind all others.
	Open bool
	// HeldBytes bounds the sessions held until their final part comes. Default 256 MiB: a million sessions of ten clicks.
	HeldBytes int64
}

// Validate reports every fault of o at once, or nil.
func (o Options) Validate() error {
	var faults []error
	if columns[o.What] == nil {
		faults = append(faults, fmt.Errorf("%q: choose sessions, clicks or aside", o.What))
	}
	if o.Since != 0 && o.Until != 0 && o.Since >= o.Until {
		faults = append(faults, fmt.Errorf("since %d is not before until %d", o.Since, o.Until))
	}
	if o.Open && o.What != Sessions {
		faults = append(faults, errors.New("open: only sessions can be open"))
	}
	if o.Slack < 0 {
		faults = append(faults, fmt.Errorf("slack %v: must not be negative", o.Slack))
	}
	if o.Span < 0 {
		faults = append(faults, fmt.Errorf("span %v: must not be negative", o.Span))
	}
	if o.HeldBytes < 0 {
		faults = append(faults, fmt.Errorf("held_bytes %d: must not be negative", o.HeldBytes))
	}
	return errors.Join(faults...)
}

// Summary is what a job has done.
type Summary struct {
	Rows int64
	// First and Last are the earliest and the latest time in the rows, in ms: of clicks, or of arrival for records aside.
	// Both are 0 where there is no row.
	First, Last int64
	// OpenSessions began in what was read of the log and have no final part. They are in the rows only with Options.Open. Of a
	// partition that was not read to its end none is counted: those that end before Until are closed there.
	OpenSessions int64
	// CutSessions are closed and not in the rows, because retention has removed their beginning from the log.
	CutSessions int64
	// Reread sessions were read again because HeldBytes had no room for them.
	Reread int64
	// Repaired is how many texts were not UTF-8 and have U+FFFD in place of what was wrong.
	Repaired int64
}

// Job is one export. Run does it; Progress may be called meanwhile.
type Job struct {
	opts  Options
	total int64
	done  atomic.Int64
	rows  atomic.Int64
	sum   Summary
	run   func(ctx context.Context, t *table) error
}

// New returns the export of sessions or clicks from log.
func New(log Log, o Options) (*Job, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	o.HeldBytes = cmp.Or(o.HeldBytes, 256<<20)
	o.Slack = cmp.Or(o.Slack, 24*time.Hour)
	from, to := schema.EventTime(o.Since).Add(-o.Slack), schema.EndOfTime
	if o.Until != 0 && o.Span != 0 {
		to = schema.EventTime(o.Until).Add(o.Span)
	}
	if o.Open {
		from, to = 0, schema.EndOfTime
	}
	logs, total, err := extents(log, from, to)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	j := &Job{opts: o, total: total}
	j.run = func(ctx context.Context, t *table) error {
		m, err := newMerge(log, logs, &j.done)
		if err != nil {
			return err
		}
		if o.What == Clicks {
			return m.each(ctx, func(p *schema.Part) error { return j.clicks(t, p) })
		}
		return j.sessions(ctx, t, m)
	}
	return j, nil
}

// NewAside returns the export of the records aside that records yields, of which there are total.
func NewAside(records iter.Seq2[schema.Rejected, error], total int64, o Options) (*Job, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	j := &Job{opts: o, total: total}
	j.run = func(ctx context.Context, t *table) error {
		for r, err := range records {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			j.done.Add(1)
			if at := int64(r.ArrivedAt); j.wanted(at) {
				j.row(at, at)
				if err := t.rejected(&r); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return j, nil
}

// Progress returns how many entries of the log, or records aside, have been read, how many there are, and how many rows
// they have made so far.
func (j *Job) Progress() (done, total, rows int64) { return j.done.Load(), j.total, j.rows.Load() }

// Run writes the table to sink, which it closes. It may be called once. After an error, what sink wrote is of no use.
func (j *Job) Run(ctx context.Context, sink Sink) (Summary, error) {
	t := newTable(j.opts.What, sink)
	defer t.build.Release()
	err := j.run(ctx, t)
	if err == nil {
		err = t.flush()
	}
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		return Summary{}, err
	}
	j.sum.Rows, j.sum.Repaired = j.rows.Load(), t.repaired
	return j.sum, nil
}

func (j *Job) clicks(t *table, p *schema.Part) error {
	for i := range p.Clicks {
		c := &p.Clicks[i]
		if at := int64(c.EventTime); j.wanted(at) {
			j.row(at, at)
			if err := t.click(p, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *Job) sessions(ctx context.Context, t *table, m *merge) error {
	wanted := func(s *session) bool { return j.wanted(int64(s.end)) }
	joiner := newJoiner(m, j.opts, wanted, func(s *session) error {
		j.row(int64(s.start), int64(s.end))
		return t.session(s)
	})
	if err := m.each(ctx, joiner.add); err != nil {
		return err
	}
	if err := joiner.rest(); err != nil {
		return err
	}
	for p, n := range joiner.open {
		if !m.short[p] {
			j.sum.OpenSessions += n
		}
	}
	j.sum.CutSessions, j.sum.Reread = joiner.cut, joiner.reread
	return nil
}

// wanted reports whether a row of time at is within the bounds.
func (j *Job) wanted(at int64) bool {
	return at >= j.opts.Since && (j.opts.Until == 0 || at < j.opts.Until)
}

// row counts a row that reaches from first to last.
func (j *Job) row(first, last int64) {
	if j.rows.Add(1) == 1 {
		j.sum.First, j.sum.Last = first, last
	}
	j.sum.First, j.sum.Last = min(j.sum.First, first), max(j.sum.Last, last)
}
