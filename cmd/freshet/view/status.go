package view

import (
	"encoding/json"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Number is a figure that may not have been measured: then it is NaN here and null in JSON.
type Number float64

// None is the Number that has not been measured.
var None = Number(math.NaN())

// Known reports whether n has been measured.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON writes null for what JSON has no number for.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null as None.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = None
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// Scores are one metric of the model and of the baselines that run beside it, on the same examples.
type Scores struct {
	Model      Number  `json:"model"`
	Blend      Number  `json:"blend"` // of the model and all others
	VSKNN      Number  `json:"v_sknn"`
	STAN       Number  `json:"stan"`
	VSTAN      Number  `json:"vstan"`
	ItemToItem Number  `json:"item_to_item"`
	Popularity Number  `json:"popularity"`
	Best       *Number `json:"best,omitempty"` // what no recommender can beat; known for simulated clicks only
}

// Score is what an arm has.
type Score struct {
	Arm   string // its name in JSON and in metrics
	Title string // its name for a person
	Number
}

// Arms returns the scores in the order in which they are shown, Best only where it is known.
func (s Scores) Arms() []Score {
	all := []Score{
		{"model", "model", s.Model}, {"blend", "blend", s.Blend}, {"v_sknn", "V-SKNN", s.VSKNN}, {"stan", "STAN", s.STAN}, {"vstan", "VSTAN", s.VSTAN},
		{"item_to_item", "item-to-item", s.ItemToItem}, {"popularity", "popularity", s.Popularity},
	}
	if s.Best != nil {
		all = append(all, Score{"best", "best reachable", *s.Best})
	}
	return all
}

// NoScores is before the first test.
func NoScores() Scores {
	return Scores{Model: None, Blend: None, VSKNN: None, STAN: None, VSTAN: None, ItemToItem: None, Popularity: None}
}

// Quantiles are two points of a distribution.
type Quantiles struct {
	P50 Number `json:"p50"`
	P99 Number `json:"p99"`
}

// Aside counts the records put aside, by reason. nil is written as {}.
type Aside map[schema.Reason]int64

// MarshalJSON writes an object always.
func (a Aside) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[schema.Reason]int64(a))
}

// Total returns the number of records put aside.
func (a Aside) Total() (n int64) {
	for _, c := range a {
		n += c
	}
	return n
}

// LastThird are the scores over the last third of the scored parts, when the beginning is over.
type LastThird struct {
	Recall20 Scores `json:"recall_at_20"`
	MRR20    Scores `json:"mrr_at_20"`
	Scored   int64  `json:"scored"`
}

// Adopted names a replica and the version that it serves.
type Adopted struct {
	ID      string         `json:"id"`
	Version schema.Version `json:"version"`
}

// Summary is what a run has done. Its JSON is the last line of "freshet up --json".
type Summary struct {
	Clicks    int64       `json:"clicks"` // records read from Kafka: trained + aside + pending (I7)
	Parts     int64       `json:"parts"`
	Aside     Aside       `json:"aside"`
	Trained   int64       `json:"trained"` // clicks in parts that have been trained on
	Pending   int64       `json:"pending"` // clicks in open windows and in parts not yet trained on
	Steps     schema.Step `json:"steps"`
	Training  Training    `json:"training"`
	Versions  int64       `json:"versions"`
	Recall20  Scores      `json:"recall_at_20"`
	MRR20     Scores      `json:"mrr_at_20"`
	Scored    int64       `json:"scored"` // parts behind the scores
	LastThird LastThird   `json:"last_third"`
	Rule      string      `json:"rule"` // how the scores are computed
	Freshness Quantiles   `json:"freshness_seconds"`
	Replicas  []Adopted   `json:"replicas"`
	Digest    string      `json:"digest"` // sha256 of the checkpoint: equal digests are equal models
}

// Replica is a replica as it is now.
type Replica struct {
	Adopted
	AgeSeconds Number `json:"age_seconds"` // since it adopted the version
	Address    string `json:"address,omitempty"`
	Problem    string `json:"problem,omitempty"` // why it does not follow, where it does not
}

// Stage is what a run is busy with.
type Stage string

// The stages of a run.
const (
	StageStarting Stage = "starting"
	StageRunning  Stage = "running"
	StageDraining Stage = "finishing" // the input has ended; what is on its way is trained, published and adopted
	StageStopping Stage = "stopping"
	StageDone     Stage = "done"
)

// Status is a run as it is now: the figures of its Summary so far, and those that only a live run has. Its JSON is the
// answer of GET /v1/status.
type Status struct {
	Summary
	Replicas []Replica `json:"replicas"` // in the place of the Summary's

	Stage               Stage   `json:"stage"`
	UptimeSeconds       float64 `json:"uptime_seconds"`
	ClicksPerSecond     Number  `json:"clicks_per_second"`
	OpenSessions        int64   `json:"open_sessions"`
	WatermarkLagSeconds Number  `json:"watermark_lag_seconds"`
	KafkaLag            int64   `json:"kafka_lag"` // records of the topic that have not been read
	Backend             string  `json:"backend"`   // what multiplies matrices
	API                 string  `json:"api,omitempty"`
	Kafka               string  `json:"kafka,omitempty"`
	NATS                string  `json:"nats,omitempty"`
	Done                int64   `json:"progress_done"`
	Total               int64   `json:"progress_total"` // of a bounded input; 0 where there is no end
}

// MarshalJSON writes a list of replicas always, and no number that JSON does not have.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	p := plain(s)
	if p.Replicas == nil {
		p.Replicas = []Replica{}
	}
	if math.IsNaN(p.UptimeSeconds) || math.IsInf(p.UptimeSeconds, 0) {
		p.UptimeSeconds = 0
	}
	return json.Marshal(p)
}

// End returns the summary of s with its replicas in order of their ids.
func (s Status) End() Summary {
	out := s.Summary
	out.Replicas = []Adopted{}
	for _, r := range s.Replicas {
		out.Replicas = append(out.Replicas, r.Adopted)
	}
	slices.SortFunc(out.Replicas, func(a, b Adopted) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return out
}
