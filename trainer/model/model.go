package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// Model is the model that is trained. It belongs to one goroutine.
type Model struct {
	cfg   Config
	specs []spec

	w             *weights[float32]
	first, second []float32 // AdamW's moments, in the order of the arena
	step          uint64    // AdamW's steps
	pace          float64   // of all rates

	items       catalogue[float32]
	rowState    rowState
	plasticity  plasticity
	ids         []string
	index       *rowIndex
	categories  []string
	sideKeys    []sideKey // of each row of the side table but the first
	sideIndex   map[sideKey]int32
	sideAcc     []float32 // of each row of the side table but the first
	sideAccBias []float32
	frequency   []uint32  // of each row in the ring
	ring        []Row     // the last targets
	ringNext    int       // where the next one goes, once the ring is full
	scenes      []float64 // requests of each scene, the old ones fading; under Config.SceneNorm
	source      *rand.PCG
	rng         *rand.Rand
	lives       lives
	unpublished rowSet // rows changed since the last Snapshot
	renamed     bool   // since then
	unsaved     rowSet // rows changed since Saved
	publishing  Publishing
	told        *told     // nil where nothing is withheld
	popularity  []float32 // of each row, as it was last published

	net   *net[float32]
	task  task
	batch []Example
	ranks ranker
}

// New returns an untrained model without items.
func New(cfg Config) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := empty(cfg)
	m.w.fill(&m.cfg)
	return m, nil
}

func empty(cfg Config) *Model {
	m := &Model{cfg: cfg, specs: cfg.specs(), index: newRowIndex(0), sideIndex: map[sideKey]int32{}, source: rand.NewPCG(cfg.Seed, 0x73616d706c6573), pace: 1} // "samples"
	m.w = newWeights[float32](&cfg)
	m.first, m.second = make([]float32, len(m.w.arena)), make([]float32, len(m.w.arena))
	m.items = newCatalogue[float32](cfg.Dim)
	m.rowState.full, m.rowState.forgets = cfg.RowOptimizer == adam, cfg.RowMemory > 0
	m.plasticity.rate = 1
	m.rng = rand.New(m.source)
	m.scenes = make([]float64, cfg.Scenes)
	m.lives.swept = schema.BeginningOfTime
	if cfg.AdmitAfter > 1 {
		m.lives.sightings = newSketch(cfg.AdmitSketch)
	}
	m.net = newNet(&m.cfg, m.w, &m.items)
	return m
}

// Weights returns how many numbers all items share.
func (m *Model) Weights() int { return len(m.w.arena) }

// Forward computes the query vectors of a batch, which Ranks and Step then use. The batch must stay as it is until then.
func (m *Model) Forward(batch []Example) {
	m.batch = batch
	m.net.forward(batch)
}

// StepStats says what a step did.
type StepStats struct {
	Loss       float64 // mean over the examples, in nats; of the sampled softmax
	Distance   float64 // to the teacher (Distill), times its weight; no part of Loss
	GradNorm   float64 // of the shared weights but the terms', before clipping
	Examples   int     // requests learned from
	Candidates int     // drawn to compare the targets with, themselves included
	Tokens     int     // of the batch
	Flops      float64 // floating-point operations of its matrix products, forward and backward, as the mathematics needs them
	// Skipped says that a number was not finite and no weight was moved; Where names the tensor.
	Skipped bool
	Where   string
}

// Step learns from the batch of the last Forward. A batch without anything to learn moves nothing.
func (m *Model) Step() StepStats { return m.stepOn(m.cfg.Dropout > 0) }

// Learn is Forward and Step at once, for a batch whose queries nobody asks for: nothing is kept of a group of sequences when the next one comes.
func (m *Model) Learn(batch []Example) StepStats {
	m.batch = batch
	m.net.lay(batch)
	return m.stepOn(true)
}

// Attach sets what gives the terms of items, nil for none: they are zero then, as they are before the first Attach. It is not a part of a checkpoint.
func (m *Model) Attach(l Live) { m.net.terms.live = l }

