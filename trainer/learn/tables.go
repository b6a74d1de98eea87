package learn

import (
	"fmt"
	"iter"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// The tables of a checkpoint that are not the model's or the live tables' own.
const (
	tableBlend      = "blend"
	tableEvaluation = "evaluation"
	tableHeld       = "held_sessions"
)

// Shared returns everything but State that RestoreRows needs to go on as if nothing had happened (I3), and the model's rows, which Model.EachRows gives.
func (l *Learner) Shared() ([]model.NamedTable, error) {
	all, err := l.model.Shared()
	if err != nil {
		return nil, err
	}
	live, err := l.live.Tables()
	if err != nil {
		return nil, err
	}
	return append(append(all, live...),
		model.NamedTable{Name: tableBlend, Table: l.blend.table()},
		model.NamedTable{Name: tableEvaluation, Table: l.eval.Table()},
		model.NamedTable{Name: tableHeld, Table: l.held.Table()}), nil
}

// State is what of a checkpoint is no table.
type State struct {
	Counts
	Position schema.Position   `json:"position"`
	Latest   schema.EventTime  `json:"latest"` // due time of the latest part
	Share    float64           `json:"share"`  // of the lane
	Credit   int64             `json:"credit"` // of scores that tests may cost
	Drift    drift             `json:"drift"`
	Schedule recency.State     `json:"schedule"`
	Lane     recency.LaneState `json:"lane"`
}

// State returns a copy of it.
func (l *Learner) State() State {
	return State{Counts: l.counts, Position: l.position.Clone(), Latest: l.latest, Share: l.share, Credit: l.credit, Drift: l.drift, Schedule: l.schedule.State(), Lane: l.lane.State()}
}

// RestoreRows is the inverse of Shared, State and the model's EachRows.
func RestoreRows(cfg Config, history History, s State, tables map[string]schema.Table, rows iter.Seq2[schema.Table, error]) (*Learner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Learner{cfg: cfg, history: history, blend: newBlend(blended), lists: make([]list, blended), counts: s.Counts, position: s.Position.Clone(), latest: s.Latest, share: s.Share, credit: s.Credit, drift: s.Drift}
	var err error
	if l.schedule, err = recency.RestoreSchedule(cfg.Recency, s.Schedule); err != nil {
		return nil, err
	}
	if l.lane, err = recency.RestoreLane(cfg.Recency, s.Lane); err != nil {
		return nil, err
	}
	if l.model, err = model.RestoreRows(cfg.Model, tables, rows); err != nil {
		return nil, err
	}
	if l.live, err = baseline.Restore(cfg.Baseline, tables); err != nil {
		return nil, err
	}
	if err = l.blend.restore(tables[tableBlend]); err != nil {
		return nil, err
	}
	if l.eval, err = evaluate.Restore(evaluation(), tables[tableEvaluation]); err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	if l.held, err = evaluate.RestoreSessions(l.eval, evaluate.DefaultSessions, cfg.Gap, tables[tableHeld]); err != nil {
		return nil, fmt.Errorf("sessions that are tested: %w", err)
	}
	l.model.Attach(l.live)
	return l, nil
}

// Skip moves the position to where the log begins, of the partitions that were learned from and whose log begins behind it. It returns those.
func (l *Learner) Skip(begins schema.Position) (skipped []schema.Partition) {
	l.counts.Shed.Runs += int64(l.lane.Skip(begins))
	for _, p := range begins.Partitions() {
		if at, known := l.position[p]; known && at < begins[p] {
			l.position[p] = begins[p]
			skipped = append(skipped, p)
		}
	}
	return skipped
}
