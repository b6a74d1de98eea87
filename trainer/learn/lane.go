package learn

import (
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Counts are what has been done since the first part.
type Counts struct {
	Batches int64       `json:"batches"`
	Parts   int64       `json:"parts"`
	Clicks  int64       `json:"clicks"`
	Steps   schema.Step `json:"steps"`   // of both lanes
	Skipped int64       `json:"skipped"` // steps not taken, of either lane, because a number was not finite
	Tokens  int64       `json:"tokens"`  // of both lanes
	Flops   float64     `json:"flops"`   // of the matrix products of both lanes, as the mathematics needs them

	Early      int64        `json:"early"`       // parts that were not stepped on, because a new model began behind them (Config.Pretrain)
	Runs       int64        `json:"runs"`        // that came due
	RunSteps   int64        `json:"run_steps"`   // of Steps, the lane of runs'
	RunTokens  int64        `json:"run_tokens"`  // of Tokens
	RunPeriods int64        `json:"run_periods"` // that ended without a run, because nothing was new
	Shed       recency.Shed `json:"shed"`
}

// chunkUsers is how many users of a run are stepped on at once.
const chunkUsers = 64

// Runs is how many runs wait.
func (l *Learner) Runs() int { return l.lane.Pending() }

// Pending says whether the lane of runs is to have a turn before the fast lane goes on.
func (l *Learner) Pending() bool { return l.lane.Ready(l.share) }

// Turn takes one step of the lane of runs.
func (l *Learner) Turn() error {
	c, err := l.lane.Next(l.history, chunkUsers, l.cfg.HistoryParts, l.share)
	if err != nil {
		return err
	}
	examples := make([]model.Example, 0, len(c.Sequences))
	for i := range c.Sequences {
		if e, ok := l.sequence(&c, &c.Sequences[i]); ok {
			examples = append(examples, e)
		}
	}
	if len(examples) == 0 {
		return nil
	}
	l.model.Pace(1) // what a run reads is old: it is not what the fast lane adapts to
	stats := l.model.Learn(examples)
	l.counts.RunTokens += int64(stats.Tokens)
	l.spent(stats)
	if stats.Skipped {
		l.counts.Skipped++
	} else if stats.Examples > 0 {
		l.counts.Steps++
		l.counts.RunSteps++
	}
	return nil
}

// sequence is what a run reads of one user, as the model takes it: one sequence, however many of its parts are learned from.
func (l *Learner) sequence(c *recency.Chunk, q *recency.Sequence) (model.Example, bool) {
	times := make([]schema.EventTime, len(q.Parts))
	for i := range q.Parts {
		times[i] = q.Parts[i].Due
	}
	last := &q.Parts[len(q.Parts)-1]
	e := model.Example{User: q.UserID}
	for _, i := range l.cfg.Recency.Thin(times, l.cfg.HistoryParts, q.Partition, last.Emit) {
		s := l.model.SessionOf(q.Parts[i].Clicks)
		if len(s.Events) == 0 {
			continue
		}
		weight := 1.
		if i >= len(q.Parts)-q.Learn {
			weight = l.cfg.Recency.Weight(time.Duration(c.Run.Through-q.Parts[i].Due) * time.Millisecond)
			e.Learn++
		}
		e.Past, e.Weights = append(e.Past, s), append(e.Weights, weight)
		e.At, e.Scene = s.At, s.Scene
	}
	return e, e.Learn > 0 && len(e.Past) > 1
}

func (l *Learner) spent(stats model.StepStats) {
	l.counts.Tokens += int64(stats.Tokens)
	l.counts.Flops += stats.Flops
}

// account moves the position and the counts behind a batch, and gives the lane what has come due.
//
// Parts of histories count as shed where the decision shortened them and as many came as were asked for: all that a whole history has more. How many of them there were
// is not known without reading them, so the count is an upper bound.
func (l *Learner) account(b Batch, stats model.StepStats, d recency.Decision) {
	c := &l.counts
	before, read := l.latest, 0
	for i := range b.Parts {
		p := &b.Parts[i]
		l.position[p.Partition] = p.Emit + 1
		l.latest = max(l.latest, p.Due)
		c.Parts++
		c.Clicks += int64(len(p.Clicks))
		read += len(b.past[i])
		if spared := l.cfg.HistoryParts - b.history; spared > 0 && len(b.past[i]) == b.history {
			c.Shed.HistoryParts += int64(spared)
		}
	}
	c.Batches++
	l.spent(stats)
	l.watch(stats, l.latest)
	switch {
	case stats.Skipped:
		c.Skipped++
	case stats.Examples > 0 && l.cfg.Recency.Fast:
		c.Steps++
	}
	if w := l.cfg.Recency.Distill; w > 0 && l.cfg.Recency.Ends(before, l.latest) {
		l.model.Distill(w)
	}
	l.share = d.Share
	l.lane.Earn(read, l.share)
	l.pass(l.latest)
}

// pass says that event time has come so far.
func (l *Learner) pass(through schema.EventTime) {
	runs, skipped := l.schedule.Advance(through, l.latest)
	l.counts.Runs += int64(len(runs))
	l.counts.RunPeriods += skipped
	l.counts.Shed.Runs += int64(l.lane.Add(runs, l.position))
}

// End says that the input has ended: the runs of the periods that it was in the midst of are due, and the sessions that are tested are over.
// Until others come they need not wait for a share.
func (l *Learner) End() {
	l.share = 1
	l.pass(schema.EndOfTime)
	l.held.Expire(schema.EndOfTime)
}

// Counts returns what has been done.
func (l *Learner) Counts() Counts { return l.counts }

// Position is how much of the log has been learned from.
func (l *Learner) Position() schema.Position { return l.position.Clone() }

// Latest is the latest due time of a part that was learned from.
func (l *Learner) Latest() schema.EventTime { return l.latest }

// Hold is the position that histories are still needed from on, for the runs that wait.
func (l *Learner) Hold() schema.Position { return l.lane.Hold(l.position) }
