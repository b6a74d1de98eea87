package baseline

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds that keep one mistyped number from taking all memory.
const (
	maxHistory  = 1000
	maxSessions = 1 << 24
	maxClicks   = 1000
	maxSample   = 1 << 16
	maxMarks    = 1 << 14
)

// Config says what Live counts and how its tables are read. The zero value is not usable; start from DefaultConfig.
type Config struct {
	HalfLife0 time.Duration `koanf:"half_life_0" json:"half_life_0" doc:"of the popularity that forgets fastest: a click weighs half as much that much later"`
	HalfLife1 time.Duration `koanf:"half_life_1" json:"half_life_1" doc:"of the popularity that marks are compared with"`
	HalfLife2 time.Duration `koanf:"half_life_2" json:"half_life_2" doc:"of the third popularity"`
	HalfLife3 time.Duration `koanf:"half_life_3" json:"half_life_3" doc:"of the popularity that forgets slowest"`

	Kappa              float64 `koanf:"kappa" json:"kappa" doc:"counted transitions that weigh as much as popularity does"`
	Transitions        int     `koanf:"transitions" json:"transitions" doc:"marks of transitions that one request has at most; the strongest stay"`
	Repeats            int     `koanf:"repeats" json:"repeats" doc:"clicks of a user whose items are marked as clicked before"`
	EarlierTransitions bool    `koanf:"earlier_transitions" json:"earlier_transitions" doc:"at the first click of a session, transitions from the clicks of earlier sessions are marked beside arrivals: for streams too thin to count arrivals"`
	Neighbours         bool    `koanf:"neighbours" json:"neighbours" doc:"votes of similar sessions are marks, and the sessions are published"`
	NeighboursBy       string  `koanf:"neighbours_by" json:"neighbours_by" doc:"whose votes those are: vsknn, stan or vstan"`

	Sessions      int   `koanf:"sessions" json:"sessions" doc:"sessions that are kept to find neighbours among; the oldest makes room"`
	SessionClicks int   `koanf:"session_clicks" json:"session_clicks" doc:"clicks that are kept of a session, and read of a request; the newest stay"`
	Earlier       int   `koanf:"earlier" json:"earlier" doc:"clicks of earlier sessions that stand for the session at its first click"`
	Sample        int   `koanf:"sample" json:"sample" doc:"most recent sessions that neighbours are chosen from, and that are kept of each item"`
	VSKNN         VSKNN `koanf:"vsknn" json:"vsknn" doc:"V-SKNN: sessions that share items with this one vote"`
	STAN          STAN  `koanf:"stan" json:"stan" doc:"STAN: the same, by place, age and distance"`
	VSTAN         VSTAN `koanf:"vstan" json:"vstan" doc:"VSTAN: STAN with V-SKNN's rarity of items and order"`
}

// VSKNN are the settings of V-SKNN.
type VSKNN struct {
	K      int  `koanf:"k" json:"k" doc:"neighbours that vote"`
	Remind bool `koanf:"remind" json:"remind" doc:"whether items of the session itself may be voted for"`
}

// STAN are the settings of STAN.
type STAN struct {
	K        int           `koanf:"k" json:"k" doc:"neighbours that vote"`
	Place    float64       `koanf:"place" json:"place" doc:"places in the session over which the weight of a click falls by e"`
	Age      time.Duration `koanf:"age" json:"age" doc:"age over which a neighbour's weight falls by e"`
	Distance float64       `koanf:"distance" json:"distance" doc:"places from the shared click over which the vote for an item falls by e"`
	Remind   bool          `koanf:"remind" json:"remind" doc:"whether items of the session itself may be voted for"`
}

// VSTAN are the settings of VSTAN.
type VSTAN struct {
	STAN   `koanf:",squash"`
	Shared float64 `koanf:"shared" json:"shared" doc:"places from the end of the session to the last click that is shared, over which a neighbour's votes fall by e"`
	IDF    float64 `koanf:"idf" json:"idf" doc:"weight of the inverse frequency of an item; 0 is none"`
}

