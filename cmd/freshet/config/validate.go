package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/trainer/model"
)

// clickFields are the names that source.fields may map.
var clickFields = decode.Fields()

// Validate reports every fault of c at once as a Faults, or nil.
func (c Config) Validate() error {
	if f := c.faults(); len(f) > 0 {
		return f.sorted()
	}
	return nil
}

type checker struct{ faults Faults }

func (c *checker) fault(key, problem, next string) {
	c.faults = append(c.faults, Fault{Key: key, Problem: problem, Next: next})
}

func (c *checker) set(key, text string) {
	if text == "" {
		c.fault(key, "it is empty", "give it a value")
	}
}

// between checks lo <= n <= hi.
func between[T int | int64 | float64](c *checker, key string, n, lo, hi T) {
	if !(n >= lo && n <= hi) {
		c.fault(key, fmt.Sprintf("%v is out of range", n), fmt.Sprintf("write a number from %v to %v", lo, hi))
	}
}

func (c *checker) duration(key string, d, lo time.Duration) {
	if d < lo {
		c.fault(key, fmt.Sprintf("%v is too short", d), fmt.Sprintf("write at least %v", lo))
	}
}

func (c *checker) hostPort(key, address string) {
	_, port, err := net.SplitHostPort(address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		c.fault(key, fmt.Sprintf("%q is not an address", address), "write host:port, such as 127.0.0.1:8080")
	}
}

func (c Config) faults() Faults {
	var k checker
	k.set("data_dir", c.DataDir)
	k.kafka(c.Kafka)
	k.nats(c.NATS)
	k.source(c)
	k.sim(c.Sim)
	k.window(c.Window)
	k.train(c.Train)
	k.ingest(c.Ingest)
	k.flight(c.Flight)
	k.set("publish.model", c.Publish.Model)
	if strings.ContainsAny(c.Publish.Model, " .*>/\\\t") {
		k.fault("publish.model", fmt.Sprintf("%q cannot be part of a subject", c.Publish.Model), "use letters, digits, - and _")
	}
	between(&k, "publish.base_every", c.Publish.BaseEvery, 1, 10_000)
	between(&k, "publish.max_drop", c.Publish.MaxDrop, 0, 1)
	if err := (model.Publishing{Rows: model.Precision(c.Publish.Rows)}).Validate(); err != nil {
		k.fault("publish.rows", fmt.Sprintf("%q is no way for weights to travel", c.Publish.Rows), "write float32 or int8")
	}
	between(&k, "publish.min_change", c.Publish.MinChange, 0, 0.5)
	k.hostPort("serve.listen", c.Serve.Listen)
	between(&k, "serve.replicas", c.Serve.Replicas, 1, 64)
	if err := model.Precision(c.Serve.Precision).Validate(); err != nil {
		k.fault("serve.precision", fmt.Sprintf("%q is no precision", c.Serve.Precision), "write float32, int8 or int4")
	}
	if err := model.Index(c.Serve.Index).Validate(); err != nil {
		k.fault("serve.index", fmt.Sprintf("%q is no index", c.Serve.Index), "write exact, ivf or auto")
	}
	between(&k, "serve.min_recall", c.Serve.MinRecall, 0.5, 1)
	between(&k, "serve.probes", c.Serve.Probes, 0, 8192)
	between(&k, "serve.cores", c.Serve.Cores, 1, 256)
	between(&k, "serve.cache_bytes", c.Serve.CacheBytes, 0, 1<<50)
	between(&k, "serve.warmup_requests", c.Serve.WarmupRequests, 0, 10_000)
	between(&k, "serve.live_bytes", c.Serve.LiveBytes, 0, 1<<50)
	k.serveLimits(c.Serve.ServeLimits)
	k.serveTLS(c.Serve.TLS)
	k.serveTraces(c.Serve.Traces)
	return k.faults
}

func (c *checker) kafka(k Kafka) {
	for _, b := range k.Brokers {
		c.hostPort("kafka.brokers", b)
	}
	c.set("kafka.topic", k.Topic)
	c.set("kafka.group", k.Group)
	between(c, "kafka.partitions", k.Partitions, 1, 1024)
	between(c, "kafka.port", k.Port, 0, 65535)
	c.duration("kafka.retention", k.Retention, 0)
	between(c, "kafka.retention_bytes", k.RetentionBytes, 0, 1<<60)
	if _, err := source.ParsePartitions(k.Assign); err != nil {
		c.fault("kafka.assign", err.Error(), "")
	}
	c.kafkaSecurity(k)
}

