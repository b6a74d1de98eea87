package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// PeriodExperiment brings arms up to date period by period, and asks each the same of the next.
type PeriodExperiment struct {
	Data *Periods
	Arms []Arm
	// Limit is the last cycle that is run; 0 is all. What is chosen by the first cycles may be reported on the others.
	Limit int
	// Every is how many sessions of a period that is tested there are for each that is asked for, the first of them; 0 and 1 are all.
	Every int
	// Watch, if not nil, is called often, by the goroutine that trains.
	Watch func(CycleMoment)
	// Tested, if not nil, is called after each cycle.
	Tested func(CycleResult) error
	Now    func() time.Time // nil is time.Now
}

// CycleMoment says how far an experiment is.
type CycleMoment struct {
	Arm           string
	Cycle, Cycles int
	Epoch, Epochs int // 0 in a test
	Loss          float64
	Done          int64 // items read out of PeriodPlan.Total
}

// CycleResult is what a cycle of an arm found.
type CycleResult struct {
	Arm     string
	Cycle   int // from 1
	Period  int // that was tested, as the file numbers it
	Tests   int
	Metrics CutMetrics
	Loss    float64       // mean of the last epoch
	Tokens  int64         // items read in training
	Took    time.Duration // training
	Skipped int
}

// PeriodArm is what all cycles of an arm found.
type PeriodArm struct {
	Arm     Arm
	Cycles  []CycleResult
	Mean    CutMetrics // of the cycles, each weighing the same
	Tokens  int64
	Flops   float64
	Took    time.Duration // training, without tests
	Skipped int
	Digest  string
	slices  periodSlices
}

func (e *PeriodExperiment) cycles() int {
	if e.Limit > 0 {
		return min(e.Limit, e.Data.Cycles())
	}
	return e.Data.Cycles()
}

func (e *PeriodExperiment) every() int { return max(1, e.Every) }

// Plan says what Run would do.
func (e *PeriodExperiment) Plan() PeriodPlan {
	p := PeriodPlan{Sessions: e.Data.Sessions(), Items: e.Data.Items(), Events: e.Data.Events(), LeftOut: e.Data.LeftOut, Cycles: e.cycles()}
	for _, arm := range e.Arms {
		a := PlannedPeriods{Arm: arm}
		for cycle := range p.Cycles {
			read := int64(0)
			for _, s := range arm.Cycles.lesson(e.Data, cycle, rand.New(rand.NewPCG(0, 0))) {
				read += int64(min(arm.Training.Length, e.Data.start[s+1]-e.Data.start[s]-arm.unread()))
			}
			if arm.Online != nil && arm.Model.Terms {
				read = e.Data.requested(e.Data.first[cycle], e.Data.first[cycle+1], arm.Training.Length)
			} else if arm.Online != nil && cycle == 0 {
				read += read / 2 // half of it comes first
			}
			a.Trained += read * int64(arm.epochs(cycle))
			for s := e.Data.first[cycle+1]; s < e.Data.first[cycle+2]; s += e.every() {
				n := int64(e.Data.start[s+1] - e.Data.start[s])
				a.tested += n * (n - 1) / 2
				if arm.Cycles.Live {
					a.Trained += n - 1
				}
			}
		}
		p.Arms = append(p.Arms, a)
		p.Total += a.Trained + a.tested
	}
	return p
}

// PeriodPlan is what a PeriodExperiment would do.
type PeriodPlan struct {
	Sessions, LeftOut, Items, Events, Cycles int

	Arms  []PlannedPeriods
	Total int64 // items read by all arms, in training and tests
}

// PlannedPeriods is what an arm would do.
type PlannedPeriods struct {
	Arm     Arm
	Trained int64 // items read in training, about
	tested  int64
}

// Run trains and tests the arms, one after the other. Where ctx ends or an arm fails, the report has what was finished.
func (e *PeriodExperiment) Run(ctx context.Context) (*PeriodReport, error) {
	report := &PeriodReport{Sessions: e.Data.Sessions(), Items: e.Data.Items(), Events: e.Data.Events(), LeftOut: e.Data.LeftOut, Cycles: e.cycles(), Threads: runtime.GOMAXPROCS(0)}
	now := e.Now
	if now == nil {
		now = time.Now
	}
	var err error
	if report.Popularity, err = e.popularity(ctx); err != nil {
		return report, err
	}
	var faults []error
	var done int64
	for _, arm := range e.Arms {
		r := &periodRun{e: e, arm: arm, now: now, done: done, result: PeriodArm{Arm: arm}}
		run := r.run
		if arm.Online != nil {
			run = r.online
		}
		err := run(ctx)
		done = r.done
		for _, a := range append([]PeriodArm{r.result}, r.beside...) {
			if len(a.Cycles) > 0 && !slices.ContainsFunc(report.Arms, func(b PeriodArm) bool { return a.Arm.Name == b.Arm.Name }) {
				a.Mean = meanOf(a.Cycles)
				report.Arms = append(report.Arms, a)
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("arm %s: %w", arm.Name, err))
		}
		if ctx.Err() != nil || errors.Is(err, errEvaluated) {
			break
		}
	}
	return report, errors.Join(faults...)
}

