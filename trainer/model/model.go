package model

import (
	"math"
	"math/rand/v2"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// Model is the model that is trained. It belongs to one goroutine.
type Model struct {
	cfg   Config
	specs []spec

	w, dw         *weights[float32]
	first, second []float32 // AdamW's moments, in the order of the arena
	step          uint64    // AdamW's steps

	items         catalogue[float32]
	acc, accBias  [][]float32 // Adagrad's accumulators, in chunks of rows
	ids           []string
	index         map[string]Row
	categories    []string
	sideKeys      []sideKey // of each row of the side table but the first
	sideIndex     map[sideKey]int32
	sideAcc       []float32 // of each row of the side table but the first
	sideAccBias   []float32
	frequency     []uint32 // of each row in the ring
	ring          []Row    // the last targets
	ringNext      int      // where the next one goes, once the ring is full
	source        *rand.PCG
	rng           *rand.Rand
	touched       []bool // rows changed since the last Snapshot
	touchedRows   []Row
	pass          *pass[float32]
	rows          rowGradients[float32]
	sideRows      rowGradients[float32]
	batch         []Example
	scores        []float32 // scratch of Ranks
	targetsOfRank [][]Row
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
	m := &Model{cfg: cfg, specs: cfg.specs(), index: map[string]Row{}, sideIndex: map[sideKey]int32{}, source: rand.NewPCG(cfg.Seed, 0x73616d706c6573)} // "samples"
	m.w, m.dw = newWeights[float32](&cfg), newWeights[float32](&cfg)
	m.first, m.second = make([]float32, len(m.w.arena)), make([]float32, len(m.w.arena))
	m.items, m.rows.dim, m.sideRows.dim = newCatalogue[float32](cfg.Dim), cfg.Dim, cfg.Dim
	m.rng = rand.New(m.source)
	m.pass = newPass[float32](&m.cfg)
	return m
}

// Items returns how many items have a row.
func (m *Model) Items() int { return m.items.n }

// ID returns the name of the item in row r.
func (m *Model) ID(r Row) string { return m.ids[r] }

// Row returns the row of an item.
func (m *Model) Row(id string) (Row, bool) {
	r, ok := m.index[id]
	return r, ok
}

// Admit returns the row of an item and gives it a fresh one if it has none: a small random vector that depends on the seed and the row
// alone, and no bias. The item's side information is kept, each field as last seen. The row counts as changed: what is published beside the weights, its
// popularity, changes when it is seen.
func (m *Model) Admit(id string, info schema.ItemInfo) Row {
	r, ok := m.index[id]
	if !ok {
		r = m.appendRow(id)
		rng := rand.New(rand.NewPCG(m.cfg.Seed, uint64(r)))
		vector := m.items.vector(r)
		for i := range vector {
			vector[i] = float32(rng.NormFloat64() * m.cfg.InitStd)
		}
	}
	if info.Category != "" {
		m.categories[r] = info.Category
	}
	m.describe(r, &info)
	m.touch(r)
	return r
}

func (m *Model) appendRow(id string) Row {
	if m.items.n == math.MaxInt32 {
		panic("model: admit: no row is left")
	}
	r := Row(m.items.n)
	if m.items.n%chunkRows == 0 {
		m.acc = append(m.acc, make([]float32, chunkRows))
		m.accBias = append(m.accBias, make([]float32, chunkRows))
	}
	m.items.grow()
	m.ids, m.categories = append(m.ids, id), append(m.categories, "")
	m.frequency, m.touched = append(m.frequency, 0), append(m.touched, false)
	m.index[id] = r
	return r
}

func (m *Model) touch(r Row) {
	if !m.touched[r] {
		m.touched[r] = true
		m.touchedRows = append(m.touchedRows, r)
	}
}

// Forward computes the query vectors of a batch, which Ranks and Step then use. The batch must stay as it is until then.
func (m *Model) Forward(batch []Example) {
	m.batch = batch
	m.pass.layout.reset()
	for i := range batch {
		e := &batch[i]
		m.pass.layout.add(&m.cfg, e.Past, e.At, e.Scene)
	}
	m.pass.forward(m.w, &m.items)
}

// maxScores bounds the memory of Ranks: 32 MiB.
const maxScores = 8 << 20

// Ranks returns, for each example and each of its targets, the target's rank by score among the rows below known: 1 is best, ties count
// against the target, a target that is not below known has rank 0, and one whose score is not a number comes last.
func (m *Model) Ranks(known int) [][]int32 {
	m.targetsOfRank = m.targetsOfRank[:0]
	for i := range m.batch {
		m.targetsOfRank = append(m.targetsOfRank, m.batch[i].Targets)
	}
	ranks, scratch := m.pass.ranks(&m.items, m.targetsOfRank, min(known, m.items.n), m.scores, maxScores)
	m.scores = scratch
	return ranks
}

// StepStats says what a step did.
type StepStats struct {
	Loss       float64 // mean over the examples, in nats; of the sampled softmax
	GradNorm   float64 // of the shared weights, before clipping
	Examples   int     // examples learned from
	Candidates int     // items the targets were compared with, themselves included
	// Skipped says that a number was not finite and no weight was moved; Where names the tensor.
	Skipped bool
	Where   string
}

// Step learns from the batch of the last Forward. A batch without anything to learn moves nothing.
func (m *Model) Step() StepStats {
	t := m.sample()
	stats := StepStats{Examples: t.learned(), Candidates: len(t.candidates)}
	defer m.remember()
	if stats.Examples == 0 {
		return stats
	}
	clear(m.dw.arena)
	m.rows.reset(m.items.n)
	var dz []float32
	stats.Loss, dz = m.pass.loss(&m.items, &m.rows, &t)
	if !finite(stats.Loss) {
		stats.Skipped, stats.Where = true, "loss"
		return stats
	}
	m.pass.backward(m.w, m.dw, &m.rows, dz)
	m.items.spread(&m.sideRows, &m.rows)
	stats.GradNorm = math.Sqrt(nn.SumSquares(m.dw.arena))
	if where := m.notFinite(stats.GradNorm); where != "" {
		stats.Skipped, stats.Where = true, where
		return stats
	}
	m.update(stats.GradNorm)
	return stats
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// notFinite names the first tensor whose gradient is not finite.
func (m *Model) notFinite(norm float64) string {
	if !finite(norm) {
		for i := range m.specs {
			if !finite(nn.SumSquares(m.dw.views[i])) {
				return m.specs[i].name
			}
		}
		return "norm"
	}
	if !finite(nn.SumSquares(m.rows.grad)) {
		return "item vectors"
	}
	if !finite(nn.SumSquares(m.rows.dBias)) {
		return "item biases"
	}
	if !finite(nn.SumSquares(m.sideRows.grad)) || !finite(nn.SumSquares(m.sideRows.dBias)) {
		return "side information"
	}
	return ""
}

func (m *Model) update(norm float64) {
	m.step++
	scale := 1.0
	if m.cfg.Clip > 0 && norm > m.cfg.Clip {
		scale = m.cfg.Clip / norm
	}
	adam := nn.AdamW{Rate: m.cfg.DenseRate, Beta1: m.cfg.Beta1, Beta2: m.cfg.Beta2, Eps: 1e-8, Decay: m.cfg.WeightDecay}
	at := 0
	for i := range m.specs {
		n := len(m.w.views[i])
		adam.Step(m.w.views[i], m.dw.views[i], m.first[at:at+n], m.second[at:at+n], scale, m.step, m.specs[i].decay)
		at += n
	}
	adagrad := nn.Adagrad{Rate: m.cfg.RowRate, Eps: 1e-10}
	d := m.cfg.Dim
	for s, r := range m.rows.rows {
		chunk, place := int(r)/chunkRows, int(r)%chunkRows
		adagrad.Step(m.items.vector(r), m.rows.grad[s*d:][:d], &m.acc[chunk][place])
		adagrad.Step(m.items.biasOf(r), m.rows.dBias[s:s+1], &m.accBias[chunk][place])
		m.touch(r)
	}
	adagrad.Rate = m.cfg.SideRate
	for s, r := range m.sideRows.rows {
		adagrad.Step(m.items.side.vector(r), m.sideRows.grad[s*d:][:d], &m.sideAcc[r-1])
		adagrad.Step(m.items.side.biasOf(r), m.sideRows.dBias[s:s+1], &m.sideAccBias[r-1])
	}
}
