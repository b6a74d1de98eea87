package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Config says what the model looks like and how it learns. The zero value is not usable; start from DefaultConfig. Every piece of TBGRecall has a
// switch, so that ablations, SASRec and HSTU run in the same code.
//
// The tags give each field its key, in files and in the arms of a replay, its name in a checkpoint, and its sentence in the reference of settings.
type Config struct {
	Dim         int           `koanf:"dim" json:"dim" doc:"width of a token and of an item's vector"`
	Blocks      int           `koanf:"blocks" json:"blocks" doc:"attention blocks"`
	Heads       int           `koanf:"heads" json:"heads" doc:"attention heads; dim/heads is a whole number, even with a rotary"`
	MaxSessions int           `koanf:"max_sessions" json:"max_sessions" doc:"past sessions that are read, newest first"`
	MaxTokens   int           `koanf:"max_tokens" json:"max_tokens" doc:"tokens of one sequence; the oldest fall off"`
	Scenes      int           `koanf:"scenes" json:"scenes" doc:"rows of the scene table; names are hashed into them"`
	SideRows    int           `koanf:"side_rows" json:"side_rows" doc:"rows of the side table: categories and price bands; values beyond them are ignored"`
	MaxItems    int           `koanf:"max_items" json:"max_items" doc:"items that have a row at the same time; beyond them those go that were not clicked for the longest; 0 is no bound"`
	AdmitAfter  int           `koanf:"admit_after" json:"admit_after" doc:"clicks after which an item gets a row; 2 or more for catalogues whose items are mostly seen once"`
	AdmitSketch int           `koanf:"admit_sketch" json:"admit_sketch" doc:"bytes that count clicks on items without a row, where admit_after is above 1; a power of two; an eighth of it in clicks are remembered"`
	ExpireAfter time.Duration `koanf:"expire_after" json:"expire_after" doc:"event time without a click after which an item gives its row up; 0 is never"`
	UserRows    int           `koanf:"user_rows" json:"user_rows" doc:"rows of the user table, which context tokens add; names are hashed into them; 0 is none"`

	Tokens        string  `koanf:"tokens" json:"tokens" doc:"session: a context token before the items of each session, which asks; item: items only, each asks for the next"`
	Mask          string  `koanf:"mask" json:"mask" doc:"session: items do not see their siblings; causal: they see those before"`
	Rotary        string  `koanf:"rotary" json:"rotary" doc:"rotary positions: session, one for all its tokens; token; none"`
	ScaledInput   bool    `koanf:"scaled_input" json:"scaled_input" doc:"an item's vector enters the token sum multiplied by √dim, so that it outweighs the places (HSTU, SASRec)"`
	Absolute      bool    `koanf:"absolute" json:"absolute" doc:"a learned vector for each place in the sequence"`
	Distance      bool    `koanf:"distance" json:"distance" doc:"a learned bias for each distance of two tokens"`
	TimeBias      bool    `koanf:"time_bias" json:"time_bias" doc:"a learned bias for each time between two tokens, in HSTU's buckets"`
	Attention     string  `koanf:"attention" json:"attention" doc:"hstu: pointwise, with a gate; softmax"`
	FFN           int     `koanf:"ffn" json:"ffn" doc:"width inside a ReLU network after the attention; 0 is none"`
	Experts       int     `koanf:"experts" json:"experts" doc:"routed experts after the attention, two of which a token takes, beside a shared one; 0 is none"`
	ExpertWidth   int     `koanf:"expert_width" json:"expert_width" doc:"width inside an expert"`
	TokenNetworks bool    `koanf:"token_networks" json:"token_networks" doc:"context and item tokens have matrices of their own at the embedding and in the first block"`
	Horizon       int     `koanf:"horizon" json:"horizon" doc:"how many coming sessions a context token is asked for"`
	Cosine        bool    `koanf:"cosine" json:"cosine" doc:"queries and items are compared as unit vectors"`
	Temperature   float64 `koanf:"temperature" json:"temperature" doc:"scores are divided by it where cosine is true"`
	ItemBias      bool    `koanf:"item_bias" json:"item_bias" doc:"an item's score has a learned constant"`
	Terms         bool    `koanf:"terms" json:"terms" doc:"popularity, transitions, neighbours and repeats enter a request's scores, each with a learned weight"`

	Exposures          bool    `koanf:"exposures" json:"exposures" doc:"what was shown is input and target like what was chosen"`
	Loss               string  `koanf:"loss" json:"loss" doc:"sampled, over the negatives; full, over all items"`
	MaxTargets         int     `koanf:"max_targets" json:"max_targets" doc:"items of a session that are learned from in one step; more are drawn from at random"`
	NegativesUniform   int     `koanf:"negatives_uniform" json:"negatives_uniform" doc:"draws from all items, per step"`
	NegativesRecent    int     `koanf:"negatives_recent" json:"negatives_recent" doc:"draws from the recent targets, per step"`
	NegativesPer       string  `koanf:"negatives_per" json:"negatives_per" doc:"what draws of its own: batch, all of a step compares with the same; group, some hundred tokens"`
	NegativesInBatch   bool    `koanf:"negatives_in_batch" json:"negatives_in_batch" doc:"the targets of a step are negatives for each other"`
	LogQ               bool    `koanf:"logq" json:"logq" doc:"scores are corrected for how often an item is sampled"`
	RecentWindow       int     `koanf:"recent_window" json:"recent_window" doc:"how many recent targets are kept"`
	LossWithoutHistory bool    `koanf:"loss_without_history" json:"loss_without_history" doc:"whether requests of users without a past are learned from, too"`
	HorizonDecay       float64 `koanf:"horizon_decay" json:"horizon_decay" doc:"weight of the session m ahead is horizon_decay^m"`
	ClickWeight        float64 `koanf:"click_weight" json:"click_weight" doc:"of the loss that tells clicked from shown; 0 is none"`
	PayWeight          float64 `koanf:"pay_weight" json:"pay_weight" doc:"of the loss that tells bought from clicked; 0 is none"`
	SceneNorm          bool    `koanf:"scene_norm" json:"scene_norm" doc:"scenes weigh the same, however many requests they have"`
	Dropout            float64 `koanf:"dropout" json:"dropout" doc:"rate at the embedding and before each addition to a token"`

	DenseRate    float64 `koanf:"dense_rate" json:"dense_rate" doc:"AdamW step of the weights all items share"`
	Beta1        float64 `koanf:"beta1" json:"beta1" doc:"share of AdamW's mean of gradients that stays from step to step"`
	Beta2        float64 `koanf:"beta2" json:"beta2" doc:"the same of its mean of their squares"`
	WeightDecay  float64 `koanf:"weight_decay" json:"weight_decay" doc:"AdamW, of the matrices"`
	RowOptimizer string  `koanf:"row_optimizer" json:"row_optimizer" doc:"adagrad: row-wise, one number a row; adam: two numbers for each, rows of the step only"`
	RowRate      float64 `koanf:"row_rate" json:"row_rate" doc:"step of the items' vectors and biases"`
	RowMemory    float64 `koanf:"row_memory" json:"row_memory" doc:"half-life of an Adagrad row's sum of squares, in steps; 0 is no forgetting"`
	Plasticity   float64 `koanf:"plasticity" json:"plasticity" doc:"how fast the rows' rate follows the agreement of gradients, within a quarter and four times row_rate; 0 is not at all"`
	SideRate     float64 `koanf:"side_rate" json:"side_rate" doc:"row-wise Adagrad step of the side table"`
	TermRate     float64 `koanf:"term_rate" json:"term_rate" doc:"AdamW step of the terms' weights"`
	Clip         float64 `koanf:"clip" json:"clip" doc:"bound of the norm of the shared weights' gradient, the terms' apart; 0 is none"`
	Init         string  `koanf:"init" json:"init" doc:"carry: an untrained block hands on what it sees; plain: random"`
	InitStd      float64 `koanf:"init_std" json:"init_std" doc:"deviation of fresh weights and rows"`
	Seed         uint64  `koanf:"seed" json:"seed" doc:"of fresh weights, fresh rows and sampling"`
	Lanes        int     `koanf:"lanes" json:"lanes" doc:"parts a batch is computed in at the same time; the sums depend on it, not on the machine's cores"`
}

