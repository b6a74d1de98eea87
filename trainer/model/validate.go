package model

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Bounds that keep one mistyped number from taking all memory.
const (
	maxDim      = 4096
	maxBlocks   = 64
	maxTokens   = 8192
	maxSessions = 8192
	maxDraws    = 1 << 20
	maxSideRows = 1 << 20
	maxExperts  = 256
	maxHorizon  = 8
	maxLanes    = 64
	maxWeights  = 1 << 28 // a gigabyte of shared weights
)

// Fault is one thing that is wrong with a Config.
type Fault struct {
	Key     string // the koanf tag of the field
	Problem string
	Next    string // what to do about it
}

func (f Fault) Error() string { return "model " + f.Key + ": " + f.Problem + ": " + f.Next }

// Validate reports every fault of c at once, or nil. They are the Faults, joined.
func (c Config) Validate() error {
	var all []error
	for _, f := range c.Faults() {
		all = append(all, f)
	}
	return errors.Join(all...)
}

// Faults returns everything that is wrong with c.
func (c Config) Faults() (faults []Fault) {
	fault := func(key, next, problem string, args ...any) {
		faults = append(faults, Fault{Key: key, Problem: fmt.Sprintf(problem, args...), Next: next})
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
	word := func(key, v string, of ...string) {
		if !slices.Contains(of, v) {
			fault(key, "write one of "+strings.Join(of, ", "), "%q is not known", v)
		}
	}
	within("dim", c.Dim, 2, maxDim)
	within("blocks", c.Blocks, 1, maxBlocks)
	within("heads", c.Heads, 1, maxDim)
	if c.Heads > 0 && c.Dim%c.Heads != 0 {
		fault("heads", "make dim a multiple of heads", "%d heads do not divide a dim of %d", c.Heads, c.Dim)
	}
	if c.Heads > 0 && c.Dim%c.Heads == 0 && c.Rotary != none && c.Dim/c.Heads%2 != 0 {
		fault("heads", "make it even, or set rotary to none", "a dim of %d divided by %d heads is odd, and rotary %s turns pairs", c.Dim, c.Heads, c.Rotary)
	}
	within("max_sessions", c.MaxSessions, 1, maxSessions)
	within("max_tokens", c.MaxTokens, 3, maxTokens) // a context token, an item, the request's context token
	within("scenes", c.Scenes, 1, maxTokens)
	within("side_rows", c.SideRows, 1, maxSideRows) // row 0 is no value, so 1 switches side information off
	within("user_rows", c.UserRows, 0, maxSideRows)

	if low := 2 * sweepShare; c.MaxItems != 0 && (c.MaxItems < low || c.MaxItems > math.MaxInt32) { // below that there is no sixteenth to give up
		fault("max_items", fmt.Sprintf("write 0 for no bound, or a number from %d to %d", low, math.MaxInt32), "%d is out of range", c.MaxItems)
	}
	within("admit_after", c.AdmitAfter, 1, 255) // what a counter of the sketch can hold
	if c.AdmitSketch < 1<<10 || c.AdmitSketch > 1<<30 || c.AdmitSketch&(c.AdmitSketch-1) != 0 {
		fault("admit_sketch", fmt.Sprintf("write a power of two from %d to %d", 1<<10, 1<<30), "%d bytes are not a sketch", c.AdmitSketch)
	}
	if c.ExpireAfter < 0 || c.ExpireAfter > 0 && c.ExpireAfter < time.Second {
		fault("expire_after", "write 0 for never, or at least a second", "%v is out of range", c.ExpireAfter)
	}

	word("tokens", c.Tokens, session, item)
	word("mask", c.Mask, session, causal)
	word("rotary", c.Rotary, session, token, none)
	word("attention", c.Attention, hstu, softmax)
	word("loss", c.Loss, sampled, full)
	word("negatives_per", c.NegativesPer, batch, grouped)
	word("row_optimizer", c.RowOptimizer, adagrad, adam)
	word("init", c.Init, carry, plain)
	within("ffn", c.FFN, 0, 8*maxDim)
	within("experts", c.Experts, 0, maxExperts)
	if c.Experts == 1 {
		fault("experts", "write 0 for none, or at least 2", "there is 1, and a token takes two")
	}
	within("expert_width", c.ExpertWidth, 1, 8*maxDim)
	within("horizon", c.Horizon, 1, maxHorizon)
	if c.Tokens == item {
		if c.TokenNetworks {
			fault("token_networks", "write false, or set tokens to session", "there is one kind of token where tokens is item")
		}
		if c.UserRows > 0 {
			fault("user_rows", "write 0, or set tokens to session", "users are known to context tokens, and there are none where tokens is item")
		}
		if c.Horizon > 1 {
			fault("horizon", "write 1, or set tokens to session", "only context tokens look ahead, and there are none where tokens is item")
		}
	}

	if c.ClickWeight > 0 && !c.Exposures {
		fault("click_weight", "write 0, or set exposures to true", "it tells clicked from shown, and exposures is false")
	}
	within("max_targets", c.MaxTargets, 1, maxTokens)
	within("negatives_uniform", c.NegativesUniform, 1, maxDraws)
	within("negatives_recent", c.NegativesRecent, 0, maxDraws)
	within("recent_window", c.RecentWindow, 1, 1<<26)
	within("lanes", c.Lanes, 1, maxLanes)
	real("temperature", c.Temperature, 1e-3, 1e3)
	real("horizon_decay", c.HorizonDecay, 0, 1)
	real("click_weight", c.ClickWeight, 0, 100)
	real("pay_weight", c.PayWeight, 0, 100)
	real("dropout", c.Dropout, 0, 0.95)
	real("dense_rate", c.DenseRate, 0, 1)
	real("beta1", c.Beta1, 0, 0.999999)
	real("beta2", c.Beta2, 0, 0.999999)
	real("weight_decay", c.WeightDecay, 0, 1)
	real("row_rate", c.RowRate, 0, 10)
	real("row_memory", c.RowMemory, 0, 1e12)
	real("plasticity", c.Plasticity, 0, 1)
	if c.RowOptimizer == adam && c.RowMemory+c.Plasticity > 0 {
		fault("row_optimizer", "write adagrad, or set row_memory and plasticity to 0", "adam forgets by beta2, and its rate is its own")
	}
	real("side_rate", c.SideRate, 0, 10)
	real("term_rate", c.TermRate, 0, 1)
	real("clip", c.Clip, 0, math.MaxFloat64)
	real("init_std", c.InitStd, 0, 1)
	if len(faults) == 0 {
		size := 0
		for _, s := range c.specs() {
			size += s.size()
		}
		if size > maxWeights {
			fault("dim", fmt.Sprintf("make one of them smaller, to %d weights at most", maxWeights),
				"%d, with %d blocks and %d experts, makes %d shared weights", c.Dim, c.Blocks, c.Experts, size)
		}
	}
	return faults
}
