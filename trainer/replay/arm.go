package replay

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/trainer/model"
)

// Training says how an arm is trained, beside what its model says itself.
type Training struct {
	Length    int `koanf:"length"`     // items of a user that are read, the latest: more fall off
	Batch     int `koanf:"batch"`      // sequences a step
	Epochs    int `koanf:"epochs"`     // passes over all sequences
	EvalEvery int `koanf:"eval_every"` // epochs between two evaluations; 0 is one at the end, where there is always one
	// Decay is how the rates fall over all steps: none; linear, to nothing; cosine, to nothing, slowly at both ends.
	Decay string `koanf:"decay"`
}

// paceOf is what the rates are multiplied by in a step.
func (t Training) paceOf(step, steps int) float64 {
	done := float64(step) / float64(max(1, steps))
	switch t.Decay {
	case "linear":
		return 1 - done
	case "cosine":
		return (1 + math.Cos(math.Pi*done)) / 2
	}
	return 1
}

// DefaultTraining returns the defaults: they give a first figure of a set of a million events in minutes. What a published table was made with
// is for presets.
func DefaultTraining() Training {
	return Training{Length: 50, Batch: 128, Epochs: 20, Decay: "none"}
}

func (t Training) validate() (faults []error) {
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			faults = append(faults, fmt.Errorf("%s=%d: must be between %d and %d", name, v, low, high))
		}
	}
	within("length", t.Length, 1, 8192)
	within("batch", t.Batch, 1, 1<<20)
	within("epochs", t.Epochs, 1, 1<<20)
	within("eval_every", t.EvalEvery, 0, 1<<20)
	if !slices.Contains([]string{"none", "linear", "cosine"}, t.Decay) {
		faults = append(faults, fmt.Errorf("decay=%s: must be none, linear or cosine", t.Decay))
	}
	return faults
}

// Arm is one of the models that are compared.
type Arm struct {
	Name     string
	Model    model.Config
	Training Training
	Cycles   *Cycles   // of the protocol that goes from period to period; nil elsewhere
	Online   *Periodic // of those whose learner is the one that runs live; nil elsewhere
}

// aliases are other names of keys.
var aliases = map[string]string{"lr": "dense_rate", "negatives": "negatives_uniform"}

// keyPreset is the key that stands for several.
const keyPreset = "preset"

// ParseArms reads arms as they are given on the command line, each as NAME or NAME:KEY=VALUE,KEY=VALUE. Keys are the koanf tags of model.Config and of
// Training, lr for dense_rate, negatives for negatives_uniform, and preset, which stands for the keys of that preset that are not given beside it. Without any specs there is one arm, "default".
// It reports the faults of all arms at once.
func ParseArms(specs []string) ([]Arm, error) { return parseArms(specs, parseArm) }