// The words of the switches.
const (
	session = "session"
	item    = "item"
	causal  = "causal"
	token   = "token"
	none    = "none"
	hstu    = "hstu"
	softmax = "softmax"
	sampled = "sampled"
	full    = "full"
	adagrad = "adagrad"
	adam    = "adam"
	batch   = "batch"
	grouped = "group"
	carry   = "carry"
	plain   = "plain"
)

// DefaultConfig returns the defaults, each with its reason. "Measured" means on a stream of news clicks, next click.
func DefaultConfig() Config {
	return Config{
		Dim: 64, Blocks: 2, Heads: 2, // trains in milliseconds on one core
		MaxSessions: 20, MaxTokens: 128, // a part is often one click: twenty of them are some forty tokens
		Scenes:   16,
		SideRows: 4096,                                         // a megabyte; every delta carries the rows in use
		MaxItems: 1 << 20, AdmitAfter: 1, AdmitSketch: 1 << 20, // some 400 MB of rows at width 64, and a megabyte

		Tokens: session, Mask: session, Rotary: session, TimeBias: true, Attention: hstu, // TBGRecall
		ExpertWidth: 64, Horizon: 1, HorizonDecay: 0.5, // see BENCHMARKS.md, Ablations
		Temperature: 0.05, // HSTU's; the product of the plain vectors is measured as good, with no temperature to choose
		ItemBias:    true,
		Terms:       true, // without a table attached it is as if they were off

		Loss:               sampled,
		MaxTargets:         8,
		NegativesUniform:   512, // 512 + 512 with correction measured equal to the full softmax over 7,000 items
		NegativesRecent:    512,
		NegativesPer:       batch,
		NegativesInBatch:   true,
		LogQ:               true, // measured: .008 recall less without
		RecentWindow:       8192,
		LossWithoutHistory: false,  // measured: +.004 recall without them
		DenseRate:          0.0005, // measured: .002 is worse by .005 recall and .012 MRR, .004 by .010 and .020
		Beta1:              0.9,
		Beta2:              0.99, // shorter memory than usual: the stream drifts
		RowOptimizer:       adagrad,
		RowRate:            0.05, // measured against Adam .01: +.015 recall
		SideRate:           0.1,  // measured over two seeds: .05 is worse by .004 recall, .2 by .002; its rows are seen in every step, so they slow down soon
		TermRate:           0.01, // measured on 100,000 clicks: .03 is worse by .002 recall@20, .1 by .010; .003 equal
		Clip:               5,    // measured equal to none; the norm is about 4, so it holds back only a wild batch
		Init:               carry,
		InitStd:            0.02,
		Seed:               1,
		Lanes:              2, // the smallest machine worth training on has two cores
	}
}

