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
		c.MaxTokens = max(3, 2*length+1) // a context token and an item's each, and the context of the request
	}
}

// network is a learner around a model.
type network struct {
	cfg model.Config
	m   *model.Model

	sessions []model.Session // of a batch, one event each; with events behind them
	events   []model.Event
	starts   []int // of each sequence among sessions
	targets  []model.Row
	examples []model.Example
}

var _ learner = (*network)(nil)

// newNetwork returns an untrained model that knows the items of names under their rows.
func newNetwork(cfg model.Config, names []string) (*network, error) {
	m, err := model.New(cfg)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if r := m.Admit(name, schema.ItemInfo{}); int(r) != i {
			panic(fmt.Sprintf("replay: item %d has row %d", i, r))
		}
	}
	return &network{cfg: cfg, m: m}, nil
}

// place makes sessions of the pasts of a batch. They hold until the next call.
func (n *network) place(batch []sequence) {
	total := 0
	for i := range batch {
		total += len(batch[i].past)
	}
	n.events, n.sessions = slices.Grow(n.events[:0], total), slices.Grow(n.sessions[:0], total)
	n.starts = append(n.starts[:0], 0)
	for i := range batch {
		s := &batch[i]
		for j, row := range s.past {
			n.events = append(n.events, model.Event{Row: model.Row(row), Action: schema.ActionClick})
			session := model.Session{Events: n.events[len(n.events)-1:]}
			if s.pastAt != nil {
				session.At = s.pastAt[j]
			}
			n.sessions = append(n.sessions, session)
		}
		n.starts = append(n.starts, len(n.sessions))
	}
}

func (n *network) pastOf(i int) []model.Session { return n.sessions[n.starts[i]:n.starts[i+1]] }

// stepTokens bounds what one step of the model is given: today it learns one position of a sequence at a time, from all before it.
const stepTokens = 8192

// Learn trains on every position of the batch. Today's model learns from the request alone, so each position becomes a request, and a batch several steps.
func (n *network) Learn(batch []sequence) learned {
	n.place(batch)
	total := 0
	for i := range batch {
		total += batch[i].learn + 1
	}
	n.targets, n.examples = slices.Grow(n.targets[:0], total), n.examples[:0]
	var out learned
	tokens := 0
	for i := range batch {
		s, past := &batch[i], n.pastOf(i)
		out.tokens += len(past)
		for j := len(past) - s.learn; j <= len(past); j++ {
			if j == 0 && !n.cfg.LossWithoutHistory {
				continue
			}
			target, at := s.target, s.at
			if j < len(past) {
				target, at = s.past[j], past[j].At
			}
			n.targets = append(n.targets, model.Row(target))
			n.examples = append(n.examples, model.Example{Past: past[:j], At: at, Targets: n.targets[len(n.targets)-1:]})
			if tokens += 2*j + 1; tokens >= stepTokens {
				n.step(&out)
				tokens = 0
			}
		}
	}
	n.step(&out)
	return out
}

// step learns from the examples that were put together.
func (n *network) step(out *learned) {
	if len(n.examples) == 0 {
		return
	}
	n.m.Forward(n.examples)
	s := n.m.Step()
	out.steps++
	if s.Skipped {
		out.skipped, out.where = out.skipped+1, s.Where
	} else {
		out.loss += s.Loss * float64(s.Examples)
		out.targets += s.Examples
	}
	for i := range n.examples {
		out.flops += n.flops(2*min(len(n.examples[i].Past), n.cfg.MaxSessions)+1, s.Candidates)
	}
	n.examples = n.examples[:0]
}

// flops is the work of the matrix products for one example of t tokens, forward and backward: a product backward is two.
func (n *network) flops(t, candidates int) float64 {
	d, tokens := float64(n.cfg.Dim), float64(t)
	block := 2*tokens*d*5*d + 4*tokens*tokens*d // U, Q, V, K and out; scores and their sum
	last := 2*tokens*d*2*d + 2*d*3*d + 4*tokens*d
	return 3 * (float64(n.cfg.Blocks-1)*block + last + 2*d*d + 2*float64(candidates)*d)
}

// Ranks ranks the target of each sequence among all items but those of seen, which does not hold it. Today's model ranks among all. But
// an item that scores as high as the target, or higher, has no greater rank than it: so many are taken off.
func (n *network) Ranks(batch []sequence, seen [][]int32) []int32 {
	n.place(batch)
	n.examples = n.examples[:0]
	for i := range batch {
		rows := []model.Row{model.Row(batch[i].target)}
		for _, r := range seen[i] {
			rows = append(rows, model.Row(r))
		}
		n.examples = append(n.examples, model.Example{Past: n.pastOf(i), At: batch[i].at, Targets: rows})
	}
	n.m.Forward(n.examples)
	ranks := make([]int32, len(batch))
	for i, of := range n.m.Ranks(n.m.Items()) {
		ranks[i] = of[0]
		for _, r := range of[1:] {
			if r <= of[0] {
				ranks[i]--
			}
		}
		ranks[i] = max(1, ranks[i]) // a score that is no number comes last, and so may a seen item's
	}
	n.examples = n.examples[:0]
	return ranks
}

// weightColumns are the columns of the model's tables that are weights, by table. The others are names, or the optimiser's.
var weightColumns = map[string][]string{"items": {"vector", "bias"}, "params": {"values"}}

// Weights returns how many numbers are trained, and their sha256 in hex.
func (n *network) Weights() (count int, digest string, err error) {
	tables, err := n.m.Tables()
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
