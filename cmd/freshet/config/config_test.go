package config_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/google/go-cmp/cmp"
)

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, p config.Places) config.Loaded {
	t.Helper()
	l, err := config.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDefaultIsValidAndLoadsAsItIs(t *testing.T) {
	if err := config.Default().Validate(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), load(t, config.Places{}).Config); diff != "" {
		t.Errorf("nothing given, and the configuration is not the default (-default +loaded):\n%s", diff)
	}
}

func TestLaterPlaceWins(t *testing.T) {
	file := yamlFile(t, "window: {gap: 1m, lateness: 2s, part_age: 3s}\nkafka:\n  brokers: [a:1, b:2]\nsource:\n  fields: {user_id: file}\n")
	environ := []string{"FRESHET_WINDOW_LATENESS=20s", "FRESHET_WINDOW_PART_AGE=30s", "FRESHET_SOURCE_FIELDS=item_id=env", "PATH=/bin", "FRESHET_SERVE_TOKEN="}
	flags := []config.Flag{{Name: "--part-age", Key: "window.part_age", Value: "300s"}, {Name: "--brokers", Key: "kafka.brokers", Value: "c:3, d:4"}}

	want := config.Default()
	want.Window.Gap = time.Minute
	want.Window.Lateness = 20 * time.Second
	want.Window.PartAge = 300 * time.Second
	want.Kafka.Brokers = []string{"c:3", "d:4"}
	want.Source.Fields = map[string]string{"item_id": "env"} // replaced as a whole
	got := load(t, config.Places{File: file, Environ: environ, Flags: flags})
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryTypeFromEveryPlace(t *testing.T) {
	want := config.Default()
	want.Kafka.Sync, want.Kafka.RetentionBytes, want.Kafka.Retention = true, 5_000_000_000, 36*time.Hour
	want.Sim.Seed, want.Sim.Late, want.Source.Clicks = 18_446_744_073_709_551_615, 0.25, 20_000
	want.Source.Fields = map[string]string{"user_id": "visitorid", "item_id": "itemid"}
	text := map[string]string{
		"kafka.sync": "true", "kafka.retention_bytes": "5_000_000_000", "kafka.retention": "36h", "sim.seed": "18446744073709551615",
		"sim.late": "0.25", "source.clicks": "20000", "source.fields": "user_id=visitorid,item_id=itemid",
	}
	var environ []string
	var flags []config.Flag
	byPath := map[string]config.Key{}
	for _, k := range config.Keys() {
		byPath[k.Path] = k
	}
	for key, value := range text {
		environ = append(environ, byPath[key].Env+"="+value)
		flags = append(flags, config.Flag{Name: "--x", Key: key, Value: value})
	}
	file := yamlFile(t, "kafka: {sync: true, retention_bytes: 5000000000, retention: 36h}\nsim: {seed: 18446744073709551615, late: 0.25}\n"+
		"source: {clicks: 20_000, fields: {user_id: visitorid, item_id: itemid}}\n")
	for name, p := range map[string]config.Places{"file": {File: file}, "environment": {Environ: environ}, "flags": {Flags: flags}} {
		if diff := cmp.Diff(want, load(t, p).Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestThreeFaultsAtOnce(t *testing.T) {
	file := yamlFile(t, "window:\n  gap: 20\n  latenes: 3s\nserve:\n  listen: nowhere\n")
	_, err := config.Load(config.Places{File: file})
	want := `the configuration has 3 faults:
  serve.listen (freshet.yaml line 5): "nowhere" is not an address: write host:port, such as 127.0.0.1:8080
  window.gap (freshet.yaml line 2): "20" is not a duration: write a number with a unit, such as 500ms, 30s, 20m or 6h
  window.latenes (freshet.yaml line 3): there is no such setting: did you mean window.lateness?`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestFaultsOfAllPlacesAtOnce(t *testing.T) {
	file := yamlFile(t, "windw: {gap: 3m}\nkafka: 7\nlog: {level: loud}\nnats: {url: [a, b]}\nwindow: {gap: 2m}\nwindow: {gap: 3m}\nsource: {fields: {user: u}}\n")
	_, err := config.Load(config.Places{
		File:    file,
		Environ: []string{"FRESHET_WINDOW_GAPP=1m", "FRESHET_SIM_LATE=none", "FRESHET_TRAIN_MODEL_HEADS=3", "FRESHET_SERVICE_HOST=10.0.0.1", "FRESHET_PORT_8080_TCP_ADDR=10.0.0.1"},
		Flags:   []config.Flag{{Name: "--speed", Key: "source.speed", Value: "fast"}, {Name: "--clicks", Key: "source.clicks", Value: "many"}, {Name: "--format", Key: "source.format", Value: "xml"}},
	})
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error is %T: %v", err, err)
	}
	want := [][3]string{ // key, place, and a word of what is wrong or next
		{"", "FRESHET_WINDOW_GAPP", "did you mean FRESHET_WINDOW_GAP?"},
		{"kafka", "freshet.yaml line 2", "section"},
		{"log.level", "freshet.yaml line 3", "debug, info, warn, error"},
		{"nats.url", "freshet.yaml line 4", "single value"},
		{"sim.late", "FRESHET_SIM_LATE", "not a number"},
		{"source.clicks", "--clicks", "whole number"},
		{"source.fields", "freshet.yaml line 7", "user_id"},
		{"source.format", "--format", "auto, json, avro, protobuf, csv, jsonl, diginetica"},
		{"source.speed", "--speed", "1x, 10x, max"},
		{"train.model.heads", "FRESHET_TRAIN_MODEL_HEADS", "3 heads do not divide"},
		{"window", "freshet.yaml line 6", "set twice, first in line 5"},
		{"windw", "freshet.yaml line 1", "did you mean window?"},
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d", len(faults), len(want))
	}
	for i := range min(len(faults), len(want)) {
		f := faults[i]
		if f.Key != want[i][0] || f.Where != want[i][1] || !strings.Contains(f.Error(), want[i][2]) {
			t.Errorf("fault %d: %q at %q: %v\nwant %q", i, f.Key, f.Where, f, want[i])
		}
	}
}

func TestFaultsOfTheModel(t *testing.T) {
	file := yamlFile(t, "train:\n  history_parts: 0\n  model:\n    tokens: item\n    horizon: 2\n    mask: sideways\n    seed: 4\n    max_sessions: 5\n    heads: 3\n")
	_, err := config.Load(config.Places{File: file, Environ: []string{"FRESHET_TRAIN_MODEL_DROPOUT=1", "FRESHET_TRAIN_MODEL_SEED=4"}})
	want := `the configuration has 8 faults:
  FRESHET_TRAIN_MODEL_SEED: no setting has this variable: set FRESHET_TRAIN_SEED instead
  train.history_parts (freshet.yaml line 2): 0 is out of range: write a number from 1 to 8192
  train.model.dropout (FRESHET_TRAIN_MODEL_DROPOUT): 1 is out of range: write a number from 0 to 0.95
  train.model.heads (freshet.yaml line 9): 3 heads do not divide a dim of 64: make dim a multiple of heads
  train.model.horizon (freshet.yaml line 5): only context tokens look ahead, and there are none where tokens is item: write 1, or set tokens to session
  train.model.mask (freshet.yaml line 6): "sideways" is not known: write one of session, causal
  train.model.max_sessions (freshet.yaml line 8): there is no such setting: set train.history_parts instead
  train.model.seed (freshet.yaml line 7): there is no such setting: set train.seed instead`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// A field that the model gains is a key, with the name that a checkpoint and an arm of a replay know it by.
func TestEveryFieldOfTheModelIsAKey(t *testing.T) {
	keys := map[string]bool{"train.model.seed": true, "train.model.max_sessions": true} // train.seed and train.history_parts set these
	for _, k := range config.Keys() {
		if _, twice := keys[k.Path]; twice {
			t.Errorf("%s is a key", k.Path)
		}
		keys[k.Path] = true
	}
	for f := range reflect.TypeFor[model.Config]().Fields() {
		name := f.Tag.Get("koanf")
		if name == "" || name != f.Tag.Get("json") || f.Tag.Get("doc") == "" || !keys["train.model."+name] {
			t.Errorf("field %s: tags %s", f.Name, f.Tag)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"missing":   {filepath.Join(t.TempDir(), "none.yaml"), "no such file"},
		"directory": {t.TempDir(), "is a directory"},
		"not yaml":  {yamlFile(t, "window: [1,\n"), "correct the YAML"},
		"a list":    {yamlFile(t, "- 1\n"), "section"},
		"too large": {yamlFile(t, "#"+strings.Repeat("x", 1<<20)), "larger than"},
	} {
		if _, err := config.Load(config.Places{File: tc.file}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	load(t, config.Places{File: yamlFile(t, "")})
	load(t, config.Places{File: yamlFile(t, "# nothing\nwindow:\n")})
}

func TestEffectiveReadsBackAndMasksSecrets(t *testing.T) {
	l := load(t, config.Places{
		File: yamlFile(t, "window: {gap: 90m}\nsource: {fields: {user_id: 'yes'}, from: '7'}\n"),
		Environ: []string{"FRESHET_SOURCE_SCHEMA_REGISTRY_URL=http://joe:hunter2@a:1", "FRESHET_SOURCE_SCHEMA_REGISTRY_PASSWORD=s3cret", "FRESHET_SERVE_TOKEN=s3cret", "FRESHET_NATS_URL=nats://joe:hunter%202@a:4222,nats://t0ken@b:4222,nats://c:4222",
			"FRESHET_KAFKA_BROKERS=a:1,b:2"},
	})
	var out bytes.Buffer
	if err := l.Effective(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, secret := range []string{"s3cret", "hunter", "joe", "t0ken"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is printed", secret)
		}
	}
	for _, want := range []string{"gap: 1h30m\n", "(here from freshet.yaml line 1)", "(here from FRESHET_KAFKA_BROKERS)",
		"nats://********@a:4222,nats://********@b:4222,nats://c:4222", "brokers: ['a:1', 'b:2']", "token: '********'"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	again := load(t, config.Places{File: yamlFile(t, text)})
	want := l.Config
	want.Serve.Token, want.NATS.URL = again.Serve.Token, again.NATS.URL // masked on the way
	want.Source.SchemaRegistry = again.Source.SchemaRegistry
	if diff := cmp.Diff(want, again.Config); diff != "" {
		t.Errorf("reading back what was printed (-printed +read):\n%s", diff)
	}
}

func TestKafkaSecurity(t *testing.T) {
	yaml := "kafka:\n  brokers: [a:1]\n  assign: 0-3,7\n  tls: {enabled: true, ca_file: ca.pem, insecure_accept_any_certificate: true}\n" +
		"  sasl: {mechanism: SCRAM-SHA-512, user: joe}\n"
	l := load(t, config.Places{File: yamlFile(t, yaml), Environ: []string{"FRESHET_KAFKA_SASL_PASSWORD=hunter2"}})
	want := config.KafkaSASL{Mechanism: "SCRAM-SHA-512", User: "joe", Password: "hunter2"}
	if diff := cmp.Diff(want, l.Kafka.SASL); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := l.Effective(&out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "password: '********'") || !strings.Contains(text, "insecure_accept_any_certificate: true") {
		t.Errorf("printed:\n%s", text)
	}
	for yaml, want := range map[string]string{
		"kafka: {tls: {enabled: true}}":                                  "the embedded broker speaks plain text",
		"kafka: {brokers: [a:1], tls: {ca_file: x}}":                     "kafka.tls.enabled",
		"kafka: {brokers: [a:1], tls: {enabled: true, cert_file: x}}":    "set both kafka.tls.cert_file and kafka.tls.key_file",
		"kafka: {brokers: [a:1], sasl: {user: joe}}":                     "set it to one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
		"kafka: {brokers: [a:1], sasl: {mechanism: GSSAPI}}":             "write one of none, PLAIN",
		"kafka: {brokers: [a:1], sasl: {mechanism: PLAIN, user: joe}}":   "FRESHET_KAFKA_SASL_PASSWORD",
		"kafka: {sasl: {mechanism: PLAIN, user: joe, password: p}}":      "the embedded broker knows no users",
		"kafka: {brokers: [a:1], sasl: {mechanism: PLAIN, password: p}}": "kafka.sasl.user",
		"kafka: {assign: 3-1}":                                           "runs backwards: write 1-3",
		"kafka: {on_expired: ignore}":                                    "earliest, stop",
	} {
		if _, err := config.Load(config.Places{File: yamlFile(t, yaml)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", yaml, err, want)
		}
	}
}

func TestEveryKeyHasItsOwnVariableAndSentence(t *testing.T) {
	seen := map[string]string{config.ConfigEnv: "the file's name"}
	for _, k := range config.Keys() {
		if k.Doc == "" {
			t.Errorf("%s has no sentence", k.Path)
		}
		if k.Section {
			continue
		}
		if other, twice := seen[k.Env]; twice {
			t.Errorf("%s and %s share %s", k.Path, other, k.Env)
		}
		seen[k.Env] = k.Path
	}
}

func TestSpeedAndFormat(t *testing.T) {
	for _, tc := range []struct {
		from, speed string
		live        bool
		want        float64
	}{
		{"sim", "auto", true, 1}, {"sim", "auto", false, 0}, {"clicks.csv", "auto", true, 0}, {"clicks.csv", "10x", true, 10},
		{"sim", "max", true, 0}, {"sim", "0.5x", false, 0.5},
	} {
		if got, err := (config.Source{From: tc.from, Speed: tc.speed}).SpeedFactor(tc.live); got != tc.want || err != nil {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
	for _, speed := range []string{"", "fast", "-1x", "0x", "x", "NaNx", "Infx", "10"} {
		if got, err := (config.Source{From: "sim", Speed: speed}).SpeedFactor(true); err == nil {
			t.Errorf("speed %q is taken as %v", speed, got)
		}
	}
	for from, want := range map[string]string{"a.csv": "csv", "a.JSONL": "jsonl", "a.ndjson": "jsonl", "a.parquet": "", "a.csv.gz": "csv", "a.tsv.ZST": "csv", "a.dat": ""} {
		if got, err := (config.Source{From: from, Format: "auto"}).FileFormat(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", from, got, err)
		}
	}
}

func TestRecords(t *testing.T) {
	fields, actions := map[string]string{"user_id": "u"}, map[string]string{"buy": "purchase"}
	for _, tc := range []struct {
		from, format string
		want         config.Records // without a format where it is an error
	}{
		{"sim", "auto", config.Records{Format: "json"}},
		{"sim", "avro", config.Records{Format: "json"}},
		{"kafka", "auto", config.Records{Format: "auto", Fields: fields, Actions: actions}},
		{"kafka", "protobuf", config.Records{Format: "protobuf", Fields: fields, Actions: actions}},
		{"kafka", "otto", config.Records{}},
		{"a.csv", "auto", config.Records{Format: "json", Actions: actions}}, // its rows become clicks under their own names
		{"a.jsonl", "auto", config.Records{Format: "json", Fields: fields, Actions: actions}},
		{"a.jsonl", "otto", config.Records{Format: "json", Actions: actions}},
		{"a.jsonl", "avro", config.Records{}},
		{"a.dat", "auto", config.Records{}},
	} {
		got, err := config.Source{From: tc.from, Format: tc.format, Fields: fields, Actions: actions}.Records()
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.want.Format != "") {
			t.Errorf("%s as %s: %v (-want +got):\n%s", tc.from, tc.format, err, diff)
		}
	}
	for _, tc := range []struct {
		sort, format string
		want         bool
	}{{"auto", "csv", false}, {"auto", "otto", true}, {"yes", "jsonl", true}, {"no", "otto", false}} {
		if got := (config.Source{Sort: tc.sort}).Sorts(tc.format); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestFaultsOfFormats(t *testing.T) {
	const registry = "schema_registry: {url: 'http://a:1'}"
	for in, want := range map[string]string{
		"format: avro": "source.format (freshet.yaml line 1): avro needs a schema: give source.schema_registry.url or source.schema_file",
		"format: avro, from: clicks.csv, " + registry:             "avro is a format of records, and source.from is a file",
		"format: otto, from: kafka":                               "otto is a format of files, and source.from is kafka",
		"format: otto, from: a.jsonl, fields: {user_id: u}":       "the files of otto have names of their own",
		"schema_registry: {url: 'localhost:8081'}":                "it is not the address of a schema registry: write http://host:8081",
		"schema_registry: {url: 'http://a:1,ftp://b'}":            "it is not the address of a schema registry",
		"schema_registry: {url: 'http://a:1', user: u, token: t}": "there is a user as well",
		"schema_registry: {url: 'http://a:1', cert_file: c}":      "a certificate needs its key",
		"schema_registry: {url: 'http://a:1', timeout: 1ms}":      "1ms is too short",
		"framing: none, " + registry:                              "records that are not framed do not say",
		"schema_file: a.avsc, " + registry:                        "there is a schema registry as well",
		"schema_file: a.json":                                     "a.json ends in neither .avsc nor .proto",
		"schema_file: a.avsc, format: protobuf":                   "it is for avro, and source.format is protobuf",
		"schema_message: Click":                                   "there is no schema file",
		"framing: confluence":                                     "write one of auto, none, confluent",
	} {
		_, err := config.Load(config.Places{File: yamlFile(t, "kafka: {brokers: [a:1]}\nsource: {"+in+"}\n")})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "line 2", "line 1"), want) || strings.Contains(err.Error(), "faults:") {
			t.Errorf("%s: got %v, want one fault: %s", in, err, want)
		}
	}
	for _, in := range []string{"schema_file: a.avsc", "schema_file: a.proto, schema_message: Click, framing: confluent", "format: avro, " + registry, registry,
		"format: protobuf, schema_registry: {url: 'http://u:p@a:1, https://b:2', ca_file: c}"} {
		load(t, config.Places{File: yamlFile(t, "source: {"+in+"}\n")})
	}
}

// FuzzFile holds that no file panics the loader or is accepted with a value that is out of range.
func FuzzFile(t *testing.F) {
	f := fuzz.Of(t)
	for _, s := range []string{"", "window: {gap: 3m}", "a: &x [1]\nkafka: {brokers: *x}", "<<: {a: 1}", "window: &w\n  gap: *w", "? [a]\n: b", "source: {fields: {user_id: {a: b}}}"} {
		f.Add(s)
	}
	defaults, err := config.Load(config.Places{})
	if err != nil {
		f.Fatal(err)
	}
	var whole strings.Builder
	if err := defaults.Effective(&whole); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.String())
	f.Fuzz(func(t *testing.T, text string) {
		l, err := config.Load(config.Places{File: yamlFile(t, text)})
		if err != nil {
			return
		}
		if err := l.Config.Validate(); err != nil {
			t.Fatalf("loaded, and not valid: %v", err)
		}
	})
}

func TestPrecisionIsOneThatServesKnow(t *testing.T) {
	for _, p := range []string{"float32", "int8", "int4"} {
		if got := load(t, config.Places{Environ: []string{"FRESHET_SERVE_PRECISION=" + p}}).Config.Serve.Precision; got != p {
			t.Errorf("precision %q, want %q", got, p)
		}
	}
	if _, err := config.Load(config.Places{Environ: []string{"FRESHET_SERVE_PRECISION=int5"}}); err == nil || !strings.Contains(err.Error(), "write float32, int8 or int4") {
		t.Errorf("%v", err)
	}
	if _, err := config.Load(config.Places{Environ: []string{"FRESHET_PUBLISH_ROWS=int4"}}); err == nil || !strings.Contains(err.Error(), "write float32 or int8") {
		t.Errorf("%v", err) // which is no way for weights to travel
	}
}

func TestServingIsAsConfigured(t *testing.T) {
	l := load(t, config.Places{Environ: []string{"FRESHET_SERVE_INDEX=auto", "FRESHET_SERVE_PROBES=12", "FRESHET_SERVE_MIN_RECALL=0.9", "FRESHET_SERVE_CORES=2", "FRESHET_SERVE_PRECISION=int8"}})
	want := model.Serving{Precision: model.Int8, Index: model.Auto, Probes: 12, MinRecall: 0.9, Cores: 2}
	if got := l.Config.Serve.Serving(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	_, err := config.Load(config.Places{Environ: []string{"FRESHET_SERVE_INDEX=hnsw", "FRESHET_SERVE_PROBES=-1", "FRESHET_SERVE_MIN_RECALL=1.5", "FRESHET_SERVE_CORES=0"}})
	for _, key := range []string{"serve.index", "serve.probes", "serve.min_recall", "serve.cores"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not refused: %v", key, err)
		}
	}
}
