package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Config says what the model looks like and how it learns. The zero value is not usable; start from DefaultConfig.
type Config struct {
	Dim         int `yaml:"dim" json:"dim"`                   // width of a token and of an item's vector
	Blocks      int `yaml:"blocks" json:"blocks"`             // HSTU blocks
	Heads       int `yaml:"heads" json:"heads"`               // attention heads; Dim/Heads is even
	MaxSessions int `yaml:"max_sessions" json:"max_sessions"` // past sessions that are read, newest first
	MaxTokens   int `yaml:"max_tokens" json:"max_tokens"`     // tokens of one sequence; the oldest fall off
	Scenes      int `yaml:"scenes" json:"scenes"`             // rows of the scene table; names are hashed into them
	SideRows    int `yaml:"side_rows" json:"side_rows"`       // rows of the side table: categories and price bands; values beyond them are ignored

	MaxTargets         int  `yaml:"max_targets" json:"max_targets"`                   // items of a session that are learned from in one step; more are drawn from at random
	NegativesUniform   int  `yaml:"negatives_uniform" json:"negatives_uniform"`       // draws from all items, per step
	NegativesRecent    int  `yaml:"negatives_recent" json:"negatives_recent"`         // draws from the recent targets, per step
	RecentWindow       int  `yaml:"recent_window" json:"recent_window"`               // how many recent targets are kept
	LossWithoutHistory bool `yaml:"loss_without_history" json:"loss_without_history"` // learn from requests of users without a past, too

	DenseRate   float64 `yaml:"dense_rate" json:"dense_rate"`     // AdamW step of the weights all items share
	Beta1       float64 `yaml:"beta1" json:"beta1"`               // AdamW
	Beta2       float64 `yaml:"beta2" json:"beta2"`               // AdamW
	WeightDecay float64 `yaml:"weight_decay" json:"weight_decay"` // AdamW, of the matrices
	RowRate     float64 `yaml:"row_rate" json:"row_rate"`         // row-wise Adagrad step of the items' vectors and biases
	SideRate    float64 `yaml:"side_rate" json:"side_rate"`       // row-wise Adagrad step of the side table
	Clip        float64 `yaml:"clip" json:"clip"`                 // bound of the norm of the shared weights' gradient; 0 is none
	InitStd     float64 `yaml:"init_std" json:"init_std"`         // deviation of fresh weights and rows
	Seed        uint64  `yaml:"seed" json:"seed"`                 // of fresh weights, fresh rows and sampling
}

// DefaultConfig returns the defaults, each with its reason. "Measured" means on a stream of news clicks, next click.
func DefaultConfig() Config {
	return Config{
		Dim: 64, Blocks: 2, Heads: 2, // trains in milliseconds on one core
		MaxSessions: 20, MaxTokens: 128, // a part is often one click: twenty of them are some forty tokens
		Scenes:             16,
		SideRows:           4096, // a megabyte; every delta carries the rows in use
		MaxTargets:         8,
		NegativesUniform:   512, // 512 + 512 with correction measured equal to the full softmax over 7,000 items
		NegativesRecent:    512,
		RecentWindow:       8192,
		LossWithoutHistory: false,  // measured: +.004 recall without them
		DenseRate:          0.0005, // measured: .002 is worse by .005 recall and .012 MRR, .004 by .010 and .020
		Beta1:              0.9,
		Beta2:              0.99, // shorter memory than usual: the stream drifts
		RowRate:            0.05, // measured against Adam .01: +.015 recall
		SideRate:           0.1,  // measured over two seeds: .05 is worse by .004 recall, .2 by .002; its rows are seen in every step, so they slow down soon
		Clip:               5,    // measured equal to none; the norm is about 4, so it holds back only a wild batch
		InitStd:            0.02,
		Seed:               1,
	}
}

// Bounds that keep one mistyped number from taking all memory.
const (
	maxDim      = 4096
	maxBlocks   = 64
	maxTokens   = 8192
	maxSessions = 1024
	maxDraws    = 1 << 20
	maxSideRows = 1 << 20
)

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			faults = append(faults, fmt.Errorf("model %s %d: must be between %d and %d", name, v, low, high))
		}
	}
	within("dim", c.Dim, 2, maxDim)
	within("blocks", c.Blocks, 1, maxBlocks)
	within("heads", c.Heads, 1, maxDim)
	if c.Heads > 0 && (c.Dim%c.Heads != 0 || c.Dim/c.Heads%2 != 0) {
		faults = append(faults, fmt.Errorf("model heads %d: dim %d divided by them must be a whole, even number", c.Heads, c.Dim))
	}
	within("max_sessions", c.MaxSessions, 1, maxSessions)
	within("max_tokens", c.MaxTokens, 3, maxTokens) // a context token, an item, the request's context token
	within("scenes", c.Scenes, 1, maxTokens)
	within("side_rows", c.SideRows, 1, maxSideRows) // row 0 is no value, so 1 switches side information off
	within("max_targets", c.MaxTargets, 1, maxTokens)
	within("negatives_uniform", c.NegativesUniform, 1, maxDraws)
	within("negatives_recent", c.NegativesRecent, 0, maxDraws)
	within("recent_window", c.RecentWindow, 1, 1<<26)
	real := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) { // also false for what is not a number
			faults = append(faults, fmt.Errorf("model %s %v: must be between %v and %v", name, v, low, high))
		}
	}
	real("dense_rate", c.DenseRate, 0, 1)
	real("beta1", c.Beta1, 0, 0.999999)
	real("beta2", c.Beta2, 0, 0.999999)
	real("weight_decay", c.WeightDecay, 0, 1)
	real("row_rate", c.RowRate, 0, 10)
	real("side_rate", c.SideRate, 0, 10)
	real("clip", c.Clip, 0, math.MaxFloat64)
	real("init_std", c.InitStd, 0, 1)
	return errors.Join(faults...)
}

// formOf is what two models must share for the weights of one to mean something in the other.
type formOf struct {
	Format      int    `json:"format"` // of the computation: changes when the same weights would give other scores
	Dim         int    `json:"dim"`
	Blocks      int    `json:"blocks"`
	Heads       int    `json:"heads"`
	MaxSessions int    `json:"max_sessions"`
	MaxTokens   int    `json:"max_tokens"`
	Scenes      int    `json:"scenes"`
	Sides       string `json:"sides"` // the fields of the side information
}

const computation = 1

// form returns the JSON of what the scores depend on besides the weights.
func (c Config) form() string {
	b, err := json.Marshal(formOf{computation, c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes, sideNames()})
	if err != nil {
		panic("model: config: " + err.Error()) // integers always encode
	}
	return string(b)
}

// configOf reads what form wrote into a Config that is complete enough for scoring.
func configOf(form string) (Config, error) {
	var f formOf
	if err := json.Unmarshal([]byte(form), &f); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	if f.Format != computation {
		return Config{}, fmt.Errorf("config: computation %d is not the one of this program (%d): run the same freshet on both sides", f.Format, computation)
	}
	if f.Sides != sideNames() {
		return Config{}, fmt.Errorf("config: side information %q is not the one of this program (%q): run the same freshet on both sides", f.Sides, sideNames())
	}
	c := DefaultConfig()
	c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes = f.Dim, f.Blocks, f.Heads, f.MaxSessions, f.MaxTokens, f.Scenes
	return c, c.Validate()
}

// Digest is the sha256, in hex, of what two models must share to exchange weights.
func (c Config) Digest() string {
	sum := sha256.Sum256([]byte(c.form()))
	return hex.EncodeToString(sum[:])
}
