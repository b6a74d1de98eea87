package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/freshet-ml/freshet/publisher/replica"
)

// counts sends clicks of new users to the topic, one at a time, and waits for each until the user's answer at api comes from the model: nothing else is known of the user, and parts wait for
// longer than the whole takes. It logs how long that took, by whoever polls every 10 ms.
func (r *roles) counts(t *testing.T, name, api string, clicks int) {
	t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(r.kafka.Address()), Topic: "clicks", Balancer: kafka.Murmur2Balancer{}, BatchTimeout: time.Millisecond, RequiredAcks: kafka.RequireAll}
	defer w.Close()
	var took []time.Duration
	for i := range clicks {
		user := fmt.Sprintf("%s-%d", name, i)
		value := fmt.Sprintf(`{"user_id":%q,"item_id":"thing-%d","timestamp":%d}`, user, i%40, time.Now().UnixMilli())
		began := time.Now()
		if err := w.WriteMessages(t.Context(), kafka.Message{Key: []byte(user), Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		eventually(t, user+" is known", func() error {
			var answer replica.Answer
			code, _, body, err := fetch(api+"/v1/recommend?k=1&user_id="+user, "")
			if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil || len(answer.Items) != 1 {
				t.Fatalf("recommend: %d %v %s", code, err, body)
			}
			if answer.Items[0].Source != replica.SourceModel {
				return fmt.Errorf("%s", body)
			}
			return nil
		})
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("%s: a click counts after %v in the median, %v at the 99th percentile, of %d", name, took[len(took)/2], took[(len(took)-1)*99/100], len(took))
}

// TestAClickCountsBeforeItsPart in one process, and in a replica that hears the node over Arrow Flight: a part of fewer than five clicks waits for an hour.
func TestAClickCountsBeforeItsPart(t *testing.T) {
	t.Parallel()
	r := newRoles(t, "FRESHET_WINDOW_IDLE_AFTER=300ms", "FRESHET_WINDOW_PART_AGE=1h", "FRESHET_WINDOW_PART_CLICKS=5", "FRESHET_WINDOW_LATENESS=1s", "FRESHET_TRAIN_BATCH_SPAN=1s",
		"FRESHET_FLIGHT_TOKEN=secret")
	up := r.start(t, "up", "up", "--source", "kafka", "--brokers", r.kafka.Address(), "--flight-listen", "127.0.0.1:0")
	up.awaitAPI(t)
	feed := flightOf.FindStringSubmatch(up.log.String())
	if feed == nil {
		t.Fatal("up does not say where its log is")
	}
	r.produce(t, time.Hour)
	r.startFeedReplica(t, feed[1])
	served := r.replicas[0]
	for _, c := range []*child{up, served} {
		eventually(t, "there is a model", func() error {
			var answer replica.Answer
			_, _, body, err := fetch(c.api()+"/v1/recommend?k=1&user_id=person-1", "")
			if err != nil || json.Unmarshal([]byte(body), &answer) != nil || len(answer.Items) != 1 || answer.Items[0].Source != replica.SourceModel {
				return fmt.Errorf("%v %s", err, body)
			}
			return nil
		})
	}
	eventually(t, "the replica listens", func() error {
		_, _, body, err := fetch(up.api()+"/metrics", "")
		if err != nil || !strings.Contains(body, "\nfreshet_live_listeners 2\n") {
			return fmt.Errorf("%v", err)
		}
		return nil
	})
	r.counts(t, "up", up.api(), 30)
	r.counts(t, "served", served.api(), 30)
	for _, c := range []*child{up, served} {
		if _, _, body, err := fetch(c.api()+"/metrics", ""); err != nil || !strings.Contains(body, "freshet_live_clicks_total") {
			t.Errorf("metrics of %s: %v", c.name, err)
		}
	}
	stopAll(t, served, up)
}
