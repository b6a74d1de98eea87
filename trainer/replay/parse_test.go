package replay

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/google/go-cmp/cmp"
)

func TestParseArms(t *testing.T) {
	list := arms(t, "plain", "wide: dim=128, heads=4,lr=1e-3,length=30,epochs=7,loss_without_history=true,seed=9")
	d := model.DefaultConfig()
	if a := list[0]; a.Name != "plain" || a.Training != DefaultTraining() || a.Model.Dim != d.Dim || a.Model.MaxSessions != a.Training.Length {
		t.Errorf("%+v", a)
	}
	a := list[1]
	if a.Name != "wide" || a.Model.Dim != 128 || a.Model.Heads != 4 || a.Model.DenseRate != 1e-3 || a.Training.Length != 30 || a.Training.Epochs != 7 ||
		!a.Model.LossWithoutHistory || a.Model.Seed != 9 || a.Model.MaxSessions != 30 {
		t.Errorf("%+v", a)
	}
	if again := arms(t, "wide:"+a.Settings()); !cmp.Equal(again[0], a) {
		t.Errorf("the settings of an arm give another arm:\n%s", cmp.Diff(a, again[0]))
	}
	if none := arms(t); len(none) != 1 || none[0].Name != "default" {
		t.Errorf("without arms: %+v", none)
	}
	if short := arms(t, "short:max_sessions=3,length=20"); short[0].Model.MaxSessions != 3 {
		t.Error("a key that is given is overruled")
	}
}

