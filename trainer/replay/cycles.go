package replay

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/freshet-ml/freshet/trainer/model"
)

// Cycles says what an arm is trained on in each cycle of the protocol that goes from period to period, beside Training.
type Cycles struct {
	FirstEpochs int  `koanf:"first_epochs"` // passes over the first period; 0 is epochs
	Periods     int  `koanf:"periods"`      // the latest periods that are trained on; 0 is all of them
	Scratch     bool `koanf:"scratch"`      // begin anew in each cycle, instead of going on from the weights of the one before
	// Rehearse is how many sessions of earlier periods come beside those of the period, as a share of it. They are drawn anew for each epoch.
	Rehearse float64 `koanf:"rehearse"`
	// RehearseHalfLife is the number of periods after which a session is drawn half as often; 0 is no difference.
	RehearseHalfLife float64 `koanf:"rehearse_half_life"`
	// Live goes on learning while it is tested, session by session, each after it was asked. That is another protocol: such an arm stands beside the others.
	Live      bool    `koanf:"live"`
	FirstRate float64 `koanf:"first_rate"` // multiplies all rates in the first cycle
	// Online arms are the learner that runs live: the network with its terms, the tables beside it, and their blend. The arm has Periodic's keys, too.
	Online bool `koanf:"online"`
}

// DefaultCycles returns the defaults: what ADER calls finetuning.
func DefaultCycles() Cycles { return Cycles{Periods: 1, FirstRate: 1} }

func (c Cycles) validate() (faults []error) {
	if c.FirstEpochs < 0 || c.FirstEpochs > 1<<20 {
		faults = append(faults, fmt.Errorf("first_epochs=%d: must be between 0 and %d", c.FirstEpochs, 1<<20))
	}
	if c.Periods < 0 {
		faults = append(faults, fmt.Errorf("periods=%d: must not be negative; 0 is all", c.Periods))
	}
	if c.Rehearse < 0 || c.Rehearse > 100 {
		faults = append(faults, fmt.Errorf("rehearse=%v: must be between 0 and 100 times the period", c.Rehearse))
	}
	if c.RehearseHalfLife < 0 {
		faults = append(faults, fmt.Errorf("rehearse_half_life=%v: must not be negative; 0 is no difference", c.RehearseHalfLife))
	}
	if c.FirstRate <= 0 || c.FirstRate > 1000 {
		faults = append(faults, fmt.Errorf("first_rate=%v: must be positive, 1000 at most", c.FirstRate))
	}
	if c.Rehearse > 0 && c.Periods == 0 {
		faults = append(faults, fmt.Errorf("rehearse=%v with periods=0: all sessions are trained on already: give one of the two", c.Rehearse))
	}
	if c.Online && c.Scratch {
		faults = append(faults, errors.New("online=true with scratch=true: tables learn every click once, so there is no beginning anew: give one of the two"))
	}
	if c.Online && c.Live {
		faults = append(faults, errors.New("online=true with live=true: what is learned within a test is for --protocol prequential: give one of the two"))
	}
	return faults
}

// ParsePeriodArms reads arms of the ader protocol: ParseArms, whose keys Cycles' join, and in arms with online=true those of Periodic and of baseline.Config.
func ParsePeriodArms(specs []string) ([]Arm, error) {
	return parseArms(specs, func(spec string) (Arm, []error) {
		name, rest, faults := nameOf(spec)
		cycles := DefaultCycles()
		arm := Arm{Name: name, Model: model.DefaultConfig(), Training: DefaultTraining(), Cycles: &cycles}
		if len(faults) > 0 {
			return arm, faults
		}
		if isOnline(rest) {
			arm.begin()
		}
		return arm, arm.read(rest)
	})
}

// lesson returns the sessions of an epoch of a cycle, in the order of the file; those that are rehearsed come last.
func (c Cycles) lesson(p *Periods, cycle int, rng *rand.Rand) []int32 {
	from := 0
	if c.Periods > 0 {
		from = max(0, cycle+1-c.Periods)
	}
	var sessions []int32
	for s := p.first[from]; s < p.first[cycle+1]; s++ {
		sessions = append(sessions, int32(s))
	}
	if c.Rehearse == 0 || from == 0 {
		return sessions
	}
	// A session is drawn by choosing its period first, by weight, then one within.
	cumulative := make([]float64, from)
	sum := 0.
	for i := range from {
		w := float64(p.first[i+1] - p.first[i])
		if c.RehearseHalfLife > 0 {
			w *= math.Exp2(-float64(from-1-i) / c.RehearseHalfLife)
		}
		sum += w
		cumulative[i] = sum
	}
	for range int(c.Rehearse * float64(len(sessions))) {
		x := rng.Float64() * sum
		i, _ := slices.BinarySearch(cumulative, x)
		i = min(i, from-1)
		sessions = append(sessions, int32(p.first[i]+rng.IntN(p.first[i+1]-p.first[i])))
	}
	return sessions
}
