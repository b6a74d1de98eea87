package decode_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// framed puts Confluent's framing before a record.
func framed(t testing.TB, id int, index []int, record []byte) []byte {
	t.Helper()
	b, err := new(sr.ConfluentHeader).AppendEncode(nil, id, index)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, record...)
}

// office is a registry that counts its requests and can be told to fail, and the clock of its client.
type office struct {
	*srfake.Registry
	requests atomic.Int64
	fail     atomic.Pointer[http.HandlerFunc]
	mu       sync.Mutex
	now      time.Time
	slept    time.Duration
}

func openOffice(t testing.TB, options ...srfake.Option) *office {
	o := &office{Registry: srfake.New(options...), now: time.Unix(1e9, 0)}
	t.Cleanup(o.Close)
	o.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		o.requests.Add(1)
		if fail := o.fail.Load(); fail != nil {
			(*fail)(w, r)
			return true
		}
		return false
	})
	return o
}

func (o *office) decoder(t testing.TB, c decode.Config) *decode.Decoder {
	t.Helper()
	if c.Registry.URLs == nil {
		c.Registry.URLs = []string{o.URL()}
	}
	d, err := decode.New(c)
	if err != nil {
		t.Fatal(err)
	}
	d.SetClock(func() time.Time { return o.pass(0) }, func(d time.Duration) { o.slept += d; o.pass(d) })
	return d
}

// pass lets time pass and returns what time it is then.
func (o *office) pass(d time.Duration) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
	return o.now
}

func (o *office) asked(t testing.TB, want int64) {
	t.Helper()
	if got := o.requests.Swap(0); got != want {
		t.Errorf("%d requests, want %d", got, want)
	}
}

const (
	plainAvro = `{"type":"record","name":"Click","fields":[{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},{"name":"timestamp","type":"long"}]}`
	// The second version has a field that the first one had not, in between.
	secondAvro = `{"type":"record","name":"Click","fields":[{"name":"user_id","type":"string"},{"name":"scene","type":["null","string"],"default":null},
		{"name":"item_id","type":"string"},{"name":"timestamp","type":"long"}]}`
)

var plainRecord = []byte("\x04u1\x04i9\x0a")

