package learn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Batch is parts that are scored and trained on together, and what was known of their users.
type Batch struct {
	Parts []schema.Part
	past  [][]schema.Part // of each part with something to predict: the earlier parts of its user, oldest first
	// history is how many parts of each were asked for.
	history int
}

// request is a part that has something to predict, as rows.
type request struct {
	part    *schema.Part
	example model.Example // its targets are all that counts, chosen first, then what was only shown
	clicks  []click       // every click but the exposures, in order
	items   []target      // distinct, in order of their first click
	session []click       // the clicks of the session so far
	history []click       // those of the sessions before
	left    bool          // it is not stepped on
	idle    bool          // nor tested
	heard   *heard        // what the arms beside the model say to it, where it is tested
}

// click is one of an item that has a row.
type click struct {
	row    model.Row
	at     schema.EventTime
	seen   bool // whether the state of before the batch had a row for it
	action schema.Action
}

// target is an item that is to be predicted.
type target struct {
	row    model.Row // noRow where the model has none for it
	seen   bool      // whether the state of before the batch had one
	action schema.Action
	oracle int // the rank that the simulated shop's oracle gave its first click; 0 where there is none
}

const noRow model.Row = -1

// asks says whether the model is asked: there is something to predict from, and somebody wants to know.
func (r *request) asks() bool { return len(r.example.Past) > 0 && !r.idle }

// Prepare reads what is known of the users of parts, at most history parts of each. It changes nothing.
func (l *Learner) Prepare(parts []schema.Part, history int) (Batch, error) {
	b := Batch{Parts: parts, past: make([][]schema.Part, len(parts)), history: history}
	for i := range parts {
		p := &parts[i]
		if !slices.ContainsFunc(p.Clicks, l.learns) {
			continue // nothing to learn from, or an empty final part
		}
		var err error
		if b.past[i], err = l.history.History(p.Partition, p.UserID, p.Emit, history); err != nil {
			return Batch{}, fmt.Errorf("read the history of a user: %w", err)
		}
	}
	return b, nil
}

// learns says whether a click is something to learn from.
func (l *Learner) learns(c schema.Click) bool { return l.model.Counts(c.Action) }

// chosen says whether a click is something to predict: everything but an exposure.
func chosen(c schema.Click) bool { return c.Action != schema.ActionExposure }

// requests turns the parts of a batch into rows. Under admit, items that have none are given to the model, in the order of their clicks.
func (l *Learner) requests(b *Batch, admit bool) []request {
	seen := map[string]bool{} // by the state of before: items are admitted while this goes on
	for i := range b.Parts {
		for j := range b.Parts[i].Clicks {
			id := b.Parts[i].Clicks[j].ItemID
			if _, asked := seen[id]; !asked {
				_, seen[id] = l.model.Row(id)
			}
		}
	}
	out := make([]request, 0, len(b.Parts))
	for i := range b.Parts {
		r := request{part: &b.Parts[i]}
		l.target(&r, seen, admit)
		if len(r.clicks) == 0 && len(r.example.Targets) == 0 {
			continue
		}
		for j := range b.past[i] {
			l.remember(&r, &b.past[i][j])
		}
		out = append(out, r)
	}
	return out
}

// target sets what r asks for.
func (l *Learner) target(r *request, seen map[string]bool, admit bool) {
	p := r.part
	strongest := map[string]schema.Action{}
	var chosenIDs, shownIDs []string
	first := true
	for i := range p.Clicks {
		c := &p.Clicks[i]
		if !l.learns(*c) {
			continue
		}
		if first {
			r.example.At, r.example.Scene, r.example.User = c.EventTime, p.Clicks[0].Scene, p.UserID
			first = false
		}
		if was, ok := strongest[c.ItemID]; !ok || model.Stronger(c.Action, was) {
			strongest[c.ItemID] = c.Action
		}
		row := l.rowOf(c, admit)
		if !chosen(*c) {
			if !slices.Contains(shownIDs, c.ItemID) {
				shownIDs = append(shownIDs, c.ItemID)
			}
			continue
		}
		if !slices.Contains(chosenIDs, c.ItemID) {
			chosenIDs = append(chosenIDs, c.ItemID)
			r.items = append(r.items, target{row: row, seen: seen[c.ItemID], oracle: oracleRank(c.Context)})
		}
		if row != noRow {
			r.clicks = append(r.clicks, click{row, c.EventTime, seen[c.ItemID], c.Action})
		}
	}
	aim := func(id string, row model.Row) {
		if row != noRow {
			r.example.Targets, r.example.Actions = append(r.example.Targets, row), append(r.example.Actions, strongest[id])
		}
	}
	for i, id := range chosenIDs {
		r.items[i].action = strongest[id]
		aim(id, r.items[i].row)
	}
	for _, id := range shownIDs {
		if row, ok := l.model.Row(id); ok && !slices.Contains(chosenIDs, id) {
			aim(id, row)
		}
	}
}

// rowOf returns the row of a click's item.
func (l *Learner) rowOf(c *schema.Click, admit bool) model.Row {
	row, ok := l.model.Row(c.ItemID)
	if admit {
		row, ok = l.model.Admit(c.ItemID, c.Item, c.EventTime)
	}
	if !ok {
		return noRow
	}
	return row
}

// remember adds an earlier part to what r is asked from.
func (l *Learner) remember(r *request, p *schema.Part) {
	session := l.model.SessionOf(p.Clicks)
	if len(session.Events) == 0 {
		return
	}
	r.example.Past = append(r.example.Past, session)
	to := &r.history
	if p.SessionStart == r.part.SessionStart {
		to = &r.session
	}
	for i := range p.Clicks {
		if c := &p.Clicks[i]; chosen(*c) {
			if row, ok := l.model.Row(c.ItemID); ok {
				*to = append(*to, click{row, c.EventTime, true, c.Action})
			}
		}
	}
}

// oracleRank reads the rank that the simulated shop writes into a click's context, or 0.
func oracleRank(context []byte) int {
	if !bytes.Contains(context, []byte(`"oracle_rank"`)) {
		return 0
	}
	var c struct {
		Rank int `json:"oracle_rank"`
	}
	if json.Unmarshal(context, &c) != nil {
		return 0
	}
	return c.Rank
}
