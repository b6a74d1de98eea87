package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// walks are users who walk through rings of items: what they do next is easy to learn. In each of the formats that tell of it.
func walks(users int) (pairs, lists, rows string) {
	rng := rand.New(rand.NewPCG(5, 5))
	var p, l, c strings.Builder
	c.WriteString("ts,item,extra,user\n")
	for u := range users {
		ring, at := rng.IntN(4), rng.IntN(10)
		fmt.Fprintf(&l, "u%d", u)
		for k := range 4 + rng.IntN(4) {
			item := fmt.Sprintf("i%d", ring*10+(at+k)%10)
			fmt.Fprintf(&p, "u%d\t%s\n", u, item)
			fmt.Fprintf(&l, " %s", item)
			fmt.Fprintf(&c, "%d,%s,x,u%d\n", 1700000000+k, item, u)
		}
		l.WriteString("\n")
	}
	return p.String(), l.String(), c.String()
}

// written puts a file into a folder of the test, compressed where its name says so.
func written(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	data := []byte(content)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(data)
		w.Close()
		data = b.Bytes()
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type replayed struct {
	Protocol string
	Arms     []struct {
		Name            string
		Metrics         map[string]float64
		TokensPerSecond float64 `json:"tokens_per_second"`
		PeakShare       float64 `json:"peak_share"`
		Epochs          int
		Seconds         float64
		Digest          string
	}
}

// resultIn reads the last line of standard output.
func resultIn(t *testing.T, stdout string) (r replayed) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("the last line is no result: %v\n%s", err, stdout)
	}
	return r
}

const quickArm = "dim=16,heads=1,blocks=1,length=8,batch=16,lr=0.005,epochs=4"

func TestReplay(t *testing.T) {
	t.Parallel()
	pairs, lists, rows := walks(120)
	table := filepath.Join(t.TempDir(), "results.csv")
	args := []string{"replay", "--protocol", "leave-one-out", "--arm", "quick:" + quickArm + ",eval_every=3", "--arm", "slow: " + strings.Replace(quickArm, "lr=0.005", "lr=1e-6,row_rate=1e-6", 1), "--json"}
	digest := ""
	for _, tc := range []struct{ name, content string }{
		{"walks.txt.gz", pairs}, {"walks.txt", lists}, {"walks", lists},
	} {
		out, errs, code := freshet(t, nil, append(args, "--csv", table, written(t, tc.name, tc.content))...)
		if code != 0 {
			t.Fatalf("%s: exit %d: %s", tc.name, code, errs)
		}
		for _, want := range []string{"HR@10", "NDCG@200", "tokens/s", "(popularity)", "Rule: the last item of each user", "Users tested: 120; left out, with fewer than 3 items: 0"} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("%s: it does not print %q:\n%s", tc.name, want, out)
			}
		}
		r := resultIn(t, out)
		if r.Protocol != "leave-one-out" || len(r.Arms) != 2 || r.Arms[0].Name != "quick" || r.Arms[1].Name != "slow" {
			t.Fatalf("%+v", r)
		}
		a := r.Arms[0]
		for _, name := range []string{"hr_at_10", "ndcg_at_10", "hr_at_50", "ndcg_at_50", "hr_at_200", "ndcg_at_200", "mrr"} {
			if v, ok := a.Metrics[name]; !ok || v <= 0 || v > 1 {
				t.Errorf("%s is %v", name, v)
			}
		}
		if len(a.Metrics) != 7 || a.Metrics["hr_at_10"] < 0.8 || r.Arms[1].Metrics["hr_at_10"] >= a.Metrics["hr_at_10"] {
			t.Errorf("what learns does not beat what does not: %+v", r)
		}
		if a.TokensPerSecond <= 0 || a.PeakShare <= 0 || a.PeakShare > 1 || a.Epochs != 4 || a.Seconds <= 0 || len(a.Digest) != 64 {
			t.Errorf("%+v", a)
		}
		if digest != "" && digest != a.Digest {
			t.Errorf("%s: the same sequences give other weights", tc.name)
		}
		digest = a.Digest
		file, err := os.Open(table)
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(file).ReadAll()
		file.Close()
		if err != nil || len(records) != 4 {
			t.Fatalf("%v: %q", err, records)
		}
		if got := records[0][0] + records[1][0] + records[1][1] + records[2][1] + records[3][0]; got != "armquick34slow" || records[2][len(records[2])-1] != digest {
			t.Errorf("%q", records)
		}
	}

	// A file with times, its columns in any order, on standard input; not the same weights, because the model sees the times.
	c := spawn{args: append(args, "--format", "csv", "-"), stdin: strings.NewReader(rows)}.start(t)
	if code := c.wait(t); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if r := resultIn(t, c.stdout.String()); r.Arms[0].Metrics["hr_at_10"] < 0.8 {
		t.Errorf("%+v", r)
	}
}

