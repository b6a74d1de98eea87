package replica_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/google/go-cmp/cmp"
)

// batchAnswer is the answer of /v1/batch.
type batchAnswer struct {
	Answers []struct {
		replica.Answer
		Error *struct{ Code, Message, Field string }
	}
}

func batch(t testing.TB, r *replica.Replica, requests ...string) (out batchAnswer) {
	t.Helper()
	w := call(r.Handler(), "POST", "/v1/batch", `{"requests":[`+strings.Join(requests, ",")+`]}`)
	if err := json.Unmarshal(w.Body.Bytes(), &out); w.Code != 200 || err != nil || len(out.Answers) != len(requests) {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return out
}

// TestBatchIsSingleRequests: each answer is what the request alone gets, and what is wrong with one is said in its place.
func TestBatchIsSingleRequests(t *testing.T) {
	r, _ := serving(t, nil, nil)
	good := []string{body(5, "i1", "i2"), body(30), `{"user_id":"nobody","k":3,"filter":{"allow":["i3","i4","none"]}}`}
	got := batch(t, r, good[0], `{"k":0,"user_id":"u"}`, good[1], `7`, `{"user_id":"u","clicks":[{"item_id":"a"},{"item_id":4}]}`, good[2], `null`)
	for i, at := range []int{0, 2, 5} {
		if diff := cmp.Diff(ask(t, r.Handler(), good[i]), got.Answers[at].Answer); diff != "" || got.Answers[at].Error != nil {
			t.Errorf("answer %d (-alone +in the batch):\n%s", at, diff)
		}
	}
	if items := got.Answers[5].Items; len(items) != 2 || items[0].ItemID != "i3" || items[1].ItemID != "i4" {
		t.Errorf("an allow list: %+v", items)
	}
	for at, field := range map[int]string{1: "k", 3: "", 4: "clicks[1].item_id", 6: ""} {
		if e := got.Answers[at].Error; e == nil || e.Code != "invalid_request" || e.Field != field || e.Message == "" {
			t.Errorf("answer %d: %+v", at, e)
		}
	}
}

func TestBadBatches(t *testing.T) {
	r, _ := serving(t, nil, nil)
	many := func(n int, request string) string {
		return `{"requests":[` + strings.TrimSuffix(strings.Repeat(request+",", n), ",") + `]}`
	}
	for body, want := range map[string]string{
		`{}`:                                        `400 invalid_request requests`,
		`{"requests":[]}`:                           `400 invalid_request requests`,
		`{"requests":{}}`:                           `400 invalid_request requests`,
		`{"requests":null}`:                         `400 invalid_request requests`,
		`{"requests":[{"user_id":"u"}`:              `400 malformed_json `,
		`{"requests":[{"user_id":"u","k":tru}]}`:    `400 malformed_json `,
		`{"requests":[],"requests":[]}`:             `400 invalid_request requests`,
		many(101, `{"user_id":"u"}`):                `400 invalid_request requests`,
		many(11, `{"user_id":"u","k":1000}`):        `400 invalid_request requests`,
		`[{"user_id":"u"}]`:                         `400 invalid_request `,
		many(1, `"`+strings.Repeat("x", 1<<20)+`"`): `413 too_large `,
	} {
		w := call(r.Handler(), "POST", "/v1/batch", body)
		var got struct {
			Error struct{ Code, Message, Field string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || fmt.Sprint(w.Code, " ", got.Error.Code, " ", got.Error.Field) != want || got.Error.Message == "" {
			t.Errorf("%.60s: got %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	batch(t, r, strings.TrimSuffix(strings.Repeat(`{"user_id":"u","k":100},`, 100), ",")[:23]) // and the least batch is fine
}
