package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
)

// rings is sessions over periods, in each of which the rings that sessions walk through are turned by one: what follows an item is another one.
func rings(t *testing.T, periods, sessions int) *Periods {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	var b PeriodBuilder
	for p := range periods {
		for s := range sessions {
			ring, at := rng.IntN(4), rng.IntN(10)
			for k := range 2 + rng.IntN(5) {
				b.AddAt(fmt.Sprint("s", s), fmt.Sprint("i", ring*10+(at+k*(1+p%3))%10), p+7, schema.EventTime(p*1_000_000+s*1000+k))
			}
		}
	}
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func periodArms(t *testing.T, specs ...string) []Arm {
	t.Helper()
	arms, err := ParsePeriodArms(specs)
	if err != nil {
		t.Fatal(err)
	}
	return arms
}

const smallPeriods = "dim=16,heads=1,blocks=1,length=8,batch=16,epochs=6,lr=0.01"

func TestPeriods(t *testing.T) {
	var b PeriodBuilder
	for i, e := range []struct {
		session, item string
		period        int
	}{{"s2", "c", 5}, {"s1", "a", 2}, {"s1", "b", 2}, {"alone", "x", 2}, {"s2", "a", 5}, {"s1", "d", 5}, {"s1", "b", 5}, {"early", "b", 2}, {"early", "a", 2}} {
		at := schema.EventTime(100 + i)
		if e.session == "early" {
			at -= 50
		}
		b.AddAt(e.session, e.item, e.period, at)
	}
	p, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for s := range p.Sessions() {
		rows, _ := p.of(s)
		for _, r := range rows {
			got += p.Names[r]
		}
		got += " "
	}
	// By period, then by their first event; x is in a session of one event, so it is in no corpus; s1 of period 5 is another session.
	if got != "ba ab ca db " || fmt.Sprint(p.Labels, p.first, p.known, p.LeftOut, p.Cycles()) != "[2 5] [0 2 4] [2 4] 1 1" {
		t.Errorf("%q, %v %v %v %d %d", got, p.Labels, p.first, p.known, p.LeftOut, p.Cycles())
	}
	for _, tc := range []struct {
		add  func(*PeriodBuilder)
		says string
	}{
		{func(*PeriodBuilder) {}, "no event"},
		{func(b *PeriodBuilder) { b.AddAt("s", "a", 3, 1); b.AddAt("s", "b", 3, 2) }, "all of it is in period 3"},
		{func(b *PeriodBuilder) { b.AddAt("s", "a", 3, 1); b.AddAt("s", "b", 3, 2); b.AddAt("s", "b", 4, 2) }, "period 4 has no session of two"},
	} {
		var b PeriodBuilder
		tc.add(&b)
		if _, err := b.Finish(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v does not say %q", err, tc.says)
		}
	}
}

// An arm that is brought up to date beats one that is not, and one that rehearses or is trained on everything knows what has come back.
func TestAder(t *testing.T) {
	data := rings(t, 5, 150)
	var told []string
	last := int64(0)
	e := PeriodExperiment{Data: data, Arms: periodArms(t, "fine:"+smallPeriods, "joint:periods=0,scratch=true,"+smallPeriods, "rehearse:rehearse=0.5,rehearse_half_life=1,"+smallPeriods, "live:live=true,"+smallPeriods),
		Tested: func(c CycleResult) error {
			told = append(told, fmt.Sprintf("%s %d %d", c.Arm, c.Cycle, c.Period))
			return nil
		}, Watch: func(m CycleMoment) { last = m.Done }}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 16 || told[0] != "fine 1 8" || told[15] != "live 4 11" {
		t.Errorf("%q", told)
	}
	if plan := e.Plan(); last > plan.Total*21/20 || last < plan.Total*9/10 {
		t.Errorf("%d items read, %d planned", last, plan.Total)
	}
	by := map[string]*PeriodArm{}
	for i := range r.Arms {
		a := &r.Arms[i]
		by[a.Arm.Name] = a
		t.Logf("%s: %.3f %.3f", a.Arm.Name, a.Mean.Recall[0], a.Mean.MRR20())
		sum := 0.
		for _, c := range a.Cycles {
			sum += c.Metrics.MRR20() / 4
		}
		if math.Abs(sum-a.Mean.MRR20()) > 1e-12 || a.Mean.Recall[3] != 1 || a.Digest == "" || a.Tokens == 0 || a.Flops == 0 {
			t.Errorf("%s: %+v", a.Arm.Name, a.Mean)
		}
	}
	// The rings turn with every period: only who goes on learning within it is right.
	if by["live"].Mean.MRR20() <= by["fine"].Mean.MRR20()+0.05 {
		t.Errorf("live %.3f, finetuned %.3f", by["live"].Mean.MRR20(), by["fine"].Mean.MRR20())
	}
	if by["joint"].Tokens < 2*by["fine"].Tokens || by["rehearse"].Tokens <= by["fine"].Tokens {
		t.Errorf("tokens: joint %d, rehearse %d, fine %d", by["joint"].Tokens, by["rehearse"].Tokens, by["fine"].Tokens)
	}
	again, err := (&PeriodExperiment{Data: data, Arms: periodArms(t, "again:"+smallPeriods)}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again.Arms[0].Digest != by["fine"].Digest || again.Arms[0].Mean != by["fine"].Mean {
		t.Error("the same arm without the others gives other weights")
	}
	table := strings.Join(strings.Fields(r.Table()), " ")
	for _, want := range []string{"recall@20", "live (live)", "(popularity)", "4 cycles", "MRR@20: live - fine is +"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not say %q:\n%s", want, r.Table())
		}
	}
	var j struct {
		Protocol string
		Arms     []struct {
			Name    string
			Metrics map[string]float64
		}
		Comparisons []Difference
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &j); err != nil || j.Protocol != "ader" || len(j.Arms) != 4 || len(j.Arms[0].Metrics) != 12 || len(j.Comparisons) != 6 {
		t.Errorf("%v: %s", err, b)
	}
	over := r.Over()
	if names, _ := schema.Col[[]string](over, "arm"); len(names) != 16 || len(over.Columns) != 18 {
		t.Errorf("%d rows, %d columns", len(names), len(over.Columns))
	}
}

// What is asked and what is removed, against a ranking that is known: the popularity of the period before.
func TestAderAsks(t *testing.T) {
	var b PeriodBuilder
	add := func(session string, period int, items ...string) {
		for k, item := range items {
			b.AddAt(session, item, period, schema.EventTime(period*1000+k))
		}
	}
	add("s", 0, "a", "a", "a", "b", "b", "c")
	add("s", 1, "new", "b", "new", "c", "a") // new is not known: b, c, a are left, and c and a are asked for
	add("s", 2, "new", "b")
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	e := PeriodExperiment{Data: data, Arms: periodArms(t, "a:"+smallPeriods)}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Arms[0].Cycles; c[0].Tests != 2 || c[1].Tests != 1 {
		t.Errorf("%+v", c)
	}
	// Cycle 1: c has rank 3, a rank 1. Cycle 2: counts of period 1 are new 2, a, b, c 1 each, ties against b: rank 4.
	want := CutMetrics{Recall: [4]float64{0.25, 1, 1, 1}}
	want.MRR = [4]float64{0.25, (2./3 + 0.25) / 2, (2./3 + 0.25) / 2, (2./3 + 0.25) / 2}
	if diff := cmp.Diff(want.Recall, r.Popularity.Recall); diff != "" {
		t.Error(diff)
	}
	for i, v := range want.MRR {
		if math.Abs(v-r.Popularity.MRR[i]) > 1e-12 {
			t.Errorf("MRR %v, want %v", r.Popularity.MRR, want.MRR)
		}
	}
}

func TestPeriodArmFaults(t *testing.T) {
	_, err := ParsePeriodArms([]string{"a:periodz=2", "b:rehearse=-1,periods=-2,first_rate=0", "c:rehearse=1,periods=0", "d:rehearse_half_life=-1,first_epochs=-1"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`no key "periodz": did you mean periods?`, "rehearse=-1: must", "periods=-2: must", "first_rate=0: must", "all sessions are trained on already", "first_epochs=-1", "rehearse_half_life=-1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	arm := periodArms(t, "a:"+smallPeriods+",periods=3,live=true")[0]
	if again := periodArms(t, "a:"+arm.Settings())[0]; !cmp.Equal(arm, again) {
		t.Errorf("%s is another arm: %s", arm.Settings(), again.Settings())
	}
}
