package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
)

const smallOnline = "online=true,tokens=item,lanes=1,weigh_every=2,batch_parts=32," + smallPeriods

// An online arm is asked the same as the others, is the same in every run, and has a row for each of what its learner ranks by.
func TestAderOnline(t *testing.T) {
	data := rings(t, 4, 150)
	var told []string
	last := int64(0)
	e := PeriodExperiment{Data: data, Arms: periodArms(t, "on:"+smallOnline, "fine:"+smallPeriods),
		Tested: func(c CycleResult) error {
			told = append(told, fmt.Sprintf("%s %d %d %d", c.Arm, c.Cycle, c.Period, c.Tests))
			return nil
		}, Watch: func(m CycleMoment) {
			if m.Done < last {
				t.Errorf("%d items are done after %d", m.Done, last)
			}
			last = m.Done
		}}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	by := map[string]*PeriodArm{}
	for i := range r.Arms {
		a := &r.Arms[i]
		names, by[a.Arm.Name] = append(names, a.Arm.Name), a
		if len(a.Cycles) != 3 || a.Mean.Recall[3] < 0.9 {
			t.Errorf("%s: %+v in %d cycles", a.Arm.Name, a.Mean, len(a.Cycles))
		}
	}
	if diff := cmp.Diff([]string{"on", "on + blend", "on: item_to_item alone", "on: v_sknn alone", "on: stan alone", "on: vstan alone", "fine"}, names); diff != "" {
		t.Fatal(diff)
	}
	if len(told) != 3*7 {
		t.Errorf("%q", told)
	}
	for c := range 3 {
		if on, fine := by["on"].Cycles[c].Tests, by["fine"].Cycles[c].Tests; on != fine || on == 0 {
			t.Errorf("cycle %d: %d tests online, %d of the network", c+1, on, fine)
		}
	}
	if by["on"].Digest == "" || by["on"].Tokens == 0 || by["on"].Flops == 0 || by["on + blend"].Tokens != 0 {
		t.Errorf("%+v", by["on"])
	}
	var html strings.Builder
	if err := r.Page(About{}).Write(&html); err != nil || !strings.Contains(html.String(), "on: vstan alone") {
		t.Errorf("the page of %d arms: %v", len(r.Arms), err)
	}
	again, err := (&PeriodExperiment{Data: data, Arms: periodArms(t, "again:"+smallOnline)}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again.Arms[0].Digest != by["on"].Digest || again.Arms[1].Mean != by["on + blend"].Mean {
		t.Error("the same arm without the others finds something else")
	}
}

// What the tables know is of the periods that are over, each click once: neither the test nor a second epoch is counted.
func TestAderOnlineTables(t *testing.T) {
	data := rings(t, 3, 60)
	r := &periodRun{e: &PeriodExperiment{Data: data, Limit: 1}, arm: periodArms(t, "on:"+smallOnline)[0], now: time.Now}
	r.result.Arm = r.arm
	o, err := r.begun()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.cycle(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for _, row := range data.rows[:data.start[data.first[1]]] {
		want[data.Names[row]]++
	}
	got := map[string]int64{}
	for name := range want {
		if row, ok := o.learner.Model().Row(name); ok {
			got[name] = o.learner.Live().Clicks(row)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || o.learner.Model().Items() != data.known[0] {
		t.Errorf("%d items, %d known: %s", o.learner.Model().Items(), data.known[0], diff)
	}
	before, pooled := weights(t, o.learner), blendOf(t, o.learner)
	tallies, err := o.test(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if tallies[0].n == 0 || weights(t, o.learner) != before || !cmp.Equal(blendOf(t, o.learner), pooled) {
		t.Errorf("a test of %d moves weights, or those of the blend", tallies[0].n)
	}
	if err := o.each(t.Context(), newPeriodLog(data, data.first[1], data.first[2], 1, data.known[0]), o.learner.Weigh, 0, 0); err != nil {
		t.Fatal(err)
	}
	if weights(t, o.learner) != before || cmp.Equal(blendOf(t, o.learner), pooled) {
		t.Error("to weigh moves weights of the model, or none of the blend")
	}
	if o.learner.Live().Clicks(0) != want[o.learner.Model().ID(0)] {
		t.Error("to weigh counts clicks")
	}
}

// While the network learns a period, the tables have counted none of it: what they say of a click is what they could say of one that is asked for.
func TestAderOnlineLearnsWhatIsUnseen(t *testing.T) {
	data := rings(t, 3, 60)
	var o *onlineRun
	counted := map[int64]int{}
	r := &periodRun{e: &PeriodExperiment{Data: data, Limit: 2, Watch: func(m CycleMoment) {
		if m.Epoch > 0 {
			sum := int64(0)
			for row := range model.Row(o.learner.Model().Items()) {
				sum += o.learner.Live().Clicks(row)
			}
			counted[sum]++
		}
	}}, arm: periodArms(t, "on:"+smallOnline)[0], now: time.Now}
	r.result.Arm = r.arm
	var err error
	if o, err = r.begun(); err != nil {
		t.Fatal(err)
	}
	for cycle := range 2 {
		if err := o.cycle(t.Context(), cycle); err != nil {
			t.Fatal(err)
		}
	}
	want := []int64{0, int64(data.start[data.first[1]/2]), int64(data.start[data.first[1]])}
	if got := slices.Sorted(maps.Keys(counted)); !slices.Equal(got, want) {
		t.Errorf("the network learned when the tables had counted %d clicks, want %d: before the first half, behind it, and behind the first period", got, want)
	}
}

// What is asked of every nth session is what is asked of those sessions where all are.
func TestAderEvery(t *testing.T) {
	data := rings(t, 2, 90)
	asked := 0
	for s := data.first[1]; s < data.first[2]; s += 3 {
		rows, _ := data.of(s)
		asked += len(rows) - 1
	}
	e := PeriodExperiment{Data: data, Every: 3, Arms: periodArms(t, "fine:"+smallPeriods, "on:"+smallOnline)}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.Arms {
		if a.Cycles[0].Tests != asked {
			t.Errorf("%s: %d tests, want %d", a.Arm.Name, a.Cycles[0].Tests, asked)
		}
	}
}

// A log gives the parts of a session before one of them, without items that nobody knows.
func TestPeriodLog(t *testing.T) {
	var b PeriodBuilder
	for i, e := range []string{"s a", "u b", "s b", "s new", "u a", "s a"} {
		session, item, _ := strings.Cut(e, " ")
		b.AddAt(session, item, 1, schema.EventTime(100+i))
	}
	b.AddAt("z", "b", 0, 1)
	b.AddAt("z", "a", 0, 2)
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	log := newPeriodLog(data, data.first[1], data.first[2], 1, data.known[0])
	text := func(parts []schema.Part) (out string) {
		for _, p := range parts {
			out += fmt.Sprintf("%s%d%s ", p.UserID, p.Number, p.Clicks[0].ItemID)
		}
		return out
	}
	if got := text(log.parts); got != "10a 20b 11b 21a 12a " {
		t.Errorf("%q", got)
	}
	past, err := log.History(0, "1", log.parts[4].Emit, 5)
	if err != nil || text(past) != "10a 11b " {
		t.Errorf("%q, %v", text(past), err)
	}
	if past, _ = log.History(0, "1", log.parts[4].Emit, 1); text(past) != "11b " {
		t.Errorf("%q", text(past))
	}
	users, err := log.Users(0, "1", 9, func([]byte) bool { return true })
	if err != nil || fmt.Sprint(users) != "[2]" {
		t.Errorf("%v, %v", users, err)
	}
}

func TestOnlineArmFaults(t *testing.T) {
	_, err := ParsePeriodArms([]string{"e:online=true,rehearse=1", "f:online=true,terms=false,rehearse=1", "a:online=true,scratch=true", "b:online=true,live=true", "c:online=true,weigh_every=0,batch_parts=0,kappa=-1", "d:kappa=3"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"online=true with scratch=true", "online=true with live=true", "--arm e: online=true with rehearse", "weigh_every=0", "batch_parts=0", "baseline kappa", `--arm d: there is no key "kappa"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	arm := periodArms(t, "a:"+smallOnline+",vstan.remind=true,half_life_3=100h")[0]
	if again := periodArms(t, "a:"+arm.Settings())[0]; !cmp.Equal(arm, again) {
		t.Errorf("%s is another arm: %s", arm.Settings(), again.Settings())
	}
}

func weights(t *testing.T, l *learn.Learner) string {
	t.Helper()
	_, digest, err := weightsOf(l.Model())
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func blendOf(t *testing.T, l *learn.Learner) schema.Table {
	t.Helper()
	tables, err := l.Shared()
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range tables {
		if named.Name == "blend" {
			return named.Table
		}
	}
	t.Fatal("there is no blend")
	return schema.Table{}
}