func TestReplayDryRun(t *testing.T) {
	t.Parallel()
	pairs, _, _ := walks(50)
	file := written(t, "walks.txt", pairs+"short\ti1\nshort\ti2\n")
	table := filepath.Join(t.TempDir(), "results.csv")
	args := []string{"replay", "--protocol", "leave-one-out", file, "--arm", "a:" + quickArm, "--dry-run", "--csv", table}
	out, errs, code := freshet(t, nil, args...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{"(pairs): 50 users, 40 items", "1 users with fewer than 3 items are left out", "tokens/epoch", "\na:", ",batch=16,", "Nothing was trained"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat(table); err == nil {
		t.Error("it made the table")
	}
	out, _, _ = freshet(t, nil, append(args, "--json")...)
	var plan struct {
		DryRun                 bool `json:"dry_run"`
		Users, Items, Events   int
		Arms                   []struct{ Parameters, Epochs int }
		Protocol, LeftOutUsers string
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || !plan.DryRun || plan.Users != 50 || plan.Items != 40 || len(plan.Arms) != 1 || plan.Arms[0].Parameters == 0 || plan.Arms[0].Epochs != 4 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReplayRefusals(t *testing.T) {
	t.Parallel()
	pairs, lists, rows := walks(20)
	good := written(t, "walks.txt", pairs)
	other := written(t, "other.csv", "something else\n")
	cut := written(t, "cut.txt.gz", pairs)
	if b, err := os.ReadFile(cut); err != nil || os.WriteFile(cut, b[:len(b)/2], 0o600) != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, 5000)
	for i := range garbage {
		garbage[i] = byte(rand.IntN(256))
	}
	for _, tc := range []struct {
		name string
		args []string
		says []string
	}{
		{"all faults", []string{good, "--arm", "a:dims=3,blocks=x", "--arm", "a:epochs=0", "--arm", "b:preset=none_such", "--format", "xml", "--csv", other},
			[]string{"7 things went wrong", `"dims": did you mean dim?`, "blocks=x", "epochs=0", "two of this name", `preset "none_such"`, "--format xml is not known: give one of csv", "other.csv is there already"}},
		{"no protocol", nil, nil}, // below
		{"empty", []string{written(t, "e.txt", "")}, []string{"e.txt: it is empty"}},
		{"empty csv", []string{written(t, "e.csv", "")}, []string{"e.csv is empty"}},
		{"csv without rows", []string{written(t, "h.csv", "user,item,ts\n")}, []string{"h.csv: there is no event"}},
		{"short users", []string{written(t, "s.csv", "user,item,ts\nu,i,1\nu,j,2\nv,i,3\n")}, []string{"none of its 2 users has 3 items"}},
		{"bad time", []string{written(t, "t.csv", rows+"yesterday,i1,x,u1\n")}, []string{"t.csv: line ", "yesterday", "RFC 3339", "correct or remove"}},
		{"no item", []string{written(t, "t.csv", "user,item,ts\nu,,5\n")}, []string{"line 2:", "correct or remove"}},
		{"jsonl", []string{written(t, "t.jsonl", "{\"user_id\":\"u\",\"item_id\":\"i\",\"timestamp\":1700000000}\nnot json\n")}, []string{"t.jsonl: line 2:"}},
		{"csv as text", []string{written(t, "t.txt", rows)}, []string{"give --format csv"}},
		{"three fields", []string{written(t, "t.txt", pairs+"u1 i1 5\n"), "--format", "pairs"}, []string{"t.txt: line ", "more than two fields"}},
		{"twice", []string{written(t, "t.txt", lists+"u3 i1 i2\n"), "--format", "lists"}, []string{"t.txt: line 21:", `"u3" was in line 4 already`}},
		{"unclear", []string{written(t, "t.txt", "a b c\nd e f\n")}, []string{"not clear", "--format pairs"}},
		{"garbage", []string{written(t, "t.bin", string(garbage))}, []string{"t.bin"}},
		{"garbage as pairs", []string{written(t, "t.bin", string(garbage)), "--format", "pairs"}, []string{"t.bin: line "}},
		{"garbage as csv", []string{written(t, "t.csv", string(garbage))}, []string{"t.csv"}},
		{"breaks off", []string{cut}, []string{"cut.txt.gz", "break off"}},
		{"missing", []string{good + "x"}, []string{"no such file"}},
		{"directory", []string{filepath.Dir(good)}, []string{"directory"}},
		{"over itself", []string{good, "--csv", good}, []string{"is the file that is read"}},
		{"order", []string{good, "--sort", "yes"}, []string{"--sort is not for"}},
		{"fields", []string{good, "--format", "lists", "--fields", "user_id=who"}, []string{"--fields is for csv and jsonl"}},
		{"nothing to train on", []string{written(t, "t.txt", "a 1 2 3\nb 3 2 1\nc 4 5 6\nd 7 8 9\n"), "--format", "lists", "--validate"}, []string{"--validate", "four"}},
	} {
		args := append([]string{"--protocol", "leave-one-out"}, tc.args...)
		if tc.args == nil {
			args, tc.says = []string{good}, []string{"is not known from its ending"} // prequential needs times
		}
		refusesReplay(t, tc.name, args, tc.says...)
	}
	if b, _ := os.ReadFile(other); string(b) != "something else\n" {
		t.Error("a file that is no table of results was written over")
	}
}

// refusesReplay checks that a replay ends before it trains, and what it says is wrong.
func refusesReplay(t *testing.T, name string, args []string, says ...string) {
	t.Helper()
	out, errs, code := freshet(t, nil, append([]string{"replay"}, args...)...)
	if code != 1 || out != "" {
		t.Errorf("%s: exit %d, standard output %q", name, code, out)
	}
	for _, want := range says {
		if !strings.Contains(errs, want) {
			t.Errorf("%s: it does not say %q:\n%s", name, want, errs)
		}
	}
}

func TestReplayInterrupt(t *testing.T) {
	t.Parallel()
	pairs, _, _ := walks(60)
	table := filepath.Join(t.TempDir(), "results.csv")
	c := spawn{args: []string{"replay", "--protocol", "leave-one-out", written(t, "walks.txt", pairs), "--json", "--csv", table,
		"--arm", "first:" + quickArm, "--arm", "long:" + strings.Replace(quickArm, "epochs=4", "epochs=1000000,eval_every=5", 1)}}.start(t)
	second := regexp.MustCompile(`(?m)^long,`)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(table); second.Match(b) {
			break
		}
		if !c.running() || time.Since(began) > patience {
			t.Fatal("the second arm is not evaluated")
		}
	}
	c.cmd.Process.Signal(syscall.SIGINT)
	if code := c.wait(t); code != 1 {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(c.log.String(), "freshet: interrupted, and what was finished until then is printed") {
		t.Error(c.log.String())
	}
	r := resultIn(t, c.stdout.String())
	if len(r.Arms) != 2 || r.Arms[0].Epochs != 4 || r.Arms[1].Epochs%5 != 0 || !strings.Contains(c.stdout.String(), "/1000000") {
		t.Errorf("%+v", r)
	}
}
