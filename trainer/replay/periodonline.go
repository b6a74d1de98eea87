package replay

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Periodic says how the learner that runs live is brought up to date period by period, beside Training and Cycles.
type Periodic struct {
	BatchParts int `koanf:"batch_parts"` // clicks that are asked for or learned at once, but for networks without terms, whose steps are of Training.Batch sessions
	// WeighEvery is how many sessions of a period there are for each that teaches the weights of the blend, before anything else learns the period: they are asked for as in
	// the test of it.
	WeighEvery int             `koanf:"weigh_every"`
	Baseline   baseline.Config `koanf:"-"`
}

func (p Periodic) validate() (faults []error) {
	if p.BatchParts < 1 || p.BatchParts > 1<<16 {
		faults = append(faults, fmt.Errorf("batch_parts=%d: must be between 1 and %d", p.BatchParts, 1<<16))
	}
	if p.WeighEvery < 1 {
		faults = append(faults, fmt.Errorf("weigh_every=%d: must be positive; 1 is all", p.WeighEvery))
	}
	return append(faults, parts(p.Baseline.Validate())...)
}

// isOnline says whether settings make an arm an online one. What is wrong with them is for who reads them.
func isOnline(settings string) bool {
	list, _ := settingsOf(settings, false)
	online := false
	for _, s := range list {
		if s.key == "online" {
			online, _ = strconv.ParseBool(s.value)
		}
	}
	return online
}

// begin gives an online arm its defaults.
func (a *Arm) begin() {
	a.Online = &Periodic{BatchParts: 256, WeighEvery: 4, Baseline: baseline.DefaultConfig()}
	b := &a.Online.Baseline
	day := 24 * time.Hour // what is asked for is up to a day younger than the tables
	b.HalfLife0, b.HalfLife1, b.HalfLife2, b.HalfLife3 = day/4, day, 3*day, 10*day
}

// config is the arm's learner's. Every test is made.
func (a *Arm) config() learn.Config {
	c := learn.DefaultConfig()
	c.Model, c.Baseline, c.HistoryParts, c.TestScores = a.Model, a.Online.Baseline, a.Training.Length, math.MaxInt
	c.TestParts = 0
	c.Model.MaxItems, c.Model.AdmitAfter = 0, 1 // an item of a period that is over is known
	c.Recency.Buckets = 0
	return c
}

// beside are what an online arm ranks by beside its model.
var beside = []int{learn.ArmBlend, learn.ArmItemToItem, learn.ArmVSKNN, learn.ArmSTAN, learn.ArmVSTAN}

// nameBeside is what a row of the report is called.
func nameBeside(of string, arm int) string {
	if arm == learn.ArmBlend {
		return of + " + blend"
	}
	return of + ": " + learn.ArmNames[arm] + " alone"
}

// onlineRun is an online arm under way.
type onlineRun struct {
	*periodRun
	learner *learn.Learner
	log     *periodLog
}

// online runs an online arm.
func (r *periodRun) online(ctx context.Context) error {
	o, err := r.begun()
	if err != nil {
		return err
	}
	for cycle := range r.e.cycles() {
		if err := o.cycle(ctx, cycle); err != nil {
			return fmt.Errorf("cycle %d: %w", cycle+1, err)
		}
	}
	return nil
}

// begun returns the run of an online arm that has learned nothing.
func (r *periodRun) begun() (*onlineRun, error) {
	r.counts = make([]int32, r.e.Data.Items())
	o := &onlineRun{periodRun: r, log: &periodLog{}}
	var err error
	if o.learner, err = learn.New(r.arm.config(), o.log); err != nil {
		return nil, err
	}
	for _, b := range beside {
		arm := r.arm
		arm.Name = nameBeside(r.arm.Name, b)
		r.beside = append(r.beside, PeriodArm{Arm: arm})
	}
	return o, nil
}