// StepTerms is Step for the weights of the terms alone: the network, the items and what is published of them stay as they are, and no gradient runs through them. What
// the batch is compared with is drawn as by Step, and the loss is the same, without dropout. It is for where the network learns late and the terms at once. Tokens and
// Flops stay 0.
func (m *Model) StepTerms() StepStats {
	if m.batch == nil {
		return StepStats{}
	}
	t := m.sample()
	defer func() { m.batch = nil }()
	defer m.remember()
	stats := StepStats{Examples: t.learned, Candidates: len(t.candidates)}
	if len(t.positives) == 0 || !m.cfg.Terms {
		return stats
	}
	stats.Loss = m.net.learnTerms(t)
	if stats.Where = m.termsNotFinite(); !finite(stats.Loss) {
		stats.Where = "loss"
	}
	if stats.Skipped = stats.Where != ""; !stats.Skipped {
		m.step++
		m.updateTerms()
	}
	return stats
}

func (m *Model) stepOn(again bool) StepStats {
	if m.batch == nil {
		return StepStats{}
	}
	t := m.sample()
	defer func() { m.batch = nil }()
	defer m.remember()
	stats := StepStats{Examples: t.learned, Candidates: len(t.candidates)}
	if len(t.positives) == 0 {
		return stats
	}
	stats.Tokens, stats.Flops = m.net.size(t)
	var seed uint64
	if m.cfg.Dropout > 0 {
		seed = m.rng.Uint64()
	}
	stats.Loss = m.net.learn(t, again, seed)
	if stats.Distance = m.net.distance; !finite(stats.Loss + stats.Distance) {
		stats.Skipped, stats.Where = true, "loss"
		return stats
	}
	loads := m.loads()
	dw := m.net.lanes[0].dw
	stats.GradNorm = math.Sqrt(nn.SumSquares(dw.arena[:dw.dense]))
	if where := m.notFinite(stats.GradNorm); where != "" {
		stats.Skipped, stats.Where = true, where
		return stats
	}
	m.update(stats.GradNorm)
	m.balance(loads)
	return stats
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// notFinite names the first tensor whose gradient is not finite, or that chooses experts and is not finite itself.
func (m *Model) notFinite(norm float64) string {
	n := m.net
	if !finite(norm) {
		for i := range m.specs {
			if !finite(nn.SumSquares(n.lanes[0].dw.views[i])) {
				return m.specs[i].name
			}
		}
		return "norm"
	}
	if where := m.termsNotFinite(); where != "" {
		return where
	}
	for i := range m.w.blocks { // a bias that no gradient passes through: an expert would be chosen always or never
		if !finite(nn.SumSquares(m.w.blocks[i].balance)) {
			return fmt.Sprintf("block%d.router_balance", i)
		}
	}
	if !finite(nn.SumSquares(n.rows.grad)) {
		return "item vectors"
	}
	if !finite(nn.SumSquares(n.rows.dBias)) {
		return "item biases"
	}
	if !finite(nn.SumSquares(n.side.grad)) || !finite(nn.SumSquares(n.side.dBias)) {
		return "side information"
	}
	return ""
}

// termsNotFinite names the first of the terms' tensors whose gradient is not finite.
func (m *Model) termsNotFinite() string {
	for i := range m.specs {
		if m.specs[i].terms && !finite(nn.SumSquares(m.net.lanes[0].dw.views[i])) {
			return m.specs[i].name
		}
	}
	return ""
}

// loads takes out of the gradients how often each expert was chosen.
func (m *Model) loads() [][]float32 {
	if m.cfg.Experts == 0 {
		return nil
	}
	var loads [][]float32
	for i := range m.net.lanes[0].dw.blocks {
		counts := m.net.lanes[0].dw.blocks[i].balance
		loads = append(loads, slices.Clone(counts))
		clear(counts)
	}
	return loads
}

// balanceRate is how far a step moves an expert's balance (arXiv 2408.15664, there .001 on gates between 0 and 1).
const balanceRate = 0.001

// balance moves experts with less than their share of the tokens up, and those with more down.
func (m *Model) balance(loads [][]float32) {
	for i, counts := range loads {
		var mean float32
		for _, c := range counts {
			mean += c / float32(len(counts))
		}
		for k, c := range counts {
			switch {
			case c < mean:
				m.w.blocks[i].balance[k] += balanceRate
			case c > mean:
				m.w.blocks[i].balance[k] -= balanceRate
			}
		}
	}
}