// DefaultConfig returns the defaults, each with its reason. "Measured" means on a stream of news clicks.
func DefaultConfig() Config {
	// As usual in the literature. On news an hour of age, 500 neighbours and no reminding are far better, measured: next click recall@20/MRR@20 of STAN .715/.285
	// instead of .665/.258, of VSTAN .716/.288 instead of .632/.156, and of V-SKNN with 300 neighbours and no reminding .709/.286 instead of .688/.165. On a shop's
	// clicks, which repeat, no reminding halves them.
	stan := STAN{K: 100, Place: 1.5, Age: 5 * 24 * time.Hour, Distance: 3, Remind: true}
	return Config{
		HalfLife0: 10 * time.Minute, HalfLife1: time.Hour, HalfLife2: 6 * time.Hour, HalfLife3: 24 * time.Hour, // an hour is the best single one, measured

		Kappa:       5, // measured equal to 1
		Transitions: 512,
		Repeats:     20,

		// As marks, VSTAN's votes take the model from .737/.309 to .738/.310 on 100,000 clicks of news, and from .578/.306 to .596/.306 on as many of a shop. Whether
		// their age is an hour or a day, and whether they remind, changes nothing on news; on the shop's clicks, reminding costs .010.
		Neighbours: true, NeighboursBy: "vstan",

		Sessions: 200_000, SessionClicks: 50, // some 30 MB
		Earlier: 10,
		Sample:  500,
		VSKNN:   VSKNN{K: 100, Remind: true},
		STAN:    stan,
		VSTAN:   VSTAN{STAN: STAN{K: 500, Place: 1.5, Age: 24 * time.Hour, Distance: 3}, Shared: 1.5},
	}
}

// halfLives returns the four half-lives in milliseconds.
func (c *Config) halfLives() (ms [HalfLives]float64) {
	for k, d := range [HalfLives]time.Duration{c.HalfLife0, c.HalfLife1, c.HalfLife2, c.HalfLife3} {
		ms[k] = float64(d.Milliseconds())
	}
	return ms
}

// rule returns the rule that NeighboursBy names, or -1.
func (c *Config) rule() int { return slices.Index(armNames[ArmVSKNN:], c.NeighboursBy) }

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, next, problem string, args ...any) {
		faults = append(faults, fmt.Errorf("baseline %s: %s: %s", key, fmt.Sprintf(problem, args...), next))
	}
	within := func(key string, v, low, high int) {
		if v < low || v > high {
			fault(key, fmt.Sprintf("write a number from %d to %d", low, high), "%d is out of range", v)
		}
	}
	real := func(key string, v, low, high float64) {
		if !(v >= low && v <= high) { // also false for what is not a number
			fault(key, fmt.Sprintf("write a number from %v to %v", low, high), "%v is out of range", v)
		}
	}
	before := time.Duration(0)
	for k, d := range [HalfLives]time.Duration{c.HalfLife0, c.HalfLife1, c.HalfLife2, c.HalfLife3} {
		key := fmt.Sprintf("half_life_%d", k)
		if d < time.Second {
			fault(key, "write at least 1s", "%v is too short", d)
		}
		if d < before {
			fault(key, "write the four half-lives in rising order", "%v is shorter than the one before, %v", d, before)
		}
		before = d
	}
	if c.rule() < 0 {
		fault("neighbours_by", "write one of vsknn, stan, vstan", "%q is not known", c.NeighboursBy)
	}
	real("kappa", c.Kappa, 1e-3, 1e6)
	within("transitions", c.Transitions, 1, maxMarks)
	within("repeats", c.Repeats, 0, maxHistory)
	within("sessions", c.Sessions, 1, maxSessions)
	within("session_clicks", c.SessionClicks, 2, maxClicks)
	within("earlier", c.Earlier, 1, maxHistory)
	within("sample", c.Sample, 1, maxSample)
	within("vsknn.k", c.VSKNN.K, 1, maxSample)
	for _, s := range []struct {
		arm string
		STAN
	}{{"stan", c.STAN}, {"vstan", c.VSTAN.STAN}} {
		within(s.arm+".k", s.K, 1, maxSample)
		real(s.arm+".place", s.Place, 1e-2, 1e6)
		real(s.arm+".distance", s.Distance, 1e-2, 1e6)
		if s.Age < time.Second {
			fault(s.arm+".age", "write at least 1s", "%v is too short", s.Age)
		}
	}
	real("vstan.shared", c.VSTAN.Shared, 1e-2, 1e6)
	real("vstan.idf", c.VSTAN.IDF, 0, 1e3)
	return errors.Join(faults...)
}