// periodRun is one arm under way.
type periodRun struct {
	e       *PeriodExperiment
	arm     Arm
	now     func() time.Time
	network *network
	counts  []int32 // how often each item was in a period that is over
	done    int64
	result  PeriodArm
	beside  []PeriodArm // what else an online arm ranks by
}

func (r *periodRun) run(ctx context.Context) error {
	r.counts = make([]int32, r.e.Data.Items())
	for cycle := range r.e.cycles() {
		if err := r.cycle(ctx, cycle); err != nil {
			return fmt.Errorf("cycle %d: %w", cycle+1, err)
		}
	}
	return nil
}

// cycle trains on period cycle, and tests on the one behind it.
func (r *periodRun) cycle(ctx context.Context, cycle int) error {
	data := r.e.Data
	if r.network == nil || r.arm.Cycles.Scratch {
		var err error
		if r.network, err = newNetwork(r.arm.Model, nil); err != nil {
			return err
		}
	}
	r.network.admit(data.Names[:data.known[cycle]])
	for s := data.first[cycle]; s < data.first[cycle+1]; s++ {
		rows, _ := data.of(s)
		for _, row := range rows {
			r.counts[row]++
		}
	}
	result := CycleResult{Arm: r.arm.Name, Cycle: cycle + 1, Period: data.Labels[cycle+1]}
	epochs := r.arm.epochs(cycle)
	steps, total := 0, 0
	for epoch := 1; epoch <= epochs; epoch++ {
		rng := rand.New(rand.NewPCG(r.arm.Model.Seed, 0x6379636c00000000+uint64(cycle)<<20+uint64(epoch))) // "cycl"
		lesson := r.arm.Cycles.lesson(data, cycle, rng)
		if total == 0 {
			total = epochs * ((len(lesson) + r.arm.Training.Batch - 1) / r.arm.Training.Batch)
		}
		var sum learned
		for _, some := range batches(lesson, func(s int32) int { return min(r.arm.Training.Length, data.start[s+1]-data.start[s]-1) }, r.arm.Training.Batch, rng) {
			if err := ctx.Err(); err != nil {
				return err
			}
			pace := r.arm.Training.paceOf(steps, total)
			if cycle == 0 {
				pace *= r.arm.Cycles.FirstRate
			}
			r.learn(&sum, some, pace, &result)
			steps++
			r.watch(CycleMoment{Cycle: cycle + 1, Epoch: epoch, Epochs: epochs, Loss: sum.mean()})
		}
		if err := sum.stuck(epoch); err != nil {
			return err
		}
		result.Loss = sum.mean()
	}
	r.result.Took += result.Took // before the test: what a live arm learns there is counted by learn
	if err := r.test(ctx, cycle, &result); err != nil {
		return err
	}
	_, digest, err := r.network.Weights()
	if err != nil {
		return err
	}
	r.result.Digest = digest
	r.result.Cycles = append(r.result.Cycles, result)
	r.result.Tokens, r.result.Skipped = r.result.Tokens+result.Tokens, r.result.Skipped+result.Skipped
	if r.e.Tested != nil {
		if err := r.e.Tested(result); err != nil {
			return fmt.Errorf("%w: %w", errEvaluated, err)
		}
	}
	return nil
}

// unread is how many items of a session are targets and no input: the last one, but an online arm reads that, too.
func (a Arm) unread() int {
	if a.Online != nil {
		return 0
	}
	return 1
}

func (a Arm) epochs(cycle int) int {
	if cycle == 0 && a.Cycles.FirstEpochs > 0 {
		return a.Cycles.FirstEpochs
	}
	return a.Training.Epochs
}

// learn trains on sessions.
func (r *periodRun) learn(sum *learned, sessions []int32, pace float64, result *CycleResult) {
	batch := make([]sequence, 0, len(sessions))
	for _, s := range sessions {
		rows, at := r.e.Data.of(int(s))
		q := cut(rows, at, len(rows)-1, r.arm.Training.Length)
		q.learn = len(q.past)
		batch = append(batch, q)
	}
	began := r.now()
	l := r.network.Learn(batch, pace)
	result.Took += r.now().Sub(began)
	sum.add(l)
	result.Tokens += int64(l.tokens)
	result.Skipped += l.skipped
	r.result.Flops += l.flops
	r.done += int64(l.tokens)
}

