package main

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Files of data sets go all the way. Their rows are not in the order of time, and none is late.
func TestUpOfDataSets(t *testing.T) {
	files, err := filepath.Abs(filepath.Join("..", "..", "ingest", "source", "testdata", "presets"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file   string
		clicks int64
		aside  view.Aside
	}{
		{"otto-train.jsonl", 6, view.Aside{schema.ReasonUndecodable: 2}},
		{"retailrocket-events.csv", 5, view.Aside{schema.ReasonUndecodable: 1}},
	} {
		format, _, _ := strings.Cut(c.file, "-")
		s := once(t, filepath.Join(t.TempDir(), "data"), "--source", filepath.Join(files, c.file), "--format", format)
		accountedFor(t, s)
		if diff := cmp.Diff(c.aside, s.Aside); s.Clicks != c.clicks || s.Trained != c.clicks-c.aside.Total() || diff != "" {
			t.Errorf("%s: %d clicks, %d trained, aside (-want +got):\n%s", c.file, s.Clicks, s.Trained, diff)
		}
	}
}

// Records of a topic in Avro and Protobuf, whose schemas are in a registry that is away at first: they wait, and none goes
// aside for that.
func TestUpOfATopicWithSchemas(t *testing.T) {
	registry := srfake.New()
	defer registry.Close()
	registry.SeedSchema("clicks-value", 1, 1, sr.Schema{Schema: `{"type":"record","name":"Click","fields":[{"name":"visitor","type":"string"},
		{"name":"item_id","type":"long"},{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-micros"}}]}`})
	registry.SeedSchema("clicks-value", 2, 2, sr.Schema{Type: sr.TypeProtobuf, Schema: `syntax = "proto3"; message Click { string visitor = 1; int64 item_id = 2; int64 timestamp = 3; }`})
	var back atomic.Bool
	registry.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if !back.Load() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
		return !back.Load()
	})
	broker, err := embed.StartKafka(embed.KafkaConfig{DataDir: t.TempDir(), Topic: "clicks", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	send(t, broker.Address(), 2,
		"\x00\x00\x00\x00\x01"+"\x04u1"+"\x0e"+"\x80\x80\xf2\x81\x83\x89\x85\x06",         // 2023-11-14T22:13:20Z
		"\x00\x00\x00\x00\x02\x00"+"\x0a\x02u2"+"\x10\x07"+"\x18\x80\xd0\x95\xff\xbc\x31", // the same
		`{"visitor":"u1","item_id":8,"timestamp":1700000001000}`,
		"\x00\x00\x00\x00\x09"+"of no schema",
	)
	cfg := settingsOf(t, t.TempDir(), map[string]string{"source.from": "kafka", "kafka.brokers": broker.Address(),
		"source.schema_registry.url": registry.URL(), "source.fields": "user_id=visitor"})
	up := startUp(t, cfg, UpCmd{Once: true, JSON: true})
	eventually(t, "a partition waits", func() error {
		if !strings.Contains(up.log.String(), "a partition waits") {
			return errors.New("not yet")
		}
		return nil
	})
	back.Store(true)
	if err := up.wait(t); err != nil {
		t.Fatal(err)
	}
	s := summaryIn(t, up.stdout.String())
	accountedFor(t, s)
	if diff := cmp.Diff(view.Aside{schema.ReasonUndecodable: 1}, s.Aside); s.Clicks != 4 || s.Trained != 3 || diff != "" {
		t.Errorf("%d clicks, %d trained, aside (-want +got):\n%s", s.Clicks, s.Trained, diff)
	}
}
