package main

// The verbs and their flags. A flag with a key tag is a setting of package config under that key (or those keys): it is
// taken as text, so that its fault is reported together with those of the file and the environment.

// cli is the command line.
type cli struct {
	Up        UpCmd        `cmd:"" help:"Run everything in one process: broker, NATS, ingest, trainer, publisher, replicas."`
	Ingest    IngestCmd    `cmd:"" help:"Read clicks from Kafka into sessions."`
	Train     TrainCmd     `cmd:"" help:"Read clicks from Kafka, train on their sessions, publish versions to NATS."`
	Serve     ServeCmd     `cmd:"" help:"Follow the published versions and serve recommendations over HTTP."`
	Produce   ProduceCmd   `cmd:"" help:"Send the clicks of a file to Kafka."`
	Simulate  SimulateCmd  `cmd:"" help:"Send the clicks of a simulated shop to Kafka, or write them to a file."`
	Recommend RecommendCmd `cmd:"" help:"Ask a replica what to recommend to a user."`
	Config    ConfigCmd    `cmd:"" help:"Print the configuration that is in effect, and where each setting comes from."`
	Health    HealthCmd    `cmd:"" help:"Ask a running freshet whether it is ready; for health checks."`
	Version   VersionCmd   `cmd:"" help:"Print the version."`
}

// Settings are the flags of every verb that has a configuration.
type Settings struct {
	File      string `name:"config" placeholder:"FILE" env:"FRESHET_CONFIG" help:"Read settings from this YAML file; freshet config lists them all."`
	LogLevel  string `key:"log.level" placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat string `key:"log.format" placeholder:"FORMAT" help:"auto, text or json."`
}

// DataDir is the flag of verbs that keep something.
type DataDir struct {
	DataDir string `key:"data_dir" placeholder:"DIR" help:"Directory of everything that is kept (freshet-data)."`
}

// KafkaFlags say where clicks are.
type KafkaFlags struct {
	Brokers string `key:"kafka.brokers" placeholder:"HOST:PORT,…" help:"Kafka brokers."`
	Topic   string `key:"kafka.topic" placeholder:"NAME" help:"The click topic (clicks)."`
}

// NATSFlags say where versions go.
type NATSFlags struct {
	NATS string `name:"nats" key:"nats.url" placeholder:"URL" help:"NATS server with JetStream."`
}

// ListenFlags say where HTTP is served.
type ListenFlags struct {
	Listen string `key:"serve.listen" placeholder:"HOST:PORT" help:"Serve HTTP here (127.0.0.1:8080); port 0 picks one and prints it."`
}

// UpCmd runs everything.
type UpCmd struct {
	Settings
	DataDir
	KafkaFlags
	NATSFlags
	ListenFlags
	Source   string `key:"source.from" placeholder:"sim|FILE|kafka" help:"Where clicks come from: the simulated shop (default), a file, or a Kafka topic."`
	Format   string `key:"source.format" placeholder:"csv|jsonl" help:"Format of the file; by default its ending says."`
	Speed    string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes."`
	Clicks   string `key:"source.clicks" placeholder:"N" help:"Stop the source after so many records."`
	Seed     string `key:"sim.seed,train.seed" placeholder:"N" help:"Of the simulated shop and of the model."`
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
	Group      string `key:"kafka.group" placeholder:"NAME" help:"Consumer group (freshet)."`
	Partitions string `key:"kafka.assign" placeholder:"0-3,7" help:"Read these partitions, and join no group; 4- is all from 4 on."`
}

// TrainCmd is ingest and trainer in one process.
type TrainCmd struct {
	Settings
	DataDir
	KafkaFlags
	NATSFlags
	ListenFlags
	Group      string `key:"kafka.group" placeholder:"NAME" help:"Consumer group (freshet)."`
	Partitions string `key:"kafka.assign" placeholder:"0-3,7" help:"Read these partitions, and join no group; 4- is all from 4 on."`
	Seed       string `key:"train.seed" placeholder:"N" help:"Of the model."`
}

// ServeCmd is one replica.
type ServeCmd struct {
	Settings
	DataDir
	NATSFlags
	ListenFlags
	ID string `name:"id" placeholder:"NAME" help:"Names this replica in reports and answers; by default the host's name."`
}

// ProduceCmd sends a file to Kafka.
type ProduceCmd struct {
	Settings
	KafkaFlags
	Source string `name:"file" arg:"" key:"source.from" help:"The file, CSV or JSON lines."`
	Format string `key:"source.format" placeholder:"csv|jsonl" help:"Format of the file; by default its ending says."`
	Speed  string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes (max)."`
	Clicks string `key:"source.clicks" placeholder:"N" help:"Stop after so many records."`
}

// SimulateCmd sends the simulated shop to Kafka or into a file.
type SimulateCmd struct {
	Settings
	KafkaFlags
	Out    string `placeholder:"FILE" help:"Write JSON lines to this file instead of Kafka; - is standard output."`
	Speed  string `key:"source.speed" placeholder:"1x|10x|max" help:"How fast event time passes."`
	Clicks string `key:"source.clicks" placeholder:"N" help:"Stop after so many records."`
	Seed   string `key:"sim.seed" placeholder:"N" help:"Of all randomness."`
	Rate   string `key:"sim.rate" placeholder:"R" help:"Records per second of event time (100)."`
}

// RecommendCmd asks a replica.
type RecommendCmd struct {
	User    string   `required:"" placeholder:"ID" help:"The user's id."`
	Server  string   `default:"http://127.0.0.1:8080" placeholder:"URL" help:"A replica (${default})."`
	K       int      `short:"k" default:"20" help:"How many items (${default})."`
	Scene   string   `placeholder:"NAME" help:"Where on the site they will be shown."`
	Click   []string `sep:"none" placeholder:"ITEM" help:"An item that the user has just clicked; may be given several times, the oldest first."`
	Exclude []string `placeholder:"ITEM,…" help:"Items to leave out."`
	Token   string   `env:"FRESHET_SERVE_TOKEN" placeholder:"TOKEN" help:"Bearer token, where the replica asks for one."`
	JSON    bool     `name:"json" help:"Print the answer as it comes."`
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
}

// VersionCmd prints the version.
type VersionCmd struct {
	JSON bool `name:"json" help:"Print it as JSON."`
}