func TestPresets(t *testing.T) {
	for name := range presets {
		if _, err := ParseArms([]string{"x:preset=" + name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if large := arms(t, "x:preset=hstu-large")[0]; large.Model.Blocks != 8 || large.Model.Heads != 2 || large.Model.Dim != 50 {
		t.Errorf("a preset that is another one and something else: %+v", large)
	}
	a := arms(t, "x:epochs=3,preset=hstu")[0] // the order does not matter
	if a.Training.Length != 200 || a.Training.Epochs != 3 || a.Model.Dim != 50 || a.Model.MaxSessions != 200 {
		t.Errorf("%+v", a)
	}
}

func TestParseArmsSaysAllFaults(t *testing.T) {
	_, err := ParseArms([]string{
		"a:dims=64,blocks=two,dim=7", "a:lr=0.1,dense_rate=0.2", "dim=64", ":dim=64", "b:epochs=0,row_rate=NaN,seed=-1", "c:dim,,heads=", "d:preset=hstuu,dim=64,dim=32", "e:wibble_wobble=1",
		"f:loss_without_history=perhaps",
	})
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		`--arm a: there is no key "dims": did you mean dim?`, `--arm a: blocks=two: want a whole number`, `--arm a: model heads: 2 heads do not divide a dim of 7`,
		`--arm a: lr and dense_rate are the same: keep one`, `--arm a: there are two of this name`, `it has no name: write NAME:KEY=VALUE`,
		`--arm b: epochs=0: must be between`, `--arm b: row_rate=NaN: want a number`, `--arm b: seed=-1: want a whole number, not below 0`,
		`--arm c: "dim" is no setting`, `--arm c: "" is no setting`, `--arm c: "heads=" is no setting`,
		`--arm d: there is no preset "hstuu": did you mean hstu?`, `--arm d: dim is given twice`, `--arm e: there is no key "wibble_wobble": they are `,
		`--arm f: loss_without_history=perhaps: want true or false`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 17 {
		t.Errorf("%d faults:\n%v", got, err)
	}
}

// A field that a config gains is a key without a change here, whatever its type.
func TestFieldsOfAnyType(t *testing.T) {
	var c struct {
		Name   string        `koanf:"name"`
		Every  time.Duration `koanf:"every"`
		Small  float32       `koanf:"small"`
		Hidden int           `koanf:"-"`
		Bare   int
		Inner  struct {
			N int8 `koanf:"n"`
		} `koanf:"inner"`
		List []int `koanf:"list"`
	}
	f := fieldsOf(&c)
	if diff := cmp.Diff([]string{"every", "inner.n", "list", "name", "small"}, f.names()); diff != "" {
		t.Error(diff)
	}
	for key, value := range map[string]string{"name": "x", "every": "3m0s", "small": "0.1", "inner.n": "-5"} {
		if err := f.set(key, value); err != nil {
			t.Error(err)
		}
		if f.text(key) != value {
			t.Errorf("%s is %s, was set to %s", key, f.text(key), value)
		}
	}
	if c.Name != "x" || c.Every != 3*time.Minute || c.Small != 0.1 || c.Inner.N != -5 {
		t.Errorf("%+v", c)
	}
	for key, value := range map[string]string{"every": "soon", "small": "1e99", "inner.n": "200", "list": "1", "hidden": "1"} {
		if err := f.set(key, value); err == nil {
			t.Errorf("%s=%s is no fault", key, value)
		}
	}
}

func linesOf(text string) (lines [][]byte) {
	for l := range strings.SplitSeq(text, "\n") {
		lines = append(lines, []byte(l))
	}
	return lines
}

func TestSniff(t *testing.T) {
	for text, want := range map[string]Format{
		"1 2970\n1 1575\n2 5": Pairs, "u\ti\nu\tj": Pairs, "1 1 2 3\n2 6 7": Lists, "1 2\n2 3 4": Lists,
		"": "", "1 2\n2 3": "", "1 2 3\n4 5 6": "", "196\t242\t3\t881\n186\t302\t3\t891": "", "user,item,ts\nu,i,1": "", "1 2 3\n1 2": "", "x": "",
	} {
		got, err := Sniff(linesOf(text))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "give ") {
			t.Errorf("%q: it does not say what to give: %v", text, err)
		}
	}
	if _, err := Sniff(nil); err == nil {
		t.Error("nothing has a format")
	}
}

func TestAddLine(t *testing.T) {
	add := func(f Format, text string) (*Sequences, error) {
		var b Builder
		for i, line := range linesOf(text) {
			if err := b.AddLine(f, line, i+1); err != nil {
				return nil, err
			}
		}
		return b.Finish()
	}
	pairs, err := add(Pairs, "u a\nv b\nu b \nv a\n u\tc\nv c\nw a")
	if err != nil {
		t.Fatal(err)
	}
	lists, err := add(Lists, "u a b c\nv b a c\nw a")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(pairs.Names, []string{"a", "b", "c"}) || !cmp.Equal(pairs, lists, cmp.AllowUnexported(Sequences{})) {
		t.Errorf("%+v\n%+v", pairs, lists)
	}
	for _, tc := range []struct {
		f          Format
		text, want string
	}{
		{Pairs, "u a\nu", "has one field"}, {Pairs, "u a\nu b c", "more than two fields"}, {Lists, "u", "without an item"},
		{Lists, "u a b\nv a b\nu c", "line 1 already"}, {Pairs, "", "has one field"}, {Lists, "u a\x00b c", "zero byte"},
		{Pairs, "u a\nu b", "two to train on and one to test"},
	} {
		if _, err := add(tc.f, tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q as %s: %v, want %q", tc.text, tc.f, err, tc.want)
		}
	}
	if _, err := (&Builder{}).Finish(); err == nil {
		t.Error("nothing is no fault")
	}
}

func FuzzAddLine(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte("u a b c"))
	f.Add([]byte("\t \x00 x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, format := range []Format{Pairs, Lists} {
			var b Builder
			if b.AddLine(format, line, 1) == nil && (b.Events() == 0 || b.Events() > (len(line)+1)/2) {
				t.Errorf("%q as %s: %d events", line, format, b.Events())
			}
		}
		_, _ = Sniff([][]byte{line, line})
	})
}

func TestPace(t *testing.T) {
	for decay, want := range map[string][3]float64{"none": {1, 1, 1}, "linear": {1, 0.5, 0}, "cosine": {1, 0.5, 0}} {
		for i, step := range []int{0, 50, 100} {
			if got := (Training{Decay: decay}).paceOf(step, 100); math.Abs(got-want[i]) > 1e-12 {
				t.Errorf("%s at step %d of 100: %v, want %v", decay, step, got, want[i])
			}
		}
	}
	if linear, cosine := (Training{Decay: "linear"}).paceOf(10, 100), (Training{Decay: "cosine"}).paceOf(10, 100); cosine <= linear {
		t.Errorf("cosine falls faster than linear at first: %v, %v", cosine, linear)
	}
}