// kafkaSecurity looks at what fits together. Whether files can be read is looked at by those who read them.
func (c *checker) kafkaSecurity(k Kafka) {
	t, s := k.TLS, k.SASL
	switch {
	case k.Embedded() && t.Enabled:
		c.fault("kafka.tls.enabled", "the embedded broker speaks plain text, on this machine only", "give --brokers host:port, or unset it")
	case !t.Enabled && t != (KafkaTLS{}):
		c.fault("kafka.tls.enabled", "it is not set, and other settings of kafka.tls are", "set it to true, or unset the others")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.fault("kafka.tls.cert_file", "a certificate and its key go together", "set both kafka.tls.cert_file and kafka.tls.key_file")
	}
	if s.Mechanism == "none" {
		if s != (KafkaSASL{Mechanism: "none"}) {
			c.fault("kafka.sasl.mechanism", "there is a user or a password, and no mechanism", "set it to one of "+strings.Join(source.Mechanisms, ", "))
		}
		return
	}
	if k.Embedded() {
		c.fault("kafka.sasl.mechanism", "the embedded broker knows no users", "give --brokers host:port, or unset it")
	}
	c.set("kafka.sasl.user", s.User)
	if (s.Password == "") == (s.PasswordFile == "") {
		c.fault("kafka.sasl.password", "there has to be one password", "set either kafka.sasl.password (FRESHET_KAFKA_SASL_PASSWORD) or kafka.sasl.password_file")
	}
}

func (c *checker) source(cfg Config) {
	s := cfg.Source
	c.set("source.from", s.From)
	if _, err := s.SpeedFactor(true); err != nil {
		c.fault("source.speed", fmt.Sprintf("%q is not a speed", s.Speed), "write 1x, 10x, max or auto")
	}
	if s.Clicks < 0 {
		c.fault("source.clicks", fmt.Sprintf("%d is negative", s.Clicks), "write 0 for all")
	}
	if s.Kind() == KindKafka && cfg.Kafka.Embedded() {
		c.fault("kafka.brokers", "source.from is kafka, and no broker is given", "give --brokers host:port")
	}
	if s.Kind() == KindFile {
		if _, err := s.FileFormat(); err != nil && s.Format != "auto" {
			c.fault("source.format", fmt.Sprintf("%s is a format of records, and source.from is a file", s.Format), "write csv, jsonl, or the name of a data set")
		}
		if len(s.Fields) > 0 && s.Format != "auto" && !source.InOrder(s.Format) {
			c.fault("source.fields", "the files of "+s.Format+" have names of their own", "leave it out, or read the file as csv")
		}
	}
	if _, err := s.Records(); err != nil && s.Kind() == KindKafka {
		c.fault("source.format", s.Format+" is a format of files, and source.from is kafka", "write auto, json, avro or protobuf")
	}
	c.registry(s)
	for name := range s.Fields {
		if !slices.Contains(clickFields, name) {
			c.fault("source.fields", fmt.Sprintf("%q is not a field of a click", name), nearest(name, clickFields, "map one of "+strings.Join(clickFields, ", ")))
		}
	}
}

