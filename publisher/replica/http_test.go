package replica_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// serving returns a replica that serves version 1 of 30 items.
func serving(t testing.TB, change func(*replica.Config), h replica.Histories) (*replica.Replica, *trainee) {
	t.Helper()
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	trainee := newTrainee(t, 30)
	trainee.publish(t, newPublisher(t, js, nil))
	cfg := config("r1")
	if change != nil {
		change(&cfg)
	}
	r, _ := start(t, cfg, js, h)
	serves(t, r, 1)
	return r, trainee
}

func TestBadRequests(t *testing.T) {
	r, _ := serving(t, nil, nil)
	h := r.Handler()
	long := strings.Repeat("x", schema.MaxIDBytes+1)
	repeat := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	f := func(method, target, body string, status int, code, field string) {
		t.Helper()
		w := call(h, method, target, body)
		var got struct {
			Error struct{ Code, Message, Field string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Errorf("%s %s %.80s: %v in %s", method, target, body, err, w.Body)
			return
		}
		if w.Code != status || got.Error.Code != code || got.Error.Field != field || got.Error.Message == "" {
			t.Errorf("%s %s %.80s: got %d %+v, want %d %s %q", method, target, body, w.Code, got.Error, status, code, field)
		}
		if w.Header().Get(replica.HeaderReplica) != "r1" || w.Header().Get(replica.HeaderVersion) != "1" {
			t.Errorf("%s %s: headers %v", method, target, w.Header())
		}
	}
	get := func(query string, field string) {
		t.Helper()
		f("GET", "/v1/recommend"+query, "", 400, "invalid_request", field)
	}
	get("", "user_id")
	get("?user_id=", "user_id")
	get("?user_id="+long, "user_id")
	get("?user_id=u&scene="+long, "scene")
	get("?user_id=u&user_id=v", "user_id")
	get("?user_id=u&k=1&k=2", "k")
	get("?user_id=u&scene=a&scene=b", "scene")
	get("?user_id=%ff", "user_id")
	get("?user_id=u&scene=%zz", "")
	get("?user_id=u;k=2", "")
	for _, k := range []string{"0", "-1", "1001", "x", "", "1.5", "99999999999999999999"} {
		get("?user_id=u&k="+k, "k")
	}
	post := func(body, field string) {
		t.Helper()
		f("POST", "/v1/recommend", body, 400, "invalid_request", field)
	}
	post(`{}`, "user_id")
	post(`null`, "")
	post(`[]`, "")
	post(`"x"`, "")
	post(`{"user_id":1}`, "user_id")
	post(`{"user_id":"u","k":"20"}`, "k")
	post(`{"user_id":"u","k":2.5}`, "k")
	post(`{"user_id":"u","k":0}`, "k")
	post(`{"user_id":"u","k":1001}`, "k")
	post(`{"user_id":"u","exclude":"a"}`, "exclude")
	post(`{"user_id":"u","exclude":["a",1]}`, "exclude[1]")
	post(`{"user_id":"u","exclude":[null]}`, "exclude[0]")
	post(`{"user_id":"u","clicks":[null]}`, "clicks[0]")
	post(`{"user_id":"u","clicks":[{"item_id":"a","timestamp":"2026-01-01T00:00:00Z"},{"item_id":"a","item_id":"b"}]}`, "clicks[1].item_id")
	post(`{"user_id":"u","user_id":"v"}`, "user_id")
	post(`{"user_id":"u","user\u005fid":"v"}`, "user_id")
	post(`{"user_id":"u","k":1e400}`, "k")
	post(`{"user_id":"u","k":`+strings.Repeat("9", 400)+`}`, "k")
	post(`{"user_id":"u","interests":5}`, "interests")
	post(`{"user_id":"u","filter":{"allow":["a"],"allow":["b"]}}`, "filter.allow")
	post(`{"user_id":"u","filter":{"allow":[`+repeat(`"a"`, 10_001)+`]}}`, "filter.allow")
	post(`{"user_id":"u","exclude":[`+repeat(`"a"`, 10_001)+`]}`, "exclude")
	post(`{"user_id":"u","exclude_seen":"yes"}`, "exclude_seen")
	post(`{"user_id":"u","filter":["c"]}`, "filter")
	post(`{"user_id":"u","filter":{"category":"c"}}`, "filter.category")
	post(`{"user_id":"u","filter":{"category":[`+repeat(`"a"`, 101)+`]}}`, "filter.category")
	post(`{"user_id":"u","scene":`+fmt.Sprintf("%q", long)+`}`, "scene")
	post(`{"user_id":"u","clicks":{}}`, "clicks")
	post(`{"user_id":"u","clicks":[{"item_id":7}]}`, "clicks[0].item_id")
	post(`{"user_id":"u","clicks":[{}]}`, "clicks[0].item_id")
	post(`{"user_id":"u","clicks":[{"item_id":"a"},{"item_id":""}]}`, "clicks[1].item_id")
	post(`{"user_id":"u","clicks":[{"item_id":"`+long+`"}]}`, "clicks[0].item_id")
	post(`{"user_id":"u","clicks":[{"item_id":"a","action":"`+long+`"}]}`, "clicks[0].action")
	post(`{"user_id":"u","clicks":[`+repeat(`{"item_id":"a"}`, 1001)+`]}`, "clicks")
	for _, at := range []string{`"yesterday"`, `"2026-01-01"`, `1.5`, `true`, `[]`, `1700000000`, `-1`, `99999999999999999999`, `1900000000000`} {
		post(`{"user_id":"u","clicks":[{"item_id":"a","timestamp":`+at+`}]}`, "clicks[0].timestamp")
	}
	for _, body := range []string{``, `{`, `{"user_id":"u"} {}`, `{"user_id":"u",}`, `user_id=u`, "\x00", `{"user_id":"u"}x`, `{"user_id":"u"}` + "\x00",
		`{'user_id':'u'}`, `{"user_id":"u","k":01}`, `{"user_id":"a` + "\n" + `b"}`, `{"user_id":"` + "\xff" + `"}`, `{"user_id":"u","x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		strings.Repeat(`{"filter":`, 20_000), `{"user_id":"u","x":nul}`, "\ufeff{}"} {
		f("POST", "/v1/recommend", body, 400, "malformed_json", "")
	}
	f("POST", "/v1/recommend", `{"user_id":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "too_large", "")
	for header, value := range map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"} {
		req := httptest.NewRequest("POST", "/v1/recommend", strings.NewReader(`{"user_id":"u"}`))
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		req.Header.Set(header, value)
		if w := deliver(h, req); w.Code != 415 || !strings.Contains(w.Body.String(), "unsupported_media_type") {
			t.Errorf("%s %s: %d %s", header, value, w.Code, w.Body)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/json; charset=latin1", "application/json;;;", "application/jsonp"} {
		req := httptest.NewRequest("POST", "/v1/recommend", strings.NewReader(`{"user_id":"u"}`))
		req.Header.Set("Content-Type", kind)
		if w := deliver(h, req); w.Code != 415 {
			t.Errorf("content type %q: %d %s", kind, w.Code, w.Body)
		}
	}
	f("POST", "/v1/model", `{}`, 405, "method_not_allowed", "")
	f("GET", "/v1/batch", ``, 405, "method_not_allowed", "")
	f("GET", "/v1//recommend?user_id=u", ``, 404, "not_found", "")
	f("GET", "/v1/recommend/?user_id=u", ``, 404, "not_found", "")
	f("PUT", "/v1/recommend", `{}`, 405, "method_not_allowed", "")
	f("DELETE", "/v1/model", ``, 405, "method_not_allowed", "")
	f("GET", "/v1/recommendations", ``, 404, "not_found", "")
	f("GET", "/", ``, 404, "not_found", "")
	if got := metric(t, r, `freshet_requests_total{code="413",route="recommend"}`); got != 1 {
		t.Errorf("%v requests counted as 413, want 1", got)
	}
}

// TestVersionThatHasSeenNoClick: there is no moment it is trained through, and 0 is said, not the beginning of time.
func TestVersionThatHasSeenNoClick(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	update := newTrainee(t, 30).update(t, schema.KindBase)
	update.TrainedThrough.EventTime = schema.BeginningOfTime
	if _, err := newPublisher(t, js, nil).Publish(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	r, _ := start(t, config("r1"), js, nil)
	serves(t, r, 1)
	if body := call(r.Handler(), "GET", "/v1/recommend?user_id=u1", "").Body.String(); !strings.Contains(body, `"trained_through":0,`) || !strings.Contains(body, `"version":1`) {
		t.Errorf("answer %s", body)
	}
}

func TestGoodRequests(t *testing.T) {
	r, trainee := serving(t, nil, nil)
	h := r.Handler()
	if got := ask(t, h, `{"user_id":"u1","clicks":[{"item_id":"i1"}]}`); len(got.Items) != 20 || got.UserID != "u1" ||
		got.Model != (replica.AnswerModel{Name: "shop", Version: 1, Lane: replica.LaneStable, TrainedThrough: schema.EventTime(now.UnixMilli() - 5000)}) {
		t.Errorf("%d items, %+v", len(got.Items), got.Model)
	}
	for _, k := range []int{1, 7, 30, 1000} {
		if got := ask(t, h, fmt.Sprintf(`{"user_id":"u1","k":%d}`, k)); len(got.Items) != min(k, 30) {
			t.Errorf("k=%d: %d items", k, len(got.Items))
		}
	}
	// The same moment in both forms, and unknown fields, make no difference.
	ms := ask(t, h, fmt.Sprintf(`{"user_id":"u1","clicks":[{"item_id":"i1","timestamp":%d}],"trace":{"x":[1]}}`, now.UnixMilli()-1000))
	text := ask(t, h, fmt.Sprintf(`{"user_id":"u1","clicks":[{"item_id":"i1","timestamp":%q}]}`, now.Add(-time.Second).Format(time.RFC3339Nano)))
	if diff := cmp.Diff(ms, text); diff != "" {
		t.Errorf("timestamps (-ms +text):\n%s", diff)
	}
	// Clicks count in order of time, not of the list.
	c := func(id string, ago int64) string {
		return fmt.Sprintf(`{"item_id":%q,"timestamp":%d}`, id, now.UnixMilli()-ago)
	}
	forth := ask(t, h, `{"clicks":[`+c("i1", 9_000_000)+`,`+c("i2", 1000)+`]}`)
	back := ask(t, h, `{"clicks":[`+c("i2", 1000)+`,`+c("i1", 9_000_000)+`]}`)
	if diff := cmp.Diff(forth, back); diff != "" {
		t.Errorf("order of clicks:\n%s", diff)
	}
	// Cold users get what is popular, and the answer says so.
	cold := ask(t, h, `{"user_id":"nobody","clicks":[{"item_id":"never seen"}],"k":5}`)
	if diff := cmp.Diff(expected(trainee.direct, 5, "never seen"), cold.Items); diff != "" || cold.Items[0].Source != replica.SourceBaseline {
		t.Errorf("cold user (-want +got):\n%s", diff)
	}
	w := call(h, "GET", "/v1/recommend?user_id=nobody&k=5&scene=home", "")
	var byGet replica.Answer
	if err := json.Unmarshal(w.Body.Bytes(), &byGet); err != nil || cmp.Diff(cold.Items, byGet.Items) != "" || byGet.UserID != "nobody" {
		t.Errorf("GET: %v %s", err, w.Body)
	}
	for name, request := range map[string]string{
		"model":    `{"user_id":"u1","clicks":[{"item_id":"i1"},{"item_id":"i4"}],"k":1000,"exclude":["i2","none"],"exclude_seen":true,"filter":{"category":["c1","c2"]}}`,
		"baseline": `{"user_id":"u1","clicks":[{"item_id":"cold"}],"k":1000,"exclude":["i2","none"],"exclude_seen":true,"filter":{"category":["c1","c2"]}}`,
	} {
		got := map[string]bool{}
		for _, item := range ask(t, h, request).Items {
			if string(item.Source) != name || got[item.ItemID] {
				t.Errorf("%s: %+v", name, item)
			}
			got[item.ItemID] = true
		}
		for i := range 30 {
			id := fmt.Sprintf("i%d", i)
			want := i%3 != 0 && i != 2 && !(name == "model" && (i == 1 || i == 4))
			if got[id] != want {
				t.Errorf("%s: %s is recommended: %v, want %v", name, id, got[id], want)
			}
		}
	}
	if got := ask(t, h, `{"user_id":"u1","filter":{"category":["none"]}}`); len(got.Items) != 0 || got.Items == nil {
		t.Errorf("a category without items: %+v", got.Items)
	}
}

// fixed is a history of one user.
type fixed struct {
	parts []schema.Part
	err   error
}

func (f fixed) Recent(user string, n int) ([]schema.Part, error) {
	if user != "u1" || f.err != nil {
		return nil, f.err
	}
	return f.parts[max(0, len(f.parts)-n):], nil
}

func TestHistoriesAndClicksAreOneHistory(t *testing.T) {
	at := schema.EventTime(now.UnixMilli())
	click := func(id string, ago time.Duration) schema.Click {
		return schema.Click{UserID: "u1", ItemID: id, Action: schema.ActionClick, EventTime: at.Add(-ago)}
	}
	history := fixed{parts: []schema.Part{{UserID: "u1", Clicks: []schema.Click{click("i1", 3*time.Hour)}},
		{UserID: "u1", Clicks: []schema.Click{click("i2", time.Hour), click("i3", time.Hour)}}}}
	with, _ := serving(t, nil, history)
	without, _ := serving(t, nil, nil)
	c := func(id string, ago time.Duration) string {
		return fmt.Sprintf(`{"item_id":%q,"timestamp":%d}`, id, at.Add(-ago))
	}
	all := c("i1", 3*time.Hour) + "," + c("i2", time.Hour) + "," + c("i3", time.Hour)
	want := ask(t, without.Handler(), `{"user_id":"u1","clicks":[`+all+`,`+c("i4", time.Second)+`]}`)
	for name, clicks := range map[string]string{
		"clicks go on where the history ends": c("i4", time.Second),
		"what both have counts once":          c("i3", time.Hour) + "," + c("i4", time.Second),
	} {
		if diff := cmp.Diff(want, ask(t, with.Handler(), `{"user_id":"u1","clicks":[`+clicks+`]}`)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	for _, item := range ask(t, with.Handler(), `{"user_id":"u1","k":1000,"exclude_seen":true}`).Items {
		if item.ItemID == "i1" || item.ItemID == "i2" || item.ItemID == "i3" {
			t.Errorf("%s was seen", item.ItemID)
		}
	}
	if got := ask(t, with.Handler(), `{"user_id":"u2"}`).Items[0].Source; got != replica.SourceBaseline {
		t.Errorf("another user's answer comes from the %s", got)
	}
	broken, _ := serving(t, nil, fixed{err: errors.New("disk")})
	ask(t, broken.Handler(), `{"user_id":"u1"}`)
	if got := metric(t, broken, `freshet_replica_failures_total{of="history"}`); got != 1 {
		t.Errorf("%v failures of the history counted, want 1", got)
	}
}

func TestBeforeTheFirstVersion(t *testing.T) {
	r, err := replica.New(config("r1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{"/livez": 200, "/readyz": 503, "/v1/model": 503, "/v1/recommend?user_id=u": 503, "/metrics": 200,
		"/v1/recommend": 400} {
		if w := call(r.Handler(), "GET", target, ""); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
	}
	if got := metric(t, r, `freshet_model_version{lane="stable"}`); got != 0 {
		t.Errorf("version %v", got)
	}
}

func TestTokenGuardsTheAPIAndNothingElse(t *testing.T) {
	r, _ := serving(t, func(c *replica.Config) { c.Token = "secret" }, nil)
	get := func(target, authorization string) int {
		req, _ := http.NewRequest("GET", target, nil)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		return w.Code
	}
	for authorization, want := range map[string]int{"": 401, "Bearer": 401, "Bearer secre": 401, "Bearer secret2": 401, "Basic secret": 401,
		"Bearer secret": 200, "bearer secret": 200} {
		for _, target := range []string{"/v1/recommend?user_id=u", "/v1/model"} {
			if got := get(target, authorization); got != want {
				t.Errorf("%s with %q: %d, want %d", target, authorization, got, want)
			}
		}
	}
	for _, target := range []string{"/livez", "/readyz", "/metrics"} {
		if got := get(target, ""); got != 200 {
			t.Errorf("%s: %d", target, got)
		}
	}
}

func TestRateLimit(t *testing.T) {
	r, _ := serving(t, func(c *replica.Config) { c.RequestsPerSec = 1e-3 }, nil)
	if w := call(r.Handler(), "GET", "/v1/recommend?user_id=u", ""); w.Code != 200 {
		t.Errorf("the first request: %d", w.Code)
	}
	if w := call(r.Handler(), "GET", "/v1/recommend?user_id=u", ""); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the second request: %d", w.Code)
	}
}

// slow holds requests until it is told to go on.
type slow struct{ entered, leave chan struct{} }

func (s slow) Recent(string, int) ([]schema.Part, error) {
	s.entered <- struct{}{}
	<-s.leave
	return nil, nil
}

func TestServeDrains(t *testing.T) {
	s := slow{make(chan struct{}), make(chan struct{})}
	r, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxWait = 1, time.Millisecond }, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := replica.Client{BaseURL: "http://" + l.Addr().String(), HTTP: &http.Client{Transport: transport}}
	answered := make(chan error, 1)
	go func() {
		_, err := client.Recommend(context.Background(), replica.Request{UserID: "u1"})
		answered <- err
	}()
	<-s.entered
	// The one place is taken.
	_, err = client.Recommend(context.Background(), replica.Request{UserID: "u2"})
	if e := new(replica.Error); !errors.As(err, &e) || e.Status != 429 || e.Code != "overloaded" {
		t.Errorf("with every place taken: %v", err)
	}
	cancel()
	eventually(t, "readyz says no", func() bool { return call(r.Handler(), "GET", "/readyz", "").Code == 503 })
	if w := call(r.Handler(), "GET", "/livez", ""); w.Code != 200 {
		t.Errorf("livez %d while draining", w.Code)
	}
	close(s.leave)
	if err := <-answered; err != nil {
		t.Errorf("the open request failed: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	r, _ := serving(t, func(c *replica.Config) { c.Token = "secret" }, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	transport := &http.Transport{}
	client := replica.Client{BaseURL: "http://" + l.Addr().String() + "/", Token: "secret", HTTP: &http.Client{Transport: transport}}
	if a, err := client.Recommend(t.Context(), replica.Request{UserID: "u1", K: 3}); err != nil || len(a.Items) != 3 {
		t.Errorf("%+v, %v", a, err)
	}
	e := new(replica.Error)
	if _, err := client.Recommend(t.Context(), replica.Request{UserID: "u1", K: 2000}); !errors.As(err, &e) || e.Status != 400 || e.Field != "k" {
		t.Errorf("got %v", err)
	}
	client.Token = "wrong"
	if _, err := client.Recommend(t.Context(), replica.Request{UserID: "u1"}); !errors.As(err, &e) || e.Status != 401 {
		t.Errorf("got %v", err)
	}
	transport.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := client.Recommend(t.Context(), replica.Request{UserID: "u1"}); err == nil || errors.As(err, &e) && e.Status == 0 {
		t.Errorf("a server that is gone: %v", err)
	}
}

func TestConfigValidateNamesEveryFault(t *testing.T) {
	err := replica.Config{ID: "a b", Model: "", TrustedKeys: []string{"x"}, PollEvery: -1, MaxHistory: -1, MaxInFlight: -1, MaxWait: -1,
		RequestsPerSec: -1, DrainTimeout: -1}.Validate()
	for _, want := range []string{"id", "model", "trusted key", "poll_every", "max_history", "max_in_flight", "max_wait", "requests_per_sec", "drain_timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("fault of %s is not named in %v", want, err)
		}
	}
}
