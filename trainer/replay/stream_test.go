package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// memoryFeed is a log in memory.
type memoryFeed struct {
	parts []schema.Part
	at    int
}

func (f *memoryFeed) Next(_ context.Context, limit int) ([]schema.Part, schema.Progress, error) {
	if f.at == len(f.parts) {
		return nil, schema.Progress{}, io.EOF
	}
	to := min(f.at+min(limit, 7), len(f.parts)) // fewer than are asked for: how a log is read must not matter
	some := f.parts[f.at:to]
	f.at = to
	return some, schema.Progress{Through: some[len(some)-1].Due}, nil
}

func (f *memoryFeed) History(_ schema.Partition, user string, before schema.Emit, n int) (parts []schema.Part, err error) {
	for i := int(before) - 1; i >= 0 && len(parts) < n; i-- {
		if f.parts[i].UserID == user {
			parts = append(parts, f.parts[i])
		}
	}
	slices.Reverse(parts)
	return parts, nil
}

func (f *memoryFeed) Users(_ schema.Partition, after string, n int, keep func([]byte) bool) (users []string, err error) {
	for i := range f.parts {
		users = append(users, f.parts[i].UserID)
	}
	slices.Sort(users)
	users = slices.DeleteFunc(slices.Compact(users), func(u string) bool { return u <= after || !keep([]byte(u)) })
	return users[:min(n, len(users))], nil
}

// drifting is clicks, one a part and a second, of users who walk through rings of items whose step turns every few minutes: who knows the step of now is right.
func drifting(n int) []schema.Part {
	rng := rand.New(rand.NewPCG(11, 11))
	at := make([]int, 40)
	for u := range at {
		at[u] = rng.IntN(60)
	}
	var parts []schema.Part
	for i := range n {
		u := rng.IntN(len(at))
		at[u] = at[u]/12*12 + (at[u]+1+i/400%3)%12
		when := schema.EventTime(1_700_000_000_000 + i*1000)
		parts = append(parts, schema.Part{UserID: fmt.Sprint("u", u), SessionStart: 1_700_000_000_000 + schema.EventTime(u), Emit: schema.Emit(i), Due: when + 500,
			Clicks: []schema.Click{{UserID: fmt.Sprint("u", u), ItemID: fmt.Sprint("i", at[u]), EventTime: when, Action: schema.ActionClick}}})
	}
	return parts
}

func streamArms(t *testing.T, specs ...string) []StreamArm {
	t.Helper()
	arms, err := ParseStreamArms(specs, StreamArm{Learn: learn.DefaultConfig(), Online: DefaultOnline()})
	if err != nil {
		t.Fatal(err)
	}
	return arms
}

func streamOf(t *testing.T, parts []schema.Part, bounds Bounds, specs ...string) *StreamExperiment {
	t.Helper()
	e := &StreamExperiment{Open: func() (Feed, error) { return &memoryFeed{parts: parts}, nil }, Bounds: bounds, Arms: streamArms(t, specs...)}
	f, _ := e.Open()
	var err error
	if e.Survey, err = Look(t.Context(), f, bounds); err != nil {
		t.Fatal(err)
	}
	return e
}

const smallStream = "dim=16,heads=1,blocks=1"

