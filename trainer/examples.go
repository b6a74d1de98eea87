package trainer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// target is what a part gives to predict and to learn: its clicks in order, and the distinct items among them.
type target struct {
	at     schema.EventTime // of the first that counts
	clicks []click          // every click but the exposures, in order
	items  []model.Row      // distinct, in order of their first click
	shown  []model.Row      // what was only shown, distinct: learned from where the model counts exposures
	all    []model.Row      // items, then shown
	action []schema.Action  // of all, the strongest
	oracle []int            // by item: the rank that the simulated shop's oracle gave its first click; 0 where there is none
	before []model.Row      // the rows that item-to-item looks back on: of the session so far, else of the user's last sessions
	within []model.Row      // the rows of the session so far
}

type click struct {
	row model.Row
	at  schema.EventTime
}

// batchOf turns the parts of a micro-batch into what is scored and trained on. Items appear in the vocabulary here, in the
// order of their clicks; rows from known on are new in this batch.
//
// The history of a part is read from the log as of its place there, so that it holds the earlier parts of the same batch and
// is the same after a restart (I4). Parts of users without history have a target but no example: there is nothing to
// predict from, and training the query of an unknown user on them was measured to hurt.
func (t *Trainer) batchOf(parts []schema.Part) (examples []model.Example, exampleTargets, cold []target, known int, err error) {
	histories := make([][]schema.Part, len(parts)) // all read before anything changes: a failed read leaves the state whole
	for i := range parts {
		p := &parts[i]
		if !slices.ContainsFunc(p.Clicks, t.counts) {
			continue // nothing to learn from, or an empty final part
		}
		if histories[i], err = t.feed.History(p.Partition, p.UserID, p.Emit, t.cfg.HistoryParts); err != nil {
			return nil, nil, nil, 0, fmt.Errorf("read the history of a user: %w", err)
		}
	}
	known = t.model.Items()
	for i := range parts {
		p := &parts[i]
		to := t.targetOf(p)
		if len(to.all) == 0 {
			continue
		}
		history := histories[i]
		var past []model.Session
		for j := range history {
			h := &history[j]
			session, rows := t.sessionOf(h)
			if len(session.Events) == 0 {
				continue
			}
			past = append(past, session)
			to.before = append(to.before, rows...)
			if h.SessionStart == p.SessionStart {
				to.within = append(to.within, rows...)
			}
		}
		if len(to.within) > 0 {
			to.before = to.within
		}
		if len(past) == 0 {
			cold = append(cold, to)
			continue
		}
		examples = append(examples, model.Example{Past: past, At: to.at, Scene: p.Clicks[0].Scene, User: p.UserID, Targets: to.all, Actions: to.action})
		exampleTargets = append(exampleTargets, to)
	}
	return examples, exampleTargets, cold, known, nil
}

// counts says whether a click is something to learn from.
func (t *Trainer) counts(c schema.Click) bool { return t.model.Counts(c.Action) }

// chosen says whether a click is something to predict: everything but an exposure.
func chosen(c schema.Click) bool { return c.Action != schema.ActionExposure }

func (t *Trainer) targetOf(p *schema.Part) target {
	var to target
	strongest := map[model.Row]schema.Action{}
	for i := range p.Clicks {
		c := &p.Clicks[i]
		if !t.counts(*c) {
			continue
		}
		row := t.model.Admit(c.ItemID, c.Item)
		if len(strongest) == 0 {
			to.at = c.EventTime
		}
		if was, ok := strongest[row]; !ok || model.Stronger(c.Action, was) {
			strongest[row] = c.Action
		}
		switch {
		case !chosen(*c):
			if !slices.Contains(to.shown, row) {
				to.shown = append(to.shown, row)
			}
			continue
		case !slices.Contains(to.items, row):
			to.items = append(to.items, row)
			to.oracle = append(to.oracle, oracleRank(c.Context))
		}
		to.clicks = append(to.clicks, click{row, c.EventTime})
	}
	to.all = slices.Clone(to.items)
	for _, row := range to.shown {
		if !slices.Contains(to.items, row) {
			to.all = append(to.all, row)
		}
	}
	for _, row := range to.all {
		to.action = append(to.action, strongest[row])
	}
	return to
}

// sessionOf returns an earlier part as the model sees it, and the rows of its clicks in order.
func (t *Trainer) sessionOf(p *schema.Part) (model.Session, []model.Row) {
	var rows []model.Row
	for i := range p.Clicks {
		if c := &p.Clicks[i]; chosen(*c) {
			if row, ok := t.model.Row(c.ItemID); ok {
				rows = append(rows, row)
			}
		}
	}
	return t.model.SessionOf(p.Clicks), rows
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

// score tests every arm on the examples of a batch, with the state of before the batch (I6).
func (t *Trainer) score(targets []target, modelRanks [][]int32, known int) Sums {
	var s Sums
	popular := t.popularity.Rank(known, Place)
	var ranks []int
	for i, to := range targets {
		if len(to.items) == 0 {
			continue // only shown: nothing to predict
		}
		s.Scored++
		oracle := true
		for j, row := range to.items {
			if int(row) >= known {
				s.Unseen++
			}
			oracle = oracle && to.oracle[j] > 0
		}
		ranks = ranks[:0]
		for _, r := range modelRanks[i][:len(to.items)] {
			ranks = append(ranks, int(r))
		}
		s.test(ArmModel, ranks)
		ranks = ranks[:0]
		for _, row := range to.items {
			ranks = append(ranks, popular.Of(row))
		}
		s.test(ArmPopularity, ranks)
		s.test(ArmItemToItem, t.itemToItem.Ranks(ranks[:0], to.before, to.items, known))
		if oracle {
			s.Oracle++
			s.test(ArmBest, to.oracle)
		}
	}
	return s
}

// learn gives the clicks of a target to the baselines.
func (t *Trainer) learn(to target) {
	session := to.within
	for _, c := range to.clicks {
		t.popularity.Learn(c.row, c.at)
		t.itemToItem.Learn(session[max(0, len(session)-baseline.Steps):], c.row)
		session = append(session, c.row)
	}
}