// formOf is what two models must share for the weights of one to mean something in the other.
type formOf struct {
	Format        int     `json:"format"` // of the computation: changes when the same weights would give other scores
	Dim           int     `json:"dim"`
	Blocks        int     `json:"blocks"`
	Heads         int     `json:"heads"`
	MaxSessions   int     `json:"max_sessions"`
	MaxTokens     int     `json:"max_tokens"`
	Scenes        int     `json:"scenes"`
	UserRows      int     `json:"user_rows"`
	Tokens        string  `json:"tokens"`
	Mask          string  `json:"mask"`
	Rotary        string  `json:"rotary"`
	ScaledInput   bool    `json:"scaled_input"`
	Absolute      bool    `json:"absolute"`
	Distance      bool    `json:"distance"`
	TimeBias      bool    `json:"time_bias"`
	Attention     string  `json:"attention"`
	FFN           int     `json:"ffn"`
	Experts       int     `json:"experts"`
	ExpertWidth   int     `json:"expert_width"`
	TokenNetworks bool    `json:"token_networks"`
	Exposures     bool    `json:"exposures"`
	Horizon       int     `json:"horizon"`
	Cosine        bool    `json:"cosine"`
	Temperature   float64 `json:"temperature"`
	Terms         string  `json:"terms"` // item terms and kinds of marks; "" where they are off
	Sides         string  `json:"sides"` // the fields of the side information
}

const computation = 3

// form returns the JSON of what the scores depend on besides the weights.
func (c Config) form() string {
	b, err := json.Marshal(formOf{
		computation, c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes, c.UserRows,
		c.Tokens, c.Mask, c.Rotary, c.ScaledInput, c.Absolute, c.Distance, c.TimeBias, c.Attention, c.FFN, c.Experts, c.ExpertWidth, c.TokenNetworks, c.Exposures, c.Horizon,
		c.Cosine, c.Temperature, c.termNames(), sideNames(),
	})
	if err != nil {
		panic("model: config: " + err.Error()) // plain values always encode
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
	if c.Terms = f.Terms != ""; f.Terms != c.termNames() {
		return Config{}, fmt.Errorf("config: terms %q are not those of this program (%q): run the same freshet on both sides", f.Terms, c.termNames())
	}
	c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes, c.UserRows = f.Dim, f.Blocks, f.Heads, f.MaxSessions, f.MaxTokens, f.Scenes, f.UserRows
	c.Tokens, c.Mask, c.Rotary, c.ScaledInput, c.Absolute, c.Distance, c.TimeBias = f.Tokens, f.Mask, f.Rotary, f.ScaledInput, f.Absolute, f.Distance, f.TimeBias
	c.Attention, c.FFN, c.Experts, c.ExpertWidth, c.TokenNetworks = f.Attention, f.FFN, f.Experts, f.ExpertWidth, f.TokenNetworks
	c.Exposures, c.Horizon, c.Cosine, c.Temperature = f.Exposures, f.Horizon, f.Cosine, f.Temperature
	return c, c.Validate()
}

// Digest is the sha256, in hex, of what two models must share to exchange weights.
func (c Config) Digest() string {
	sum := sha256.Sum256([]byte(c.form()))
	return hex.EncodeToString(sum[:])
}