func TestStream(t *testing.T) {
	parts := drifting(4000)
	moments, last := 0, StreamMoment{}
	e := streamOf(t, parts, Bounds{}, "fresh:"+smallStream, "late:delay=5m,"+smallStream, "weights:weights_delay=5m,"+smallStream, "frozen:freeze_after=10m,"+smallStream, "no delay:delay=0s,"+smallStream)
	e.Watch = func(m StreamMoment) { moments, last = moments+1, m }
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e.Survey.Clicks != 4000 || e.Survey.Last-e.Survey.First != 3999_000 || last.Done != e.Plan().Total || moments == 0 {
		t.Errorf("%+v, %d moments, the last %+v", e.Survey, moments, last)
	}
	recall := map[string]float64{}
	whole := r.kindNamed(evaluate.NextClick).Whole
	for _, name := range r.names {
		s, ok := whole.Arm(name)
		if !ok {
			t.Errorf("%s has not judged every test", name)
		}
		recall[name] = s.Recall1
	}
	t.Log(recall)
	if recall["fresh"] <= recall["late"]+0.05 || recall["fresh"] <= recall["frozen"] || recall["weights"] <= recall["late"] {
		t.Errorf("%v", recall)
	}
	fresh, late, weights, frozen, same := &r.Arms[0], &r.Arms[1], &r.Arms[2], &r.Arms[3], &r.Arms[4]
	if fresh.Digest != same.Digest || fresh.Digest == late.Digest || late.Tokens >= fresh.Tokens || weights.Tokens >= fresh.Tokens || frozen.Tokens*3 > fresh.Tokens {
		t.Errorf("tokens: fresh %d, late %d, weights %d, frozen %d", fresh.Tokens, late.Tokens, weights.Tokens, frozen.Tokens)
	}
	// What is late with the weights only has learned the same as what is late as a whole: the same batches, with tables as they were then.
	if late.Steps != weights.Steps || late.Steps == 0 {
		t.Errorf("%d and %d steps", late.Steps, weights.Steps)
	}

	// An arm's own evaluation is what the joint one says of it: nothing is lost between them, but what it could not be asked.
	own, _ := fresh.Own.Kinds[0].Whole.Arm("model")
	if joint, _ := whole.Arm("fresh"); own.Recall20 != joint.Recall20 || own.MRR20 != joint.MRR20 {
		t.Errorf("%+v by itself, %+v together", own, joint)
	}

	table := strings.Join(strings.Fields(r.Table()), " ")
	for _, want := range []string{"next click recall@1", "fresh + blend", "(v_sknn)", "recall@20: late - fresh is -", "CPU s"} {
		if !strings.Contains(table, want) {
			t.Errorf("it does not say %q:\n%s", want, r.Table())
		}
	}
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"cpu_seconds"`) || !strings.Contains(string(b), `"kind":"next_click"`) {
		t.Errorf("%v: %s", err, b)
	}
	over := r.Over()
	tests := int64(0)
	names, _ := schema.Col[[]string](over, "arm")
	kinds, _ := schema.Col[[]string](over, "kind")
	counts, _ := schema.Col[[]int64](over, "tests")
	for i := range names {
		if names[i] == "fresh" && kinds[i] == "next_click" {
			tests += counts[i]
		}
	}
	if tests != whole.Tests || tests == 0 {
		t.Errorf("%d tests over time, %d in all", tests, whole.Tests)
	}
	var page strings.Builder
	if err := r.Page(About{Command: "freshet replay", Input: "rings", At: time.Unix(1, 0)}).Write(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Freshness against quality", "weights late, tables live", "By place in the session", "difference to fresh"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// An arm alone, and over a part of the log, is as it is beside others.
func TestStreamArmAlone(t *testing.T) {
	parts := drifting(1500)
	all, err := streamOf(t, parts, Bounds{Limit: 1000}, "first:"+smallStream, "second:delay=1m,"+smallStream).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alone, err := streamOf(t, parts[:1000], Bounds{}, "second:delay=1m,"+smallStream).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all.Arms[1].Digest != alone.Arms[0].Digest || all.Arms[1].Clicks != 1000 {
		t.Errorf("%d clicks; other weights beside another arm", all.Arms[1].Clicks)
	}
	at := parts[500].Clicks[0].EventTime
	e := streamOf(t, parts, Bounds{From: at, Until: at + 100_000}, "a:"+smallStream)
	if r, err := e.Run(t.Context()); err != nil || r.Arms[0].Clicks != 100 || e.Survey.First != at {
		t.Errorf("%v: %+v, %+v", err, r, e.Survey)
	}
}

func TestStreamInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := streamOf(t, drifting(1000), Bounds{}, "a:"+smallStream, "b:"+smallStream)
	e.Watch = func(m StreamMoment) {
		if m.Arm == "b" {
			cancel()
		}
	}
	r, err := e.Run(ctx)
	if !errors.Is(err, context.Canceled) || len(r.Arms) != 1 || !strings.Contains(r.Table(), "a + blend") {
		t.Errorf("%v: %d arms", err, len(r.Arms))
	}
}

func TestStreamArmFaults(t *testing.T) {
	_, err := ParseStreamArms([]string{"a:delai=1m,dims=3", "b:batch_parts=0,batch_span=0s,delay=-1m", "c:delay=1m,weights_delay=1m", "c:blocks=0", ":x=1", "d:preset=froze"},
		StreamArm{Learn: learn.DefaultConfig(), Online: DefaultOnline()})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`no key "delai": did you mean delay?`, `"dims": did you mean dim?`, "batch_parts=0", "batch_span=0s", "delay=-1m0s", "both given", "two of this name", "--arm c: model blocks: 0", "it has no name", `no preset "froze"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	arm := streamArms(t, "a:delay=10m,half_life_1=3h,terms=false,"+smallStream)[0]
	if again := streamArms(t, "a:"+arm.Settings())[0]; again.Settings() != arm.Settings() || again.Learn.Baseline.HalfLife1 != 3*time.Hour || again.Learn.Model.Terms {
		t.Errorf("%s is another arm: %s", arm.Settings(), again.Settings())
	}
}

// The policies are the same code with other keys: by the day, here two minutes, a full retraining reads more than a partial one, that more than an incremental one
// of the same epochs, and all of them learn.
func TestStreamPolicies(t *testing.T) {
	const often = ",period=2m," + smallStream
	r, err := streamOf(t, drifting(3000), Bounds{}, "fast:preset=fast,"+smallStream, "both:preset=fast-pit"+often, "pit:preset=pit,buckets=3,window=3"+often,
		"incremental:preset=incremental"+often, "full:preset=full"+often).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole := r.kindNamed(evaluate.NextClick).Whole
	by := map[string]*StreamArmReport{}
	for i := range r.Arms {
		a := &r.Arms[i]
		by[a.Arm.Name] = a
		s, _ := whole.Arm(a.Arm.Name)
		t.Logf("%s: %d steps, %d tokens, recall@1 %.3f", a.Arm.Name, a.Steps, a.Tokens, s.Recall1)
		if a.Steps == 0 || a.Tokens == 0 || a.Flops == 0 {
			t.Errorf("%s has learned nothing", a.Arm.Name)
		}
	}
	if by["full"].Tokens <= by["incremental"].Tokens || by["both"].Tokens <= by["fast"].Tokens || by["both"].Digest == by["fast"].Digest {
		t.Errorf("tokens: full %d, pit %d, incremental %d, both %d, fast %d", by["full"].Tokens, by["pit"].Tokens, by["incremental"].Tokens, by["both"].Tokens, by["fast"].Tokens)
	}
}
