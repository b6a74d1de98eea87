package main

import (
	"time"

	"github.com/freshet-ml/freshet/ingest/aside"
)

// The verbs and their flags. A flag with a key tag is a setting of package config under that key (or those keys): it is
// taken as text, so that its fault is reported together with those of the file and the environment.

// cli is the command line.
type cli struct {
	Up        UpCmd        `cmd:"" help:"Run everything in one process: broker, NATS, ingest, trainer, publisher, replicas."`
	Ingest    IngestCmd    `cmd:"" help:"Read clicks from Kafka into sessions, and show them over Arrow Flight."`
	Train     TrainCmd     `cmd:"" help:"Train on the sessions of ingest nodes, or read clicks from Kafka itself, and publish versions to NATS."`
	Serve     ServeCmd     `cmd:"" help:"Follow the published versions and serve recommendations over HTTP."`
	Produce   ProduceCmd   `cmd:"" help:"Send the clicks of a file to Kafka."`
	Simulate  SimulateCmd  `cmd:"" help:"Send the clicks of a simulated shop to Kafka, or write them to a file."`
	Replay    ReplayCmd    `cmd:"" help:"Let models and settings go through the same clicks, each asked before it learns, and print how they compare."`
	Export    ExportCmd    `cmd:"" help:"Write sessions, clicks or the records aside as Parquet, Arrow or CSV."`
	Aside     AsideCmd     `cmd:"" help:"See the records that were put aside, and send them again."`
	Models    ModelsCmd    `cmd:"" help:"See the published versions, pin replicas to one, go back, try one on a share of the users."`
	Recommend RecommendCmd `cmd:"" help:"Ask a replica what to recommend to a user."`
	Key       KeyCmd       `cmd:"" help:"Make keys, and print whose they are: to sign versions with, and to be a user of NATS."`
	Config    ConfigCmd    `cmd:"" help:"Print the configuration that is in effect, and where each setting comes from."`
	Health    HealthCmd    `cmd:"" help:"Ask a running freshet whether it is ready; for health checks."`
	Version   VersionCmd   `cmd:"" help:"Print the version."`
}

// Settings are the flags of every verb that has a configuration.
type Settings struct {
	File      string `name:"config" placeholder:"FILE" env:"FRESHET_CONFIG" help:"Read settings from this YAML file; freshet config lists them all."`
	LogLevel  string `key:"log.level" placeholder:"LEVEL" help:"debug, info, warn or error (info)."`
	LogFormat string `key:"log.format" placeholder:"FORMAT" help:"text, json or auto, which colours text on a terminal (auto)."`
}

// DataDir is the flag of verbs that keep something.
type DataDir struct {
	DataDir string `key:"data_dir" placeholder:"DIR" help:"Directory of everything that is kept (freshet-data)."`
}

// KafkaFlags say where clicks are.
type KafkaFlags struct {
	Brokers string `key:"kafka.brokers" placeholder:"HOST:PORT,…" help:"Kafka brokers; up runs its own where none are given."`
	Topic   string `key:"kafka.topic" placeholder:"NAME" help:"The click topic (clicks)."`
}

// RecordFlags say what the records of the topic look like.
type RecordFlags struct {
	Fields         string `key:"source.fields" placeholder:"user_id=NAME,…" help:"How fields are called that have other names; a.b is b in a."`
	SchemaRegistry string `key:"source.schema_registry.url" placeholder:"URL" help:"Schema registry of Avro and Protobuf records."`
	SchemaFile     string `key:"source.schema_file" placeholder:"FILE" help:"Schema of Avro (.avsc) or Protobuf (.proto) records without a registry."`
}

// ReaderFlags say how a node reads the topic.
type ReaderFlags struct {
	Format     string `key:"source.format" placeholder:"json|avro|protobuf" help:"Of the records; by default what their schema says, else JSON."`
	Group      string `key:"kafka.group" placeholder:"NAME" help:"Consumer group (freshet)."`
	Partitions string `key:"kafka.assign" placeholder:"0-3,7" help:"Read these partitions, and join no group; 4- is all from 4 on."`
}

