package replica_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// FuzzHandler sends anything to any path. It is answered, or refused as a fault of the caller in the form of the API; never is it a fault of ours, and what is taken
// as JSON is JSON, whose fields mean what encoding/json reads.
func FuzzHandler(t *testing.F) {
	f := fuzz.Of(t)
	r, _ := serving(f, nil, nil)
	h := r.Handler()
	const kind = "application/json"
	f.Add("POST", "/v1/recommend", kind, []byte(`{"user_id":"u1","clicks":[{"item_id":"i1","action":"cart","timestamp":1799999999000}],"k":3,"exclude":["i2"],"exclude_seen":true,"filter":{"category":["c1"],"allow":["i1"]},"interests":2}`))
	f.Add("POST", "/v1/recommend", kind, []byte(`{"user_id":"u1","clicks":[{"item_id":"i1","timestamp":"2026-01-01T00:00:00Z"}],"scene":null}`))
	f.Add("POST", "/v1/recommend", "text/plain", []byte(`{"k":1e3}`))
	f.Add("POST", "/v1/recommend", kind, []byte("{\"user_id\":\"\\ud800\\u0000\",\"x\":[[[[]]]]}"))
	f.Add("POST", "/v1/batch", kind, []byte(`{"requests":[{"user_id":"u1"},{"k":0},7,{"user_id":"u2","k":2}]}`))
	f.Add("GET", "/v1/recommend?user_id=u1&k=3&scene=%00&k=4", "", []byte{})
	f.Add("HEAD", "/v1/model", "", []byte{})
	f.Add("OPTIONS", "/openapi.json?a=b;c", "", []byte("x"))
	f.Add("CONNECT", "/metrics", "", []byte{})
	f.Fuzz(func(t *testing.T, method, target, kind string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || method == "" {
			f.Leave()
			return // net/http would not call the handler
		}
		req := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		req.Method, req.URL = method, u
		req.Header.Set("Content-Type", kind)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := deliver(h, req)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20+200*uint64(len(body)) {
			t.Fatalf("%d bytes are allocated for a body of %d", grown, len(body))
		}
		if w.Code != 200 && (w.Code < 400 || w.Code > 499) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if n := r.HeldBytes(); n != 0 {
			t.Fatalf("%d bytes are still held", n)
		}
		if u.Path == "/livez" || u.Path == "/readyz" || u.Path == "/metrics" {
			return
		}
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		if _, failed := got["error"]; failed != (w.Code != 200) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if method != "POST" || u.Path != "/v1/recommend" || w.Code != 200 {
			return
		}
		var q replica.Request
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("%q is answered, and is not JSON", body)
		}
		// Where encoding/json, which takes names in any case, reads it as well, both read the same user.
		if json.Unmarshal(body, &q) == nil && !strings.Contains(strings.ToLower(string(body)), "\\u") && strings.Count(strings.ToLower(string(body)), "user_id") == 1 &&
			strings.Contains(string(body), `"user_id"`) && got["user_id"] != q.UserID {
			t.Fatalf("user %q, encoding/json reads %q", got["user_id"], q.UserID)
		}
	})
}