// cycle brings the learner up to date with a period, and tests it on the next. The first period comes in two halves, so that there is something to weigh by.
func (r *onlineRun) cycle(ctx context.Context, cycle int) error {
	data := r.e.Data
	result := CycleResult{Arm: r.arm.Name, Cycle: cycle + 1, Period: data.Labels[cycle+1]}
	from, to := data.first[cycle], data.first[cycle+1]
	known := 0
	if cycle > 0 {
		known = data.known[cycle-1]
	} else if half := (from + to) / 2; half > from {
		if err := r.update(ctx, cycle, from, half, 0, &result); err != nil {
			return err
		}
		from, known = half, 1+int(slices.Max(data.rows[:data.start[half]]))
	}
	if err := r.update(ctx, cycle, from, to, known, &result); err != nil {
		return err
	}
	r.result.Took += result.Took
	for _, row := range data.rows[data.start[data.first[cycle]]:data.start[to]] {
		r.counts[row]++
	}
	tallies, err := r.test(ctx, cycle, result.Loss)
	if err != nil {
		return err
	}
	_, digest, err := weightsOf(r.learner.Model())
	if err != nil {
		return err
	}
	r.result.Digest = digest
	result.Tests, result.Metrics = tallies[0].n, tallies[0].metrics()
	r.result.Cycles = append(r.result.Cycles, result)
	r.result.Tokens, r.result.Skipped = r.result.Tokens+result.Tokens, r.result.Skipped+result.Skipped
	found := []CycleResult{result}
	for i := range r.beside {
		b := &r.beside[i]
		b.Cycles = append(b.Cycles, CycleResult{Arm: b.Arm.Name, Cycle: result.Cycle, Period: result.Period, Tests: tallies[1+i].n, Metrics: tallies[1+i].metrics()})
		found = append(found, b.Cycles[len(b.Cycles)-1])
	}
	for _, c := range found {
		if r.e.Tested != nil {
			if err := r.e.Tested(c); err != nil {
				return fmt.Errorf("%w: %w", errEvaluated, err)
			}
		}
	}
	return nil
}

// update learns the sessions from..to of a cycle: first the blend, as far as the items below known tell; then the network in epochs, beside its terms if it has any; then
// the tables. What the tables say of a click while the network learns it is what they said at the end of the period before, as in a test: had they counted it, it would
// stand first in them.
func (r *onlineRun) update(ctx context.Context, cycle, from, to, known int, result *CycleResult) error {
	began := r.now()
	defer func() { result.Took += r.now().Sub(began) }()
	data := r.e.Data
	if known > 0 {
		if err := r.each(ctx, newPeriodLog(data, from, to, r.arm.Online.WeighEvery, known), r.learner.Weigh, cycle, result.Loss); err != nil {
			return err
		}
	}
	all := newPeriodLog(data, from, to, 1, data.Items())
	if err := r.each(ctx, all, r.learner.Admit, cycle, result.Loss); err != nil {
		return err
	}
	if err := r.train(ctx, cycle, to, result); err != nil {
		return err
	}
	return r.each(ctx, all, r.learner.Observe, cycle, result.Loss)
}

// train takes the steps of the network on a cycle's sessions before to, whose items have rows. r.log is of those that the tables have not learned.
func (r *onlineRun) train(ctx context.Context, cycle, to int, result *CycleResult) error {
	t, epochs := r.arm.Training, r.arm.epochs(cycle)
	defer r.learner.Model().Pace(1)
	for epoch := 1; epoch <= epochs; epoch++ {
		rng := rand.New(rand.NewPCG(r.arm.Model.Seed, 0x6379636c00000000+uint64(cycle)<<20+uint64(epoch))) // "cycl"
		steps, step := r.lesson(cycle, to, rng)
		var sum learned
		for i := range steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			pace := t.paceOf((epoch-1)*steps+i, epochs*steps)
			if cycle == 0 {
				pace *= r.arm.Cycles.FirstRate
			}
			r.learner.Model().Pace(pace)
			s, err := step(i)
			if err != nil {
				return err
			}
			r.took(s, &sum, result)
			r.watch(CycleMoment{Cycle: cycle + 1, Epoch: epoch, Epochs: epochs, Loss: sum.mean()})
		}
		if err := sum.stuck(epoch); err != nil {
			return err
		}
		result.Loss = sum.mean()
	}
	return nil
}

// lesson returns the steps of an epoch. Where there are terms they are of single clicks, because terms are those of one request; else of whole sessions.
func (r *onlineRun) lesson(cycle, to int, rng *rand.Rand) (steps int, step func(i int) (model.StepStats, error)) {
	data, length := r.e.Data, r.arm.Training.Length
	if r.arm.Model.Terms {
		parts := slices.Clone(r.log.parts)
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		some := slices.Collect(slices.Chunk(parts, r.arm.Online.BatchParts))
		return len(some), func(i int) (model.StepStats, error) {
			b, err := r.learner.Prepare(some[i], length)
			if err != nil {
				return model.StepStats{}, err
			}
			return r.learner.Revise(b), nil
		}
	}
	sessions := slices.DeleteFunc(r.arm.Cycles.lesson(data, cycle, rng), func(s int32) bool { return int(s) >= to })
	some := batches(sessions, func(s int32) int { return min(length, data.start[s+1]-data.start[s]) }, r.arm.Training.Batch, rng)
	return len(some), func(i int) (model.StepStats, error) {
		histories := make([][]schema.Part, len(some[i]))
		for j, s := range some[i] {
			rows, at := data.of(int(s))
			skip := max(0, len(rows)-length)
			histories[j] = partsOf(nil, data, int(s), rows[skip:], at[skip:])
		}
		return r.learner.Review(histories), nil
	}
}