func (r *periodRun) watch(m CycleMoment) {
	if r.e.Watch != nil {
		m.Arm, m.Cycles, m.Done = r.arm.Name, r.e.cycles(), r.done
		r.e.Watch(m)
	}
}

// askedAtOnce is how many sessions are laid out together, so that prefixes of one length are ranked together.
const askedAtOnce = 256

// test asks for every event of a session of the next period but its first.
func (r *periodRun) test(ctx context.Context, cycle int, result *CycleResult) error {
	data := r.e.Data
	var all cutTally
	atOnce := askedAtOnce
	if r.arm.Cycles.Live {
		atOnce = r.arm.Training.Batch
	}
	var kept []int32
	for from := data.first[cycle+1]; from < data.first[cycle+2]; from += atOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(from+atOnce, data.first[cycle+2])
		var asked []question
		kept = slices.Grow(kept[:0], data.start[to]-data.start[from])
		for s := from; s < to; s++ {
			if (s-data.first[cycle+1])%r.e.every() != 0 {
				continue
			}
			first := len(kept)
			rows, _ := data.of(s)
			for _, row := range rows {
				if int(row) < data.known[cycle] {
					kept = append(kept, row)
				}
			}
			own := kept[first:]
			for i := 1; i < len(own); i++ {
				asked = append(asked, question{sequence: sequence{past: own[max(0, i-r.arm.Training.Length):i], target: own[i]}, place: i})
			}
		}
		slices.SortStableFunc(asked, func(a, b question) int { return len(a.past) - len(b.past) })
		for some := range slices.Chunk(asked, rankedAtOnce) {
			batch := make([]sequence, len(some))
			for i := range some {
				batch[i] = some[i].sequence
			}
			for i, rank := range r.network.Ranks(batch, make([][]int32, len(some))) {
				all.add(rank)
				q := &some[i]
				r.result.slices.add(rank, q.place, r.counts[q.target])
				r.done += int64(len(q.past))
			}
		}
		if r.arm.Cycles.Live {
			r.live(from, to, cycle, result)
		}
		r.watch(CycleMoment{Cycle: cycle + 1, Loss: result.Loss})
	}
	result.Tests, result.Metrics = all.n, all.metrics()
	return nil
}

// question is one target of a test.
type question struct {
	sequence
	place int // in its session, from 0
}

// live lets the model learn sessions that it was asked for. Items that are new to the model stay so until their period is over: what may be asked for is the
// same for all arms.
func (r *periodRun) live(from, to, cycle int, result *CycleResult) {
	data := r.e.Data
	var batch []sequence
	for s := from; s < to; s++ {
		var kept []int32
		rows, _ := data.of(s)
		for _, row := range rows {
			if int(row) < data.known[cycle] {
				kept = append(kept, row)
			}
		}
		if len(kept) < 2 {
			continue
		}
		q := cut(kept, nil, len(kept)-1, r.arm.Training.Length)
		q.learn = len(q.past)
		batch = append(batch, q)
	}
	if len(batch) == 0 {
		return
	}
	began := r.now()
	l := r.network.Learn(batch, 1)
	took := r.now().Sub(began)
	result.Took, r.result.Took = result.Took+took, r.result.Took+took
	result.Tokens, result.Skipped = result.Tokens+int64(l.tokens), result.Skipped+l.skipped
	r.result.Flops += l.flops
	r.done += int64(l.tokens)
}

// popularity is the mean over cycles of ranking by how often an item was clicked in the period that is over.
func (e *PeriodExperiment) popularity(ctx context.Context) (mean CutMetrics, err error) {
	for cycle := range e.cycles() {
		if err := ctx.Err(); err != nil {
			return mean, err
		}
		counts := make([]int32, e.Data.known[cycle])
		for s := e.Data.first[cycle]; s < e.Data.first[cycle+1]; s++ {
			rows, _ := e.Data.of(s)
			for _, row := range rows {
				counts[row]++
			}
		}
		atLeast := make([]int32, 2+slices.Max(counts)) // atLeast[c] is how many items have a count of c or more
		for _, c := range counts {
			atLeast[c]++
		}
		for c := len(atLeast) - 2; c >= 0; c-- {
			atLeast[c] += atLeast[c+1]
		}
		var t cutTally
		for s := e.Data.first[cycle+1]; s < e.Data.first[cycle+2]; s += e.every() {
			rows, _ := e.Data.of(s)
			before := 0
			for _, row := range rows {
				if int(row) >= len(counts) {
					continue
				}
				if before > 0 {
					t.add(atLeast[counts[row]])
				}
				before++
			}
		}
		mean.add(t.metrics())
	}
	mean.scale(1 / float64(max(1, e.cycles())))
	return mean, nil
}