// NATSFlags say where versions go.
type NATSFlags struct {
	NATS string `name:"nats" key:"nats.url" placeholder:"URL" help:"NATS server with JetStream; up runs its own where none is given."`
}

// ListenFlags say where HTTP is served.
type ListenFlags struct {
	Listen string `key:"serve.listen" placeholder:"HOST:PORT" help:"Serve HTTP here (127.0.0.1:8080); port 0 picks one and prints it."`
}

// FlightFlags say where the log is shown to other machines.
type FlightFlags struct {
	FlightListen string `name:"flight-listen" key:"flight.listen" placeholder:"HOST:PORT" help:"Show the log of sessions over Arrow Flight here; port 0 picks one and prints it."`
}

// FeedFlags say whose log is read.
type FeedFlags struct {
	Feed string `name:"feed" key:"flight.feed" placeholder:"grpc://HOST:PORT,…" help:"Nodes to copy the log of sessions from."`
}

// UpCmd runs everything.
type UpCmd struct {
	Settings
	DataDir
	KafkaFlags
	NATSFlags
	ListenFlags
	FlightFlags
	RecordFlags
	Source   string `key:"source.from" placeholder:"sim|FILE|kafka" help:"Where clicks come from: the simulated shop (default), a file, or a Kafka topic."`
	Format   string `key:"source.format" placeholder:"FORMAT" help:"Of the file: csv, jsonl, or a data set as it is published (diginetica, globo, movielens, otto, retailrocket, taobao, yoochoose); of a topic's records: json, avro, protobuf."`
	Sort     string `key:"source.sort" placeholder:"yes|no" help:"Put the file in the order of its times first; by default data sets are."`
	Speed    string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes (a file max; the shop 1x, with --once max)."`
	Clicks   string `key:"source.clicks" placeholder:"N" help:"Stop the source after so many records (0: never)."`
	Seed     string `key:"sim.seed,train.seed" placeholder:"N" help:"Of the simulated shop and of the model (1)."`
	Replicas string `key:"serve.replicas" placeholder:"N" help:"How many replicas serve (2)."`
	Once     bool   `help:"End at the end of the input, when all of it is trained on, published and adopted."`
	JSON     bool   `name:"json" help:"Print the summary as one JSON object, the last line of standard output."`
}

// IngestCmd reads clicks into sessions.
type IngestCmd struct {
	Settings
	DataDir
	KafkaFlags
	ListenFlags
	FlightFlags
	RecordFlags
	ReaderFlags
	NATS string `name:"nats" key:"nats.url" placeholder:"URL" help:"NATS server with JetStream, through which partitions move between the nodes of the group."`
}

// TrainCmd is ingest and trainer in one process.
type TrainCmd struct {
	Settings
	DataDir
	KafkaFlags
	NATSFlags
	ListenFlags
	FlightFlags
	FeedFlags
	RecordFlags
	ReaderFlags
	Seed string `key:"train.seed" placeholder:"N" help:"Of the model (1)."`
}

// ServeCmd is one replica.
type ServeCmd struct {
	Settings
	DataDir
	NATSFlags
	ListenFlags
	FeedFlags
	ID string `name:"id" placeholder:"NAME" help:"Names this replica in reports and answers; by default the host's name."`
}

// ProduceCmd sends a file to Kafka.
type ProduceCmd struct {
	Settings
	KafkaFlags
	Source string `name:"file" arg:"" key:"source.from" help:"The file; - is standard input."`
	Format string `key:"source.format" placeholder:"FORMAT" help:"csv, jsonl, or a data set as it is published: diginetica, globo, movielens, otto, retailrocket, taobao, yoochoose; by default the file's ending says."`
	Fields string `key:"source.fields" placeholder:"user_id=NAME,…" help:"How columns or fields are called that have other names."`
	Sort   string `key:"source.sort" placeholder:"yes|no" help:"Put the file in the order of its times first; by default data sets are."`
	Speed  string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes (max)."`
	Clicks string `key:"source.clicks" placeholder:"N" help:"Stop after so many records (0: never)."`
}