func TestRegistry(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro, Type: sr.TypeAvro})
	o.SeedSchema("clicks-value", 2, 2, sr.Schema{Schema: secondAvro, Type: sr.TypeAvro})
	o.SeedSchema("item", 1, 4, sr.Schema{Schema: `{"type":"record","name":"Item","namespace":"shop","fields":[{"name":"sku","type":"string"}]}`})
	o.SeedSchema("ids", 1, 3, sr.Schema{Schema: `{"type":"record","name":"Ids","namespace":"shop","fields":[{"name":"user_id","type":"string"},{"name":"item","type":"shop.Item"}]}`,
		References: []sr.SchemaReference{{Name: "shop.Item", Subject: "item", Version: 1}}})
	o.SeedSchema("referring-value", 1, 5, sr.Schema{Schema: `{"type":"record","name":"Click","fields":[{"name":"timestamp","type":"long"},{"name":"ids","type":"shop.Ids"}]}`,
		References: []sr.SchemaReference{{Name: "shop.Ids", Subject: "ids", Version: 1}}})
	o.SeedSchema("proto-ids", 1, 6, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; package shop; message Ids { string user_id = 1; string item_id = 2; }`})
	o.SeedSchema("proto-value", 1, 7, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto"; import "ids.proto";
		message Other { string x = 1; message Click { string user_id = 2; string item_id = 1; int64 timestamp = 3; } }
		message Click { Ids ids = 1; google.protobuf.Timestamp timestamp = 2; string user_id = 3; string item_id = 4; }`,
		References: []sr.SchemaReference{{Name: "ids.proto", Subject: "proto-ids", Version: 1}}})
	o.SeedSchema("json-value", 1, 8, sr.Schema{Type: sr.TypeJSON, Schema: `{"type":"object"}`})
	o.SeedSchema("first-value", 1, 9, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; message Click { string user_id = 1; string item_id = 2; int64 timestamp = 3; }`})

	nested := map[string]string{"user_id": "ids.user_id", "item_id": "ids.item.sku"}
	const plainJSON = `{"user_id":"u1","item_id":"i9","timestamp":5}`
	plain := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 5, Action: schema.ActionClick}
	scene := plain
	scene.Scene = "home"
	seconds := plain
	seconds.EventTime = 5000
	for name, c := range map[string]struct {
		config decode.Config
		value  []byte
		want   schema.Click
	}{
		"avro":                         {decode.Config{Format: decode.FormatAvro}, framed(t, 1, nil, plainRecord), plain},
		"avro, a later version":        {decode.Config{}, framed(t, 2, nil, []byte("\x04u1\x02\x08home\x04i9\x0a")), scene},
		"avro that refers to others":   {decode.Config{Fields: nested}, framed(t, 5, nil, []byte("\x0a\x04u1\x04i9")), plain},
		"protobuf, the first message":  {decode.Config{Format: decode.FormatProtobuf}, framed(t, 9, []int{0}, []byte("\x0a\x02u1\x12\x02i9\x18\x05")), plain},
		"protobuf, the second message": {decode.Config{}, framed(t, 7, []int{1}, []byte("\x1a\x02u1\x22\x02i9\x12\x02\x08\x05")), seconds},
		"protobuf, a message within":   {decode.Config{}, framed(t, 7, []int{0, 0}, []byte("\x12\x02u1\x0a\x02i9\x18\x05")), plain},
		"protobuf, the long form":      {decode.Config{}, append([]byte{0, 0, 0, 0, 9, 2, 0}, "\x0a\x02u1\x12\x02i9\x18\x05"...), plain},
		"protobuf, an import":          {decode.Config{Fields: map[string]string{"user_id": "ids.user_id", "item_id": "ids.item_id"}}, framed(t, 7, []int{1}, []byte("\x0a\x08\x0a\x02u1\x12\x02i9\x12\x02\x08\x05")), seconds},
		"json, framed":                 {decode.Config{}, framed(t, 8, nil, []byte(plainJSON)), plain},
		"json, not framed":             {decode.Config{}, []byte(plainJSON), plain},
		"json, framed, and it is said": {decode.Config{Format: decode.FormatJSON}, framed(t, 1234, nil, []byte(plainJSON)), plain},
	} {
		d := o.decoder(t, c.config)
		for range 3 {
			var got schema.Click
			if err := d.Decode(c.value, &got); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

func TestRegistrySaysWhatIsWrong(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("a", 1, 1, sr.Schema{Schema: plainAvro})
	o.SeedSchema("b", 1, 2, sr.Schema{Schema: `{"type":"record","name":"Other","fields":[]}`})
	o.SeedSchema("none", 7, 99, sr.Schema{Schema: `{"type":"record","name":"None","namespace":"shop","fields":[]}`})
	o.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/subjects/none") {
			http.Error(w, `{"error_code":40402,"message":"Version not found."}`, http.StatusNotFound)
			return true
		}
		return false
	})
	o.SeedSchema("c", 1, 3, sr.Schema{Schema: `{"type":"record","name":"Click","fields":[{"name":"x","type":"shop.None"}]}`,
		References: []sr.SchemaReference{{Name: "shop.None", Subject: "none", Version: 7}}})
	o.SeedSchema("d", 1, 4, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; message A { string x = 1; } message Click { string user_id = 1; string item_id = 2; int64 timestamp = 3; }`})
	o.SeedSchema("e", 1, 5, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; import "none.proto"; message Click { None none = 1; }`})
	many := make([]sr.SchemaReference, 101)
	for i := range many {
		subject := fmt.Sprintf("many-%d", i)
		o.SeedSchema(subject, 1, 100+i, sr.Schema{Schema: `"string"`})
		many[i] = sr.SchemaReference{Name: subject, Subject: subject, Version: 1}
	}
	o.SeedSchema("f", 1, 6, sr.Schema{Schema: `"string"`, References: many})
	d := o.decoder(t, decode.Config{})
	for want, value := range map[string][]byte{
		"it does not begin with 0x00 and a schema id":                    {0, 0, 0, 1},
		"schema 1: user_id: it breaks off":                               framed(t, 1, nil, []byte("\x04")),
		"schema 2: schema record Other: it has no user_id":               framed(t, 2, nil, nil),
		"schema 3: the registry lacks what it refers to: none version 7": framed(t, 3, nil, nil),
		"schema 4: message A: it has no user_id":                         framed(t, 4, []int{0}, nil),
		"schema 4 has no message at its index [4 2 0]":                   framed(t, 4, []int{1, 0}, nil),
		"schema 5: schema.proto":                                         framed(t, 5, []int{0}, nil),
		"message-index list: it is damaged":                              {0, 0, 0, 0, 4, 0x06, 0x00},
		"schema 6: it refers to more than 100 schemas":                   framed(t, 6, nil, nil),
		"has no schema 77: is it the registry of this topic":             framed(t, 77, nil, nil),
	} {
		for range 2 {
			var c schema.Click
			err := d.Decode(value, &c)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%x: error %v, want it to say %q", value, err, want)
			}
			if errors.As(err, new(decode.Unavailable)) {
				t.Errorf("%x: %v is not for good", value, err)
			}
		}
	}
	var c schema.Click
	if err := o.decoder(t, decode.Config{Format: decode.FormatProtobuf}).Decode(framed(t, 1, nil, plainRecord), &c); err == nil || !strings.Contains(err.Error(), "schema 1 is of type AVRO, and source.format says protobuf") {
		t.Errorf("another type than configured: %v", err)
	}
	if err := o.decoder(t, decode.Config{Format: decode.FormatAvro}).Decode([]byte(`{}`), &c); err == nil || !strings.Contains(err.Error(), "it does not begin with 0x00") {
		t.Errorf("JSON where Avro is configured: %v", err)
	}
}

// A schema that does not exist is for good, but not for ever: a registry of several nodes may not know it yet.
func TestSchemaThatDoesNotExist(t *testing.T) {
	o := openOffice(t)
	d := o.decoder(t, decode.Config{})
	value := func(id int) []byte { return framed(t, id, nil, plainRecord) }
	bad := func(id int) {
		t.Helper()
		var c schema.Click
		if err := d.Decode(value(id), &c); err == nil || errors.As(err, new(decode.Unavailable)) {
			t.Fatalf("schema %d: %v, want that it does not exist", id, err)
		}
	}
	bad(1)
	o.asked(t, 2) // a second time, a moment later
	if o.slept == 0 {
		t.Error("it was asked twice at once")
	}
	bad(1)
	o.asked(t, 0)
	bad(2)
	o.asked(t, 1) // but not for each of many
	o.pass(time.Minute + 1)
	bad(1)
	o.asked(t, 2)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
	bad(1)
	o.asked(t, 0)
	o.pass(time.Minute + 1)
	var c schema.Click
	for range 2 {
		if err := d.Decode(value(1), &c); err != nil {
			t.Error(err)
		}
	}
	o.asked(t, 1)
}

func TestRegistryThatIsAway(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
	o.SeedSchema("clicks-value", 2, 2, sr.Schema{Schema: plainAvro})
	release := make(chan struct{})
	for name, c := range map[string]struct {
		fail http.HandlerFunc
		want string
	}{
		"down": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"error_code":50002,"message":"timed out"}`, http.StatusInternalServerError)
		}, "answers 500: timed out"},
		"another page": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>no such page", http.StatusNotFound) }, "answers 404: <html>"},
		"not JSON":     {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "does not answer"},
		"refuses":      {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }, "refuses (401): check source.schema_registry.user"},
		"silent":       {func(_ http.ResponseWriter, r *http.Request) { <-release }, "does not answer"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, "{")
		}, "does not answer"},
		"far too large": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"schema":"`+strings.Repeat("x", 3<<20)+`"}`)
		}, "does not answer"},
	} {
		d := o.decoder(t, decode.Config{Registry: decode.RegistryConfig{Timeout: 300 * time.Millisecond}})
		o.fail.Store(&c.fail)
		o.requests.Store(0)
		var click schema.Click
		away := func() {
			t.Helper()
			err := d.Decode(framed(t, 1, nil, plainRecord), &click)
			var away decode.Unavailable
			if !errors.As(err, &away) || !away.Temporary() || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want an Unavailable that says %q", name, err, c.want)
			}
		}
		away()
		away() // also for the other partitions, without asking again
		o.asked(t, 1)
		if err := d.Check(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: check: %v", name, err)
		}
		o.fail.Store(nil)
		o.pass(2 * time.Second)
		if err := d.Decode(framed(t, 1, nil, plainRecord), &click); err != nil || click.UserID != "u1" {
			t.Errorf("%s: when it is back: %v", name, err)
		}
		if err := d.Check(context.Background()); err != nil {
			t.Errorf("%s: check: %v", name, err)
		}
		o.fail.Store(&c.fail)
		if err := d.Decode(framed(t, 1, nil, plainRecord), &click); err != nil {
			t.Errorf("%s: a schema that is known needs no registry: %v", name, err)
		}
	}
	close(release)
}

// One that nobody listens at, and one after it that answers.
func TestRegistryWithTwoAddresses(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
	gone := httptest.NewServer(nil)
	gone.Close()
	var c schema.Click
	d := o.decoder(t, decode.Config{Registry: decode.RegistryConfig{URLs: []string{gone.URL}}})
	if err := d.Decode(framed(t, 1, nil, plainRecord), &c); !errors.As(err, new(decode.Unavailable)) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	for _, first := range []string{gone.URL, silent.URL} {
		d = o.decoder(t, decode.Config{Registry: decode.RegistryConfig{URLs: []string{first, o.URL()}, Timeout: time.Second}})
		if err := d.Decode(framed(t, 1, nil, plainRecord), &c); err != nil {
			t.Error(err)
		}
	}
}

func TestRegistryAsksWhoItIs(t *testing.T) {
	value := framed(t, 1, nil, plainRecord)
	for want, c := range map[string]func(url string) decode.RegistryConfig{
		"Basic am9lOmh1bnRlcjI=": func(url string) decode.RegistryConfig {
			return decode.RegistryConfig{URLs: []string{url}, User: "joe", Password: "hunter2"}
		},
		"Basic am9lOmh1bnRlcjM=": func(url string) decode.RegistryConfig {
			return decode.RegistryConfig{URLs: []string{strings.Replace(url, "//", "//joe:hunter3@", 1)}}
		},
		"Bearer t0ken": func(url string) decode.RegistryConfig {
			return decode.RegistryConfig{URLs: []string{url}, Token: "t0ken"}
		},
	} {
		o := openOffice(t, srfake.WithAuth(want))
		o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
		config := c(o.URL())
		var click schema.Click
		if err := o.decoder(t, decode.Config{Registry: config}).Decode(value, &click); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		other := openOffice(t, srfake.WithAuth("another"))
		err := other.decoder(t, decode.Config{Registry: c(other.URL())}).Decode(value, &click)
		if err == nil || !strings.Contains(err.Error(), "refuses (403)") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s at another: %v", want, err)
		}
		d := other.decoder(t, decode.Config{Registry: c(other.URL())})
		other.Close()
		if err := d.Decode(value, &click); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s at one that is gone: %v", want, err)
		}
	}
}

func TestRegistryOverTLS(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
	server := httptest.NewUnstartedServer(o.Handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var c schema.Click
	d := o.decoder(t, decode.Config{Registry: decode.RegistryConfig{URLs: []string{server.URL}, CAFile: ca}})
	if err := d.Decode(framed(t, 1, nil, plainRecord), &c); err != nil {
		t.Error(err)
	}
	d = o.decoder(t, decode.Config{Registry: decode.RegistryConfig{URLs: []string{server.URL}}})
	if err := d.Decode(framed(t, 1, nil, plainRecord), &c); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
}

func TestRegistryIsAskedOnceByAll(t *testing.T) {
	o := openOffice(t)
	o.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: plainAvro})
	d := o.decoder(t, decode.Config{})
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			var c schema.Click
			for range 100 {
				if err := d.Decode(framed(t, 1, nil, plainRecord), &c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	o.asked(t, 1)
}

// Bytes that only look as if they named a schema may name any.
func TestSchemasAreBounded(t *testing.T) {
	o := openOffice(t)
	d := o.decoder(t, decode.Config{})
	var c schema.Click
	for id := range decode.MaxSchemas + 10 {
		if err := d.Decode(framed(t, id, nil, nil), &c); err == nil {
			t.Fatal("a record of no schema was taken")
		}
		if n := d.Known(); n > decode.MaxSchemas {
			t.Fatalf("%d schemas are remembered", n)
		}
	}
}

func TestConfigOfSchemas(t *testing.T) {
	url := []string{"http://127.0.0.1:1"}
	here := func(name string) string { return filepath.Join(t.TempDir(), name) }
	for want, c := range map[string]decode.Config{
		"its address is not a URL":                  {Registry: decode.RegistryConfig{URLs: []string{"localhost:8081"}}},
		"its address is not a URL: write":           {Registry: decode.RegistryConfig{URLs: []string{"http://joe:s3cret@:80:80"}}},
		"both a user and a token":                   {Registry: decode.RegistryConfig{URLs: url, User: "a", Token: "b"}},
		"ca_file: open ":                            {Registry: decode.RegistryConfig{URLs: url, CAFile: here("none")}},
		"cert_file and key_file: open ":             {Registry: decode.RegistryConfig{URLs: url, CertFile: here("none")}},
		"both a schema file and a schema registry":  {Registry: decode.RegistryConfig{URLs: url}, SchemaFile: "a.avsc"},
		"records without the framing":               {Registry: decode.RegistryConfig{URLs: url}, Framing: decode.FramingNone},
		`format "xml" is not known: use auto, json`: {Format: "xml"},
		"format avro needs a schema":                {Format: decode.FormatAvro},
		"says neither .avsc (Avro) nor .proto":      {SchemaFile: "click.json"},
		"is for avro, and the format is protobuf":   {SchemaFile: "click.avsc", Format: decode.FormatProtobuf},
	} {
		if _, err := decode.New(c); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want it to say %q", err, want)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := decode.New(decode.Config{Registry: decode.RegistryConfig{URLs: url, CAFile: empty}}); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("an empty ca_file: %v", err)
	}
	if err := decode.JSON().Check(context.Background()); err != nil {
		t.Errorf("there is no registry to check: %v", err)
	}
}

// A schema file may be of records that are framed as well: the id is passed over.
func TestSchemaFileOfFramedRecords(t *testing.T) {
	d := avroDecoder(t, plainAvro, decode.Config{Framing: decode.FramingConfluent})
	p := protoDecoder(t, `syntax = "proto3"; message Click { string user_id = 1; string item_id = 2; int64 timestamp = 3; }`, decode.Config{Framing: decode.FramingConfluent})
	var c schema.Click
	if err := d.Decode(framed(t, 99, nil, plainRecord), &c); err != nil || c.UserID != "u1" {
		t.Errorf("avro: %v", err)
	}
	if err := p.Decode(framed(t, 99, []int{0}, []byte("\x0a\x02u1\x12\x02i9\x18\x05")), &c); err != nil || c.UserID != "u1" {
		t.Errorf("protobuf: %v", err)
	}
	for _, d := range []*decode.Decoder{d, p} {
		if err := d.Decode(plainRecord, &c); err == nil || !strings.Contains(err.Error(), "does not begin with 0x00") {
			t.Errorf("not framed: %v", err)
		}
	}
	if err := p.Decode([]byte{0, 0, 0, 0, 1, 9}, &c); err == nil || !strings.Contains(err.Error(), "message-index list") {
		t.Errorf("without an index: %v", err)
	}
}

func FuzzFramed(t *testing.F) {
	f := fuzz.Of(t)
	o := openOffice(f)
	o.SeedSchema("a", 1, 1, sr.Schema{Schema: clickAvro})
	o.SeedSchema("b", 1, 2, sr.Schema{Schema: clickProto, Type: sr.TypeProtobuf})
	o.SeedSchema("none", 7, 99, sr.Schema{Schema: `{"type":"record","name":"None","namespace":"shop","fields":[]}`})
	o.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/subjects/none") {
			http.Error(w, `{"error_code":40402,"message":"Version not found."}`, http.StatusNotFound)
			return true
		}
		return false
	})
	o.SeedSchema("c", 1, 3, sr.Schema{Schema: "{}", Type: sr.TypeJSON})
	d := o.decoder(f, decode.Config{})
	f.Add(framed(f, 1, nil, marshal(f, clickAvro, fullOfAvro)))
	f.Add(framed(f, 2, []int{1}, wire(f, message(f, clickProto, "shop.Click"), fullOfProto)))
	f.Add(framed(f, 3, nil, []byte(fullClick)))
	f.Add([]byte(fullClick))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 && b[0] == 0 {
			b[1], b[2], b[3], b[4] = 0, 0, 0, b[4]%4 // or nearly every one asks for a schema that is not there
		}
		var c schema.Click
		if err := d.Decode(b, &c); errors.As(err, new(decode.Unavailable)) {
			t.Fatal(err)
		}
	})
}
