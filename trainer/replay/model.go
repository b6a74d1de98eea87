package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// What of this room knows the model: everything else sees sequences and a learner.

// fit gives a model room for sequences of so many items, each a session of its own, where the keys were not given.
func fit(c *model.Config, length int, given map[string]bool) {
	if !given["max_sessions"] {
		c.MaxSessions = length
	}
	if !given["max_tokens"] {
		c.MaxTokens = max(3, length)
		if c.Tokens == "session" {
			c.MaxTokens = max(3, 2*length+1) // a context token and an item's each, and the context of the request
		}
	}
}

// network is a learner around a model.
type network struct {
	m *model.Model

	sessions []model.Session // of a batch, one event each; with events behind them
	events   []model.Event
	targets  []model.Row
	examples []model.Example
	seen     []model.Row
}

var _ learner = (*network)(nil)

// newNetwork returns an untrained model that knows the items of names under their rows.
func newNetwork(cfg model.Config, names []string) (*network, error) {
	cfg.MaxItems, cfg.AdmitAfter = 0, 1 // all items are known beforehand
	m, err := model.New(cfg)
	if err != nil {
		return nil, err
	}
	n := &network{m: m}
	n.admit(names)
	return n, nil
}

// admit gives rows to the names that have none yet.
func (n *network) admit(names []string) {
	for i := n.m.Items(); i < len(names); i++ {
		if r, _ := n.m.Admit(names[i], schema.ItemInfo{}, 0); int(r) != i {
			panic(fmt.Sprintf("replay: item %d has row %d", i, r))
		}
	}
}

// place makes examples of a batch: every item a session of its own. They hold until the next call.
func (n *network) place(batch []sequence) (tokens int) {
	for i := range batch {
		tokens += len(batch[i].past)
	}
	n.events, n.sessions = slices.Grow(n.events[:0], tokens), slices.Grow(n.sessions[:0], tokens)
	n.targets, n.examples = slices.Grow(n.targets[:0], len(batch)), n.examples[:0]
	for i := range batch {
		s := &batch[i]
		first := len(n.sessions)
		for j, row := range s.past {
			n.events = append(n.events, model.Event{Row: model.Row(row), Action: schema.ActionClick})
			session := model.Session{Events: n.events[len(n.events)-1:]}
			if s.pastAt != nil {
				session.At = s.pastAt[j]
			}
			n.sessions = append(n.sessions, session)
		}
		n.targets = append(n.targets, model.Row(s.target))
		n.examples = append(n.examples, model.Example{Past: n.sessions[first:], At: s.at, Targets: n.targets[i:], Learn: s.learn})
	}
	return tokens
}

// Learn trains on every position of the batch.
func (n *network) Learn(batch []sequence, pace float64) learned {
	tokens := n.place(batch)
	n.m.Pace(pace)
	return learnedIn(n.m.Learn(n.examples), tokens)
}

// rankedAtOnce bounds the sequences of one forward, which keeps what all of them need.
const rankedAtOnce = 32

// Ranks implements ranker.
func (n *network) Ranks(batch []sequence, seen [][]int32) []int32 {
	ranks := make([]int32, 0, len(batch))
	for len(batch) > 0 {
		some := min(rankedAtOnce, len(batch))
		n.place(batch[:some])
		for i := range n.examples {
			n.examples[i].Learn = 0
		}
		n.m.Forward(n.examples)
		n.seen = n.seen[:0]
		for _, of := range n.m.RanksAmong(n.m.Items(), func(i int) []model.Row { return n.rowsOf(seen[i]) }) {
			ranks = append(ranks, of[0])
		}
		batch, seen = batch[some:], seen[some:]
	}
	return ranks
}

// rowsOf copies rows behind n.seen: the copies of a batch hold until its ranks are known.
func (n *network) rowsOf(rows []int32) []model.Row {
	from := len(n.seen)
	for _, r := range rows {
		n.seen = append(n.seen, model.Row(r))
	}
	return n.seen[from:]
}

// weightColumns are the columns of the model's tables that are weights, by table. The others are names, or the optimiser's.
var weightColumns = map[string][]string{"items": {"vector", "bias"}, "params": {"values"}}

// Weights returns how many numbers are trained, and their sha256 in hex.
func (n *network) Weights() (count int, digest string, err error) { return weightsOf(n.m) }

func weightsOf(m *model.Model) (count int, digest string, err error) {
	tables, err := m.Tables()
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	for _, t := range tables {
		for _, c := range t.Table.Columns {
			if !slices.Contains(weightColumns[t.Name], c.Name) {
				continue
			}
			fmt.Fprintf(h, "%s.%s\n", t.Name, c.Name)
			switch data := c.Data.(type) {
			case []float32:
				count += hashOf(h, data)
			case schema.Vectors:
				count += hashOf(h, data.Values)
			case [][]float32:
				for _, values := range data {
					count += hashOf(h, values)
				}
			default:
				return 0, "", fmt.Errorf("column %s of table %s is %T, which is no weights", c.Name, t.Name, c.Data)
			}
		}
	}
	if count == 0 {
		return 0, "", errors.New("the model has no weights in its tables")
	}
	return count, hex.EncodeToString(h.Sum(nil)), nil
}

// hashOf adds the length and the bits of xs to h, and returns how many there are.
func hashOf(h hash.Hash, xs []float32) int {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+4*len(xs)), uint64(len(xs)))
	for _, x := range xs {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	h.Write(b)
	return len(xs)
}
