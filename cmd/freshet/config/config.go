package config

import (
	"time"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/trainer"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Config is every setting. The tags give each its key, its sentence in the reference, and whether it is a secret.
type Config struct {
	DataDir string  `koanf:"data_dir" doc:"directory of everything that is kept; one process at a time"`
	Log     Log     `koanf:"log" doc:"what is written to standard error"`
	Kafka   Kafka   `koanf:"kafka" doc:"where clicks come from"`
	NATS    NATS    `koanf:"nats" doc:"where model updates go"`
	Source  Source  `koanf:"source" doc:"what up and produce put into Kafka, and what its records look like"`
	Sim     Sim     `koanf:"sim" doc:"the simulated shop (source.from: sim, and simulate)"`
	Window  Window  `koanf:"window" doc:"how clicks become sessions"`
	Ingest  Ingest  `koanf:"ingest" doc:"what is kept of the log of sessions"`
	Flight  Flight  `koanf:"flight" doc:"how sessions travel between machines, over Arrow Flight"`
	Train   Train   `koanf:"train" doc:"how the model learns"`
	Publish Publish `koanf:"publish" doc:"how versions go out"`
	Serve   Serve   `koanf:"serve" doc:"how recommendations are served"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `koanf:"level" doc:"the least level that is written" enum:"debug,info,warn,error"`
	Format string `koanf:"format" doc:"auto is coloured text on a terminal and key=value elsewhere" enum:"auto,text,json"`
}

// Kafka names the click topic and where it is.
type Kafka struct {
	Brokers        []string      `koanf:"brokers" doc:"host:port of brokers; none runs a broker inside up"`
	Topic          string        `koanf:"topic" doc:"the click topic"`
	Group          string        `koanf:"group" doc:"the consumer group"`
	Partitions     int           `koanf:"partitions" doc:"of the topic where up makes it; fixed from then on"`
	Port           int           `koanf:"port" doc:"of the embedded broker on 127.0.0.1; 0 picks one"`
	DeadLetters    string        `koanf:"dead_letters" doc:"topic that records put aside are forwarded to, with Kafka Connect's headers; empty forwards none"`
	Retention      time.Duration `koanf:"retention" doc:"how long the embedded broker keeps clicks, from when it makes the topic; 0s keeps them all"`
	RetentionBytes int64         `koanf:"retention_bytes" doc:"how many bytes of a partition it keeps; 0 keeps them all"`
	Sync           bool          `koanf:"sync" doc:"whether the embedded broker waits for the disk before it acknowledges"`
	Assign         string        `koanf:"assign" doc:"partitions that this process reads, such as 0-3,7 or 4- (all from 4 on); empty has the group share them out"`
	OnExpired      string        `koanf:"on_expired" doc:"when retention has removed clicks before they were read: go on with the earliest there are, or stop" enum:"earliest,stop"`
	TLS            KafkaTLS      `koanf:"tls" doc:"how connections to the brokers are encrypted"`
	SASL           KafkaSASL     `koanf:"sasl" doc:"as whom the brokers know this process"`
}

// KafkaTLS says how connections to brokers are encrypted.
type KafkaTLS struct {
	Enabled    bool   `koanf:"enabled" doc:"whether they are"`
	CAFile     string `koanf:"ca_file" doc:"PEM file of the authorities that sign the brokers' certificates; empty takes the machine's"`
	CertFile   string `koanf:"cert_file" doc:"PEM file of the certificate by which the brokers know this process"`
	KeyFile    string `koanf:"key_file" doc:"PEM file of its key"`
	ServerName string `koanf:"server_name" doc:"the name in the brokers' certificates where it is not the one they are reached by"`

	AcceptAnyCertificate bool `koanf:"insecure_accept_any_certificate" doc:"trusts whoever answers: anyone on the way can then read and change everything"`
}

// KafkaSASL says as whom the brokers know this process.
type KafkaSASL struct {
	Mechanism    string `koanf:"mechanism" doc:"how the user proves who it is" enum:"none,PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"`
	User         string `koanf:"user" doc:"name of the user"`
	Password     string `koanf:"password" doc:"its password; better in FRESHET_KAFKA_SASL_PASSWORD or in password_file than here" secret:"true"`
	PasswordFile string `koanf:"password_file" doc:"a file that holds the password, read anew for each connection"`
}

// Embedded reports whether up runs the broker itself.
func (k Kafka) Embedded() bool { return len(k.Brokers) == 0 }

// Source says what is produced into Kafka, and what its records look like.
type Source struct {
	From           string            `koanf:"from" doc:"sim, kafka (what the topic gets from elsewhere), or the path of a file"`
	Format         string            `koanf:"format" doc:"of the topic's records (json, avro, protobuf) or of the file; auto goes by the schema there is, and by the file's ending" enum:"auto,json,avro,protobuf,csv,jsonl,diginetica,globo,movielens,otto,retailrocket,taobao,yoochoose"`
	Sort           string            `koanf:"sort" doc:"whether a file is put in the order of its times first; auto does so with published data sets, whose rows come by user or by session" enum:"auto,yes,no"`
	Speed          string            `koanf:"speed" doc:"1x is real time, 10x ten times as fast, max as fast as it goes; auto is 1x for live sim, else max"`
	Clicks         int               `koanf:"clicks" doc:"stop after so many records; 0 is all of a file, and no end of sim"`
	Fields         map[string]string `koanf:"fields" doc:"names of the click's fields in the input where they differ, e.g. user_id: visitor.id; - leaves one out"`
	Actions        map[string]string `koanf:"actions" doc:"what actions of the input mean, e.g. addtocart: cart; others keep their name and are trained as click"`
	Framing        string            `koanf:"framing" doc:"whether records begin with 0x00 and a schema id; auto is confluent with a registry, else none" enum:"auto,none,confluent"`
	SchemaFile     string            `koanf:"schema_file" doc:"schema of all records, .avsc or .proto, where there is no registry"`
	SchemaMessage  string            `koanf:"schema_message" doc:"the message of a .proto file that the records are; not needed if it has one"`
	SchemaRegistry SchemaRegistry    `koanf:"schema_registry" doc:"where the schemas of records are"`
}

// SchemaRegistry is a registry with Confluent's API.
type SchemaRegistry struct {
	URL      string        `koanf:"url" doc:"http://host:8081; several, separated by commas, are tried in turn; empty is none" secret:"url"`
	User     string        `koanf:"user" doc:"who asks, where it wants to know"`
	Password string        `koanf:"password" doc:"of the user" secret:"true"`
	Token    string        `koanf:"token" doc:"bearer token, in place of a user" secret:"true"`
	CAFile   string        `koanf:"ca_file" doc:"PEM file of the certificates that the registry's is signed with; empty takes the system's"`
	CertFile string        `koanf:"cert_file" doc:"PEM file of the certificate to show, where it wants one"`
	KeyFile  string        `koanf:"key_file" doc:"PEM file of that certificate's key"`
	Timeout  time.Duration `koanf:"timeout" doc:"bound on a look-up; a registry that is away is asked again until it answers"`
}

// Sim shapes the simulated shop. Shares are of clean records, between 0 and 0.5.
type Sim struct {
	Seed          uint64        `koanf:"seed" doc:"of all its randomness"`
	Rate          float64       `koanf:"rate" doc:"records per second of event time"`
	Users         int           `koanf:"users" doc:"users that come and go"`
	Items         int           `koanf:"items" doc:"items alive at a time"`
	Clusters      int           `koanf:"clusters" doc:"categories of items"`
	SessionClicks float64       `koanf:"session_clicks" doc:"mean length of a session"`
	Think         time.Duration `koanf:"think" doc:"median time between two clicks of a session"`
	ItemLife      time.Duration `koanf:"item_life" doc:"median time from an item's birth to its death"`
	TasteDrift    float64       `koanf:"taste_drift" doc:"share of sessions before which a user exchanges one favourite"`
	TasteJump     float64       `koanf:"taste_jump" doc:"share of sessions before which a user exchanges all of them"`
	ExposureShare float64       `koanf:"exposure_share" doc:"share of exposures"`
	OutOfOrder    float64       `koanf:"out_of_order" doc:"share delivered out of order, in time"`
	Late          float64       `koanf:"late" doc:"share delivered too late"`
	Duplicate     float64       `koanf:"duplicate" doc:"share delivered twice"`
	Undecodable   float64       `koanf:"undecodable" doc:"share of additional records that are not JSON"`
	Invalid       float64       `koanf:"invalid" doc:"share of additional records that break a rule"`
}

// Window is the session windows' configuration.
type Window struct {
	Gap              time.Duration `koanf:"gap" doc:"longest distance of two clicks of one session"`
	Lateness         time.Duration `koanf:"lateness" doc:"how much later than the newest click a click may come; each second of it is a second of freshness"`
	PartAge          time.Duration `koanf:"part_age" doc:"how long a click of an open session may wait to be trained on; 0s waits for the end"`
	PartClicks       int           `koanf:"part_clicks" doc:"how many clicks of an open session may wait; 0 waits for the end"`
	MaxSessionAge    time.Duration `koanf:"max_session_age" doc:"closes a session that no gap ever closes"`
	MaxSessionClicks int           `koanf:"max_session_clicks" doc:"closes a session with so many clicks"`
	MaxOpenSessions  int           `koanf:"max_open_sessions" doc:"of a partition; one more closes the one that has been quiet for longest; 0 is no bound"`
	IdleAfter        time.Duration `koanf:"idle_after" doc:"silence after which the clock moves a partition's watermark; 0s never, as in replay"`
	MaxAhead         time.Duration `koanf:"max_ahead" doc:"how far after its arrival a click's time may lie"`
}

// Train is the trainer's configuration.
type Train struct {
	Seed            uint64          `koanf:"seed" doc:"of the model's beginning"`
	BatchParts      int             `koanf:"batch_parts" doc:"most parts of a micro-batch"`
	BatchSpan       time.Duration   `koanf:"batch_span" doc:"longest event time of a micro-batch"`
	HistoryParts    int             `koanf:"history_parts" doc:"earlier parts of a user that the model sees"`
	TestParts       int             `koanf:"test_parts" doc:"parts of a micro-batch that all recommenders are tested on before they learn from it; 0 is all"`
	PublishEvery    time.Duration   `koanf:"publish_every" doc:"pause between two versions"`
	WeightsEvery    time.Duration   `koanf:"weights_every" doc:"pause between two versions with weights; those between carry the live tables alone; 0s is weights in every version"`
	CheckpointEvery time.Duration   `koanf:"checkpoint_every" doc:"pause between two checkpoints; what came later is read again after a crash"`
	KeepCheckpoints int             `koanf:"keep_checkpoints" doc:"restore points that stay on the disk, beside one of before the newest base"`
	OnGap           string          `koanf:"on_gap" doc:"when the log begins behind the newest checkpoint: stop, or continue without the clicks between" enum:"stop,continue"`
	Drift           string          `koanf:"drift" doc:"what a lasting rise of the loss leads to: watch counts it; adapt takes larger steps for the next 200, too" enum:"watch,adapt"`
	Model           model.Config    `koanf:"model" doc:"what the model looks like and how it learns; changing it begins a new model, in another data directory"`
	Live            baseline.Config `koanf:"live" doc:"what is counted click by click: it enters the scores, and recommends by itself"`
	Recency         recency.Config  `koanf:"recency" doc:"what is trained on when, and what gives way when time runs short"`
}

// The choices of Train.OnGap.
const (
	OnGapStop     = "stop"
	OnGapContinue = "continue"
)

// ModelConfig returns the config of the model, with the fields that are no keys of Model (elsewhere) set by what sets them.
func (t Train) ModelConfig() model.Config {
	m := t.Model
	m.Seed, m.MaxSessions = t.Seed, t.HistoryParts
	return m
}

// Publish is the publisher's configuration.
type Publish struct {
	Model     string  `koanf:"model" doc:"the name under which versions are published"`
	BaseEvery int     `koanf:"base_every" doc:"a whole model after so many deltas"`
	KeyFile   string  `koanf:"key_file" doc:"file with the seed that versions are signed with, as freshet key make writes it; empty takes the data directory's, which is made with it"`
	MaxDrop   float64 `koanf:"max_drop" doc:"a version whose recall fell by more than this share is not published"`
	Rows      string  `koanf:"rows" doc:"how weights travel: float32; int8, a byte a number of an item and two of a shared weight"`
	MinChange float64 `koanf:"min_change" doc:"an item's vector that moved by less than this share of its length waits until it adds up; 0 withholds nothing: replicas then score as the trainer does"`
	TakeOver  bool    `koanf:"take_over" doc:"takes the line of versions from a trainer that holds it, which then stops; without, this one is refused"`
}

// Serve is the replicas' configuration.
type Serve struct {
	Listen         string   `koanf:"listen" doc:"host:port of the HTTP API; port 0 picks one and prints it"`
	Replicas       int      `koanf:"replicas" doc:"how many replicas up runs"`
	Precision      string   `koanf:"precision" doc:"of the first look at all items: float32, exact; int8, a quarter of the memory to read, what scores high is scored again exactly; int4, the same of an eighth"`
	Index          string   `koanf:"index" doc:"how the best items are looked for: exact, at all of them; ivf, in lists of items that are alike; auto, ivf beyond 200,000 items"`
	MinRecall      float64  `koanf:"min_recall" doc:"an index that finds a smaller share of the best 100 is not used"`
	Probes         int      `koanf:"probes" doc:"lists of the index that a request looks into; 0 measures how many min_recall needs"`
	Cores          int      `koanf:"cores" doc:"cores that may look at all items for one request, if no other request's look has them"`
	CacheBytes     int64    `koanf:"cache_bytes" doc:"memory for what the replicas of this process have read of the users who asked last; 0 reads each history anew"`
	LiveBytes      int64    `koanf:"live_bytes" doc:"memory for clicks that are in no part of a history yet, so that they count at once; 0 waits for the parts"`
	TrustedKeys    []string `koanf:"trusted_keys" doc:"nkey public keys whose signature serve accepts; none accepts any version"`
	WarmupRequests int      `koanf:"warmup_requests" doc:"requests that a version has to answer before it serves, the last of each of so many users; 0 asks it a made-up one alone"`
	Token          string   `koanf:"token" doc:"bearer token that callers must send; without it and a token_file none is asked for" secret:"true"`
	ServeLimits    `koanf:",squash"`
	TLS            ServeTLS    `koanf:"tls" doc:"PEM files of the HTTP API, read again when they change"`
	Traces         ServeTraces `koanf:"traces" doc:"OpenTelemetry traces of requests"`
}

// Serving returns how replicas hold versions.
func (s Serve) Serving() model.Serving {
	return model.Serving{Precision: model.Precision(s.Precision), Index: model.Index(s.Index), MinRecall: s.MinRecall, Probes: s.Probes, Cores: s.Cores}
}

// Default returns the configuration that runs without any setting. What belongs to a part is that part's own default, and its
// reason stands there.
func Default() Config {
	w, s, t := window.DefaultConfig(), sim.DefaultConfig(), trainer.DefaultConfig()
	live := ingest.DefaultOptions("")
	return Config{
		DataDir: "freshet-data",
		Log:     Log{Level: "info", Format: "auto"},
		// Four partitions keep both cores of a small machine busy and every user on one of them.
		Kafka: Kafka{Brokers: []string{}, Topic: "clicks", Group: "freshet", Partitions: 4,
			OnExpired: string(source.ExpiredEarliest), SASL: KafkaSASL{Mechanism: "none"}},
		Source: Source{From: "sim", Format: "auto", Sort: "auto", Speed: "auto", Fields: map[string]string{}, Actions: map[string]string{},
			Framing: "auto", SchemaRegistry: SchemaRegistry{Timeout: 5 * time.Second}}, // more than a registry takes that is well
		Sim: Sim{Seed: s.Seed, Rate: s.Rate, Users: s.Users, Items: s.Items, Clusters: s.Clusters, SessionClicks: s.SessionClicks,
			Think: s.Think, ItemLife: s.ItemLife, TasteDrift: s.TasteDrift, TasteJump: s.TasteJump, ExposureShare: s.ExposureShare,
			OutOfOrder: s.OutOfOrder, Late: s.Late, Duplicate: s.Duplicate, Undecodable: s.Undecodable, Invalid: s.Invalid},
		Window: Window{Gap: w.Gap, Lateness: w.LatenessBound, PartAge: w.PartAge, PartClicks: w.PartClicks,
			MaxSessionAge: w.MaxSessionAge, MaxSessionClicks: w.MaxSessionClicks, MaxOpenSessions: w.MaxOpenSessions,
			IdleAfter: live.IdleAfter, MaxAhead: live.MaxAhead},
		Train: Train{Seed: t.Learn.Model.Seed, BatchParts: t.BatchParts, BatchSpan: t.BatchSpan, HistoryParts: t.Learn.HistoryParts, TestParts: t.Learn.TestParts,
			PublishEvery: t.PublishEvery, WeightsEvery: t.WeightsEvery, CheckpointEvery: t.CheckpointEvery,
			KeepCheckpoints: t.KeepCheckpoints, OnGap: OnGapStop, Drift: t.Learn.Drift, Model: t.Learn.Model, Live: t.Learn.Baseline, Recency: t.Learn.Recency},
		// A month is what recommenders on clicks were found to gain from; more histories only cost. A quarter GiB is what the
		// store needs to bring what it has in memory to the disk.
		Ingest: Ingest{Keep: 30 * 24 * time.Hour, MinFree: 256 << 20,
			Snapshots: SnapshotsAuto, SnapshotEvery: ingest.MoveOptions{}.WithDefaults().SnapshotEvery},
		// What serve keeps is what requests may look back on: as much as replicas ask for of a user who comes twice a week. Fifty parts are more than a version reads; four
		// GiB are a few million users.
		Flight:  Flight{Listen: FlightAuto, Feed: []string{}, Keep: 30 * 24 * time.Hour, KeepParts: 50, KeepBytes: 4 << 30},
		Publish: Publish{Model: "default", BaseEvery: 64, MaxDrop: 0.5, Rows: string(t.Publishing.Rows), MinChange: t.Publishing.MinChange},
		// Exact answers are the same of every replica. Two cores on one look help only where requests are few.
		Serve: Serve{Listen: "127.0.0.1:8080", Replicas: 2, Precision: string(model.Float32), Index: string(model.Exact), MinRecall: 0.95, Cores: 1,
			CacheBytes: 256 << 20, WarmupRequests: 64, LiveBytes: 64 << 20, TrustedKeys: []string{}, ServeLimits: defaultServeLimits(), Traces: ServeTraces{Sample: 0.01}},
	}
}