func (c *checker) registry(s Source) {
	r := s.SchemaRegistry
	for part := range strings.SplitSeq(r.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if r.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			c.fault("source.schema_registry.url", "it is not the address of a schema registry", "write http://host:8081")
		}
	}
	c.duration("source.schema_registry.timeout", r.Timeout, 10*time.Millisecond)
	if r.User != "" && r.Token != "" {
		c.fault("source.schema_registry.token", "there is a user as well", "keep one of them")
	}
	if (r.CertFile == "") != (r.KeyFile == "") {
		c.fault("source.schema_registry.cert_file", "a certificate needs its key, and a key its certificate", "give cert_file and key_file")
	}
	if s.SchemaFile == "" {
		if s.SchemaMessage != "" {
			c.fault("source.schema_message", "there is no schema file", "give source.schema_file, or leave it out: records of a registry name their message")
		}
		if r.URL == "" && (s.Format == "avro" || s.Format == "protobuf") {
			c.fault("source.format", s.Format+" needs a schema", "give source.schema_registry.url or source.schema_file")
		}
		if r.URL != "" && s.Framing == "none" {
			c.fault("source.framing", "records that are not framed do not say which schema of the registry is theirs", "leave it out, or give source.schema_file")
		}
		return
	}
	if r.URL != "" {
		c.fault("source.schema_file", "there is a schema registry as well", "keep the one that has the schemas")
	}
	of := map[string]string{".avsc": "avro", ".proto": "protobuf"}[strings.ToLower(filepath.Ext(s.SchemaFile))]
	switch {
	case of == "":
		c.fault("source.schema_file", fmt.Sprintf("%s ends in neither .avsc nor .proto", s.SchemaFile), "name a schema of Avro or Protobuf")
	case (s.Format == "avro" || s.Format == "protobuf" || s.Format == "json") && s.Format != of:
		c.fault("source.schema_file", fmt.Sprintf("it is for %s, and source.format is %s", of, s.Format), "change one of them")
	}
}

func (c *checker) sim(s Sim) {
	between(c, "sim.rate", s.Rate, 0.001, 1e6)
	between(c, "sim.users", s.Users, 1, 100_000_000)
	between(c, "sim.items", s.Items, 2, 10_000_000)
	between(c, "sim.clusters", s.Clusters, 1, max(1, s.Items))
	between(c, "sim.session_clicks", s.SessionClicks, 1, 1000)
	c.duration("sim.think", s.Think, time.Millisecond)
	c.duration("sim.item_life", s.ItemLife, time.Second)
	between(c, "sim.taste_drift", s.TasteDrift, 0, 1)
	between(c, "sim.taste_jump", s.TasteJump, 0, 1)
	between(c, "sim.exposure_share", s.ExposureShare, 0, 0.9)
	for key, share := range map[string]float64{
		"sim.out_of_order": s.OutOfOrder, "sim.late": s.Late, "sim.duplicate": s.Duplicate,
		"sim.undecodable": s.Undecodable, "sim.invalid": s.Invalid,
	} {
		between(c, key, share, 0, 0.49)
	}
}

func (c *checker) window(w Window) {
	c.duration("window.gap", w.Gap, time.Millisecond)
	c.duration("window.lateness", w.Lateness, 0)
	c.duration("window.part_age", w.PartAge, 0)
	between(c, "window.part_clicks", w.PartClicks, 0, 1_000_000)
	c.duration("window.max_session_age", w.MaxSessionAge, max(w.Gap, time.Millisecond))
	between(c, "window.max_session_clicks", w.MaxSessionClicks, 1, 1_000_000)
	between(c, "window.max_open_sessions", w.MaxOpenSessions, 0, 1<<30)
	c.duration("window.idle_after", w.IdleAfter, 0)
	c.duration("window.max_ahead", w.MaxAhead, 0)
}

func (c *checker) train(t Train) {
	between(c, "train.batch_parts", t.BatchParts, 1, 65_536)
	c.duration("train.batch_span", t.BatchSpan, time.Millisecond)
	between(c, "train.test_parts", t.TestParts, 0, 65_536)
	c.duration("train.publish_every", t.PublishEvery, 10*time.Millisecond)
	c.duration("train.weights_every", t.WeightsEvery, 0)
	c.duration("train.checkpoint_every", t.CheckpointEvery, 10*time.Millisecond)
	between(c, "train.keep_checkpoints", t.KeepCheckpoints, 1, 1000)
	for _, f := range t.ModelConfig().Faults() {
		key := "train.model." + f.Key
		if other := elsewhere[key]; other != "" {
			key = other
		}
		c.fault(key, f.Problem, f.Next)
	}
	for _, err := range each(t.Live.Validate()) { // "baseline KEY: PROBLEM: NEXT"
		key, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), "baseline "), ": ")
		problem, next, _ := strings.Cut(rest, ": ")
		c.fault("train.live."+key, problem, next)
	}
	for _, err := range each(t.Recency.Validate()) { // "KEY VALUE: NEXT"
		key, rest, _ := strings.Cut(err.Error(), " ")
		problem, next, _ := strings.Cut(rest, ": ")
		c.fault("train.recency."+key, problem, next)
	}
}

// each returns the errors that were joined.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}