// took adds up what a step did.
func (r *onlineRun) took(s model.StepStats, sum *learned, result *CycleResult) {
	l := learnedIn(s, s.Tokens)
	sum.add(l)
	result.Skipped += l.skipped
	result.Tokens += int64(l.tokens)
	r.result.Flops += l.flops
	r.done += int64(l.tokens)
}

// each goes through a log in batches.
func (r *onlineRun) each(ctx context.Context, log *periodLog, do func(learn.Batch), cycle int, loss float64) error {
	*r.log = *log
	for some := range slices.Chunk(log.parts, r.arm.Online.BatchParts) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.learner.Prepare(some, r.arm.Training.Length)
		if err != nil {
			return err
		}
		do(b)
		r.watch(CycleMoment{Cycle: cycle + 1, Loss: loss})
	}
	return nil
}

// test asks for every event of a session of the next period but its first, in the order of the stream. The tallies are the model's and of what is beside it.
func (r *onlineRun) test(ctx context.Context, cycle int, loss float64) ([]cutTally, error) {
	data := r.e.Data
	log := newPeriodLog(data, data.first[cycle+1], data.first[cycle+2], r.e.every(), data.known[cycle])
	tallies := make([]cutTally, 1+len(beside))
	r.learner.Tested = func(p *schema.Part, t *evaluate.Test) {
		if t.Kind != evaluate.NextPart {
			return
		}
		count := r.counts[log.rows[p.Emit]]
		note := func(i, arm int, s *periodSlices) {
			rank := int32(t.Ranks[arm][0])
			tallies[i].add(rank)
			s.add(rank, int(p.Number), count)
		}
		note(0, learn.ArmModel, &r.result.slices)
		for i, b := range beside {
			note(1+i, b, &r.beside[i].slices)
		}
		r.done += int64(p.Number)
	}
	defer func() { r.learner.Tested = nil }()
	return tallies, r.each(ctx, log, r.learner.Ask, cycle, loss)
}

// periodLog is sessions of a period as a learner reads them: parts of one click in the order of their times, each session a user's. It holds nothing else.
type periodLog struct {
	parts []schema.Part
	rows  []int32            // of each part, as Periods has them
	users map[string][]int32 // the parts of each, rising
}

var _ recency.Source = (*periodLog)(nil)

// newPeriodLog returns every nth of the sessions from..to, without the items that have no row below known.
func newPeriodLog(data *Periods, from, to, every, known int) *periodLog {
	l := &periodLog{users: map[string][]int32{}}
	var kept []int32
	var keptAt []schema.EventTime
	for s := from; s < to; s += every {
		rows, at := data.of(s)
		kept, keptAt = kept[:0], keptAt[:0]
		for i, row := range rows {
			if int(row) < known {
				kept, keptAt = append(kept, row), append(keptAt, at[i])
			}
		}
		l.rows = append(l.rows, kept...)
		l.parts = partsOf(l.parts, data, s, kept, keptAt)
	}
	order := make([]int32, len(l.parts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(i, j int32) int { return cmp.Compare(l.parts[i].Due, l.parts[j].Due) })
	parts, rows := make([]schema.Part, len(order)), make([]int32, len(order))
	for i, o := range order {
		parts[i], rows[i] = l.parts[o], l.rows[o]
		parts[i].Emit = schema.Emit(i)
		l.users[parts[i].UserID] = append(l.users[parts[i].UserID], int32(i))
	}
	l.parts, l.rows = parts, rows
	return l
}

// partsOf appends the events of a session, as parts.
func partsOf(dst []schema.Part, data *Periods, session int, rows []int32, at []schema.EventTime) []schema.Part {
	user := strconv.Itoa(session)
	clicks := make([]schema.Click, len(rows))
	for i, row := range rows {
		clicks[i] = schema.Click{UserID: user, ItemID: data.Names[row], EventTime: at[i], Action: schema.ActionClick}
		dst = append(dst, schema.Part{Due: at[i], UserID: user, SessionStart: at[0], Number: int32(i), Clicks: clicks[i : i+1]})
	}
	return dst
}

// Users implements recency.Source.
func (l *periodLog) Users(_ schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error) {
	var users []string
	for user := range l.users {
		if user > after && keep([]byte(user)) {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, strings.Compare)
	return users[:min(n, len(users))], nil
}

// History implements recency.Source.
func (l *periodLog) History(_ schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	own := l.users[user]
	end, _ := slices.BinarySearchFunc(own, before, func(i int32, e schema.Emit) int { return cmp.Compare(schema.Emit(i), e) })
	var past []schema.Part
	for _, i := range own[max(0, end-n):end] {
		past = append(past, l.parts[i])
	}
	return past, nil
}
