package trainer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// checkpoint writes the state to disk.
func (t *Trainer) checkpoint() error {
	s, err := t.saving()
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	digest, err := t.saved.write(s)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.digest = digest
	t.mu.Unlock()
	if err := t.decisions.rotate(t.saved.oldest()); err != nil {
		return err
	}
	return t.holdLog(t.feed)
}

// rowsOfItems names the model's rows in a checkpoint.
const rowsOfItems = "items"

// saving is the whole state. A table by row that grows large moves from the tables, which every checkpoint holds whole, to the rows.
func (t *Trainer) saving() (saving, error) {
	tables, err := t.learner.Shared()
	if err != nil {
		return saving{}, err
	}
	s := saving{
		state: state{Format: checkpointFormat, Config: t.trained, State: t.learner.State()}, hold: t.learner.Hold(), rows: []NamedRows{{rowsOfItems, t.learner.Model()}},
	}
	for _, n := range tables {
		s.tables = append(s.tables, Table{n.Name, n.Table})
	}
	return s, nil
}

// restore makes the state what a checkpoint has, and returns it as the next one would.
func (t *Trainer) restore(s *stored) (saving, error) {
	if !bytes.Equal(s.state.Config, t.trained) {
		return saving{}, fmt.Errorf("it was trained with another config (%s): give the same one, or another data directory", difference(s.state.Config, t.trained))
	}
	learner, err := learn.RestoreRows(t.cfg.Learn, lookback{t}, s.state.State, s.tables, s.rows(rowsOfItems))
	if errors.Is(err, schema.ErrCorrupt) { // of tables that are whole one by one
		err = damaged{err}
	}
	if err != nil {
		return saving{}, err
	}
	t.learner = learner
	return t.saving()
}