// SimulateCmd sends the simulated shop to Kafka or into a file.
type SimulateCmd struct {
	Settings
	KafkaFlags
	Out    string `placeholder:"FILE" help:"Write JSON lines to this file instead of Kafka; - is standard output."`
	Speed  string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes to Kafka (1x, with --clicks max)."`
	Clicks string `key:"source.clicks" placeholder:"N" help:"Stop after so many records (0: never)."`
	Seed   string `key:"sim.seed" placeholder:"N" help:"Of all randomness (1)."`
	Rate   string `key:"sim.rate" placeholder:"R" help:"Records per second of event time (100)."`
}

// RecommendCmd asks a replica.
type RecommendCmd struct {
	User   string   `required:"" placeholder:"ID" help:"The user's id."`
	Server []string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"A replica (${default}), or several of one model: where one fails or is slow, the next is asked."`
	CallerFlags
	K       int      `short:"k" default:"20" help:"How many items (${default})."`
	Scene   string   `placeholder:"NAME" help:"Where on the site they will be shown."`
	Click   []string `sep:"none" placeholder:"ITEM" help:"An item that the user has just clicked; may be given several times, the oldest first."`
	Exclude []string `placeholder:"ITEM" help:"Items to leave out."`
	Token   string   `env:"FRESHET_SERVE_TOKEN" placeholder:"TOKEN" help:"Bearer token, where the replica asks for one."`
	JSON    bool     `name:"json" help:"Print the answer as it comes."`
}

// ExportCmd writes tables.
type ExportCmd struct {
	Settings
	DataDir
	What    string   `arg:"" enum:"sessions,clicks,aside" help:"sessions: one row per closed session; clicks: one per click of the log; aside: one per record put aside."`
	Format  string   `placeholder:"parquet|arrow|csv" enum:",parquet,arrow,csv" default:"" help:"Format of the file; by default its ending says, else parquet."`
	Out     string   `placeholder:"FILE|DIR|-" help:"Where to (WHAT.FORMAT here); - is standard output, and .gz compresses CSV."`
	Since   when     `placeholder:"TIME" help:"From this time on: a session by its end, a click by its event time, a record aside by its arrival. 2026-05-01T12:00:00Z, 2026-05-01, milliseconds, or how long before the newest: 24h."`
	Until   when     `placeholder:"TIME" help:"Before this time, written the same way."`
	Feed    []string `placeholder:"grpc://HOST:PORT" help:"Export from the logs of running nodes, which are copied first, instead of a data directory."`
	Server  string   `placeholder:"URL" help:"Export the records aside of a running freshet, such as http://127.0.0.1:8080."`
	Token   string   `key:"serve.token" placeholder:"TOKEN" help:"Bearer token, where that asks for one."`
	Open    bool     `help:"Sessions that are still open too, behind all others, with the clicks of theirs that are in the log."`
	Force   bool     `help:"Replace a file that is there already."`
	HeldMiB int64    `name:"held-mib" default:"256" placeholder:"N" help:"MiB of memory for sessions until they are closed (${default}); what does not fit is read twice."`
	JSON    bool     `name:"json" help:"Print the summary as one JSON object, the last line of standard output."`
}

// ReplayCmd compares arms over a bounded stream.
type ReplayCmd struct {
	Settings
	KafkaFlags
	RecordFlags
	Source        string   `name:"file" arg:"" optional:"" help:"The file, plain, gzip or Zstandard; - is standard input."`
	InputFrom     string   `name:"source" placeholder:"sim|kafka|FILE" help:"Where clicks come from, instead of FILE: kafka reads a part of a topic, by --from and --until, and touches no group."`
	DataDirectory string   `name:"data-dir" placeholder:"DIR" help:"Read the log that is in this data directory, instead of FILE. Nothing in it changes."`
	KeepLog       string   `placeholder:"DIR" help:"Keep the log that is made of the input in this directory; the next replay of the same input begins with it."`
	Protocol      string   `enum:"prequential,ader,leave-one-out" default:"prequential" placeholder:"prequential|ader|leave-one-out" help:"How arms are measured. prequential: each click is asked for before it is learned, in the order of the stream. ader: train up to a period, test on the next (a CSV file with a column period). leave-one-out: each user's last item is ranked among all items, those that the user had before left out; it is not trained on."`
	Arm           []string `sep:"none" placeholder:"NAME:KEY=VALUE,…" help:"What is compared; may be given several times. --dry-run prints all keys: of training and the model (seed, lr, batch, dim, blocks, …), of prequential (delay, weights_delay, freeze_after, …), of ader (periods, rehearse, scratch, live, …), and preset. Without one: the defaults."`
	Format        string   `placeholder:"FORMAT" help:"csv, jsonl, or a data set as it is published (diginetica, globo, movielens, otto, retailrocket, taobao, yoochoose); for leave-one-out also without times, pairs (USER ITEM a line, in order) or lists (USER ITEM ITEM … a line); by default the file's ending or its first lines say. Of a topic's records: json, avro, protobuf."`
	Sort          string   `key:"source.sort" placeholder:"yes|no" help:"Of prequential: put the file in the order of its times first; by default data sets are."`
	From          when     `placeholder:"TIME" help:"From this event time on; of a topic, the time of its records. 2026-05-01T12:00:00Z, 2026-05-01, or milliseconds; of a topic also how long ago: 24h."`
	Until         when     `placeholder:"TIME" help:"Before this time, written the same way."`
	Limit         int      `placeholder:"N" help:"At most so many clicks; of ader, so many cycles. By default all."`
	Every         int      `placeholder:"N" help:"Of ader: every Nth session of a period is asked for, instead of all."`
	PartClicks    string   `key:"window.part_clicks" placeholder:"N" help:"Clicks of a session that are scored and learned together (50); 1 asks for each click given those before."`
	Last          float64  `placeholder:"SHARE" default:"1" help:"Of prequential: the tables are of this last share of the tests, such as 0.8 (${default}, all); what comes before is learned all the same."`
	Period        string   `placeholder:"COLUMN" help:"Of ader: how the column with the period is called (period)."`
	Validate      bool     `help:"Of leave-one-out: ask for the last item but one, and train on neither; what is chosen by that can be reported on the last."`
	Repeats       bool     `help:"Of leave-one-out: leave the items that a user had before among the candidates, for files in which users come back to items."`
	CSV           string   `name:"csv" placeholder:"FILE" help:"Write the metrics over event time, or of each evaluation, to this file. It replaces an earlier one of its kind, and no other file."`
	Parquet       string   `placeholder:"FILE" help:"The same as Parquet."`
	Report        string   `placeholder:"FILE.html" help:"Write a report with plots, one file that needs nothing else."`
	DryRun        bool     `help:"Look at the input, check the arms, and print what would be trained."`
	JSON          bool     `name:"json" help:"Print the result as one JSON object, the last line of standard output."`

	began     time.Time
	inputName string // what was read, for a person
}

// AsideCmd is about records put aside.
type AsideCmd struct {
	List    AsideListCmd    `cmd:"" help:"List the records that were put aside."`
	Show    AsideShowCmd    `cmd:"" help:"Show one such record whole."`
	Redrive AsideRedriveCmd `cmd:"" help:"Send such records to their topic again, after what was wrong has been put right."`
}

// BookFlags say whose records aside are meant.
type BookFlags struct {
	Settings
	DataDir
	Server string `placeholder:"URL" help:"Ask the freshet that runs on the data directory, such as http://127.0.0.1:8080, instead of opening it."`
	Token  string `key:"serve.token" placeholder:"TOKEN" help:"Bearer token, where the server asks for one; by default the first of serve.token_file."`
	CallerFlags
}

// CallerFlags say whom a command that calls a running freshet over TLS trusts, and what it shows.
type CallerFlags struct {
	CA   string `name:"ca" placeholder:"FILE" help:"PEM file of who signs the server's certificate; by default whom the machine trusts."`
	Cert string `name:"cert" placeholder:"FILE" help:"PEM file of a certificate to show, where the server asks callers for one."`
	Key  string `name:"key" placeholder:"FILE" help:"PEM file of its key."`
}

// AsideFilter chooses records aside.
type AsideFilter struct {
	Reason    []string `placeholder:"REASON" help:"Only these: late, undecodable, invalid, oversize, overflow."`
	Partition []int32  `placeholder:"N" help:"Only those of these partitions."`
	Since     when     `placeholder:"TIME" help:"Only what arrived from then on: 2026-05-01T12:00:00Z, 2026-05-01, milliseconds, or how long ago: 10m."`
	Until     when     `placeholder:"TIME" help:"Only what arrived before then."`
}

// AsideListCmd lists records aside.
type AsideListCmd struct {
	BookFlags
	AsideFilter
	Limit int  `default:"50" placeholder:"N" help:"Show so many (${default}); 0 shows all."`
	JSON  bool `name:"json" help:"Print one JSON object a line, key and value in base64 and, where they are UTF-8, as text."`
}

// AsideShowCmd shows one record aside.
type AsideShowCmd struct {
	BookFlags
	Place aside.Place `arg:"" name:"partition:offset" help:"Which, as freshet aside list shows it: 3:17."`
	Raw   bool        `help:"Write the bytes of the value as they came, and nothing else."`
	JSON  bool        `name:"json" help:"Print it as JSON."`
}

// AsideRedriveCmd sends records aside again.
type AsideRedriveCmd struct {
	BookFlags
	AsideFilter
	Places      []aside.Place `arg:"" optional:"" name:"partition:offset" help:"Only these records."`
	Brokers     string        `key:"kafka.brokers" placeholder:"HOST:PORT,…" help:"Kafka brokers; with --server, by default those that it reads from."`
	Fields      string        `key:"source.fields" placeholder:"user_id=NAME,…" help:"How fields are called in the records that have other names."`
	To          string        `placeholder:"TOPIC" help:"Send to this topic instead of the one that they came from."`
	All         bool          `help:"All records aside."`
	IncludeLate bool          `help:"Late ones too, and those that would be late by now: where the same windows read them, they go aside again."`
	Unchecked   bool          `help:"Also those that this configuration would put aside again as undecodable, invalid or oversize."`
	DryRun      bool          `help:"Send nothing, and say what would be sent."`
	JSON        bool          `name:"json" help:"Print the summary as one JSON object."`
}

// KeyCmd is about keys.
type KeyCmd struct {
	Make KeyMakeCmd `cmd:"" help:"Make a key, write its seed to a file that only its owner can read, and print its public key."`
	Show KeyShowCmd `cmd:"" help:"Print the public key of the seed in a file."`
}

// KeyMakeCmd makes a key.
type KeyMakeCmd struct {
	File string `arg:"" help:"The file; it must not be there yet. It goes to publish.key_file or nats.nkey_seed_file, the public key to serve.trusted_keys or the NATS server."`
}

// KeyShowCmd prints a public key.
type KeyShowCmd struct {
	File string `arg:"" help:"A file with a seed; that of a data directory is DIR/keys/publisher.nk."`
}

// ConfigCmd prints the configuration in effect.
type ConfigCmd struct {
	Settings
	DataDir
	KafkaFlags
	NATSFlags
	ListenFlags
}

// HealthCmd asks a running process.
type HealthCmd struct {
	URL     string `arg:"" optional:"" default:"http://127.0.0.1:8080/readyz" help:"What to ask (${default})."`
	Timeout string `default:"3s" placeholder:"DURATION" help:"How long to wait for the answer (${default})."`
	CallerFlags
}

// VersionCmd prints the version.
type VersionCmd struct {
	JSON bool `name:"json" help:"Print it as JSON."`
}