func parseArms(specs []string, parse func(spec string) (Arm, []error)) ([]Arm, error) {
	if len(specs) == 0 {
		specs = []string{"default"}
	}
	var arms []Arm
	var faults []error
	for _, spec := range specs {
		arm, wrong := parse(spec)
		for _, f := range wrong {
			faults = append(faults, fmt.Errorf("--arm %s: %w", arm.Name, f))
		}
		if arm.Name != "" && slices.ContainsFunc(arms, func(a Arm) bool { return a.Name == arm.Name }) {
			faults = append(faults, fmt.Errorf("--arm %s: there are two of this name: rename one", arm.Name))
		}
		arms = append(arms, arm)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return arms, nil
}

func parseArm(spec string) (arm Arm, faults []error) {
	name, rest, faults := nameOf(spec)
	arm = Arm{Name: name, Model: model.DefaultConfig(), Training: DefaultTraining()}
	if len(faults) > 0 {
		return arm, faults
	}
	return arm, arm.read(rest)
}

// read sets what rest says of an arm that has its defaults.
func (a *Arm) read(rest string) (faults []error) {
	given, faults := a.fields().read(rest, presets)
	faults = append(faults, a.Training.validate()...)
	if a.Cycles != nil {
		faults = append(faults, a.Cycles.validate()...)
	}
	if a.Online != nil {
		faults = append(faults, a.Online.validate()...)
		if a.Model.Terms && (a.Cycles.Rehearse > 0 || a.Cycles.Periods != 1) {
			faults = append(faults, errors.New("online=true with rehearse or other periods than 1: the tables have counted what is older, and would give it away: give terms=false with it, or neither"))
		}
	}
	fit(&a.Model, a.Training.Length, given)
	return append(faults, parts(a.Model.Validate())...)
}

// nameOf takes an arm's name off its settings.
func nameOf(spec string) (name, rest string, faults []error) {
	name, rest, _ = strings.Cut(spec, ":")
	if name = strings.TrimSpace(name); name == "" || strings.ContainsAny(name, "=,\n\r\t\"") {
		return name, rest, []error{errors.New("it has no name: write NAME:KEY=VALUE,KEY=VALUE, such as wide:dim=128,epochs=10")}
	}
	return name, rest, nil
}

// read sets the fields that text names, and returns which it set and all that is wrong.
func (f fields) read(text string, presets map[string]string) (isSet map[string]bool, faults []error) {
	given, faults := settingsOf(text, true)
	all := given
	for _, s := range given {
		if s.key != keyPreset {
			continue
		}
		values, ok := presets[s.value]
		if !ok {
			faults = append(faults, unknown("preset", s.value, slices.Sorted(maps.Keys(presets))))
			continue
		}
		preset, wrong := settingsOf(values, false)
		if len(wrong) > 0 {
			panic(fmt.Sprintf("replay: preset %s: %v", s.value, wrong))
		}
		all = append(preset, given...) // what is given beside a preset comes behind it, and so holds
	}
	isSet = map[string]bool{}
	for _, s := range all {
		if s.key == keyPreset {
			continue
		}
		if err := f.set(s.key, s.value); err != nil {
			if _, known := f[s.key]; !known {
				err = unknown("key", s.key, append(f.names(), "lr", "negatives", keyPreset))
			}
			faults = append(faults, err)
			continue
		}
		isSet[s.key] = true
	}
	return isSet, faults
}

// setting is one KEY=VALUE.
type setting struct{ key, value string }

// settingsOf reads a list of them. Aliases have become what they stand for. What is given twice is a fault if once is asked for; else the later one holds, so
// that a preset can be written as another and what it has differently.
func settingsOf(text string, once bool) (list []setting, faults []error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	givenAs := map[string]string{}
	for item := range strings.SplitSeq(text, ",") {
		as, value, ok := strings.Cut(item, "=")
		as, value = strings.TrimSpace(as), strings.TrimSpace(value)
		if !ok || as == "" || value == "" {
			faults = append(faults, fmt.Errorf("%q is no setting: write KEY=VALUE, such as dim=64", strings.TrimSpace(item)))
			continue
		}
		key := as
		if of, ok := aliases[as]; ok {
			key = of
		}
		switch before, twice := givenAs[key]; {
		case !once:
		case twice && before == as:
			faults = append(faults, fmt.Errorf("%s is given twice: keep one", as))
			continue
		case twice:
			faults = append(faults, fmt.Errorf("%s and %s are the same: keep one", before, as))
			continue
		}
		givenAs[key] = as
		list = append(list, setting{key, value})
	}
	return list, faults
}

// fields are the keys of an arm, which set it.
func (a *Arm) fields() fields {
	if a.Online != nil {
		return fieldsOf(&a.Model, &a.Training, a.Cycles, &a.Online.Baseline, a.Online)
	}
	if a.Cycles != nil {
		return fieldsOf(&a.Model, &a.Training, a.Cycles)
	}
	return fieldsOf(&a.Model, &a.Training)
}

// Settings returns everything that makes the arm what it is, as KEY=VALUE,... in the order of the keys: given as an arm, it is the same arm.
func (a Arm) Settings() string { return a.fields().String() }

// parts takes apart what errors.Join put together.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}
