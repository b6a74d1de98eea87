package replica_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// FuzzAnswer: whatever answers, the client reads it or returns an error, and an error of any status but 200 says which it was.
func FuzzAnswer(t *testing.F) {
	f := fuzz.Of(t)
	r, _ := serving(f, nil, nil)
	for _, c := range [][2]string{{"/v1/recommend", body(3, "i1", "i2")}, {"/v1/recommend", `{"k":-1}`}, {"/v1/batch", `{"requests":[{"user_id":"u1"},{"k":0}]}`}} {
		w := call(r.Handler(), "POST", c[0], c[1])
		f.Add(w.Code, w.Header().Get(replica.HeaderRequestID), "1", w.Body.String())
	}
	f.Add(503, "", "99999999999", `{"error":{"code":"busy","message":7}}`)
	f.Fuzz(func(t *testing.T, status int, id, retryAfter, text string) {
		c := &replica.Client{BaseURL: "http://replica", Retries: -1, HedgeAfter: -1, HTTP: &http.Client{Transport: answers(func(*http.Request) *http.Response {
			h := http.Header{replica.HeaderRequestID: {id}, "Retry-After": {retryAfter}}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(text))}
		})}}
		_, one := c.Recommend(t.Context(), replica.Request{UserID: "u1"})
		_, all := c.RecommendBatch(t.Context(), []replica.Request{{UserID: "u1"}, {UserID: "u2"}})
		for _, err := range []error{one, all} {
			if err == nil && status != 200 {
				t.Fatalf("status %d was taken", status)
			}
			if e := new(replica.Error); errors.As(err, &e) && (e.Status != status && status != 200 || e.Error() == "" || e.RetryAfter < 0 || e.RetryAfter > time.Hour) {
				t.Fatalf("status %d became %+v", status, e)
			}
		}
	})
}

// answers is an http.RoundTripper.
type answers func(*http.Request) *http.Response

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

// FuzzHeaders asks with any two headers a replica that wants a token. Nobody without it is answered, and what names a request fits into a line of the log.
func FuzzHeaders(t *testing.F) {
	const token = "0123456789abcdef"
	f := fuzz.Of(t)
	r, _ := serving(f, func(c *replica.Config) { c.Token = token }, nil)
	h := r.Handler()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, value := range []string{"Bearer " + token, "bearer " + token, "Basic dTpw", token, ""} {
		f.Add("Authorization", value, "Traceparent", trace)
		f.Add("Authorization", value, "X-Request-Id", "a-1")
	}
	f.Add("Accept-Encoding", "gzip;q=0.1, *;q=0", "Authorization", "Bearer "+token)
	f.Add("Content-Type", "application/json; charset=\"utf-8", "Authorization", "Bearer "+token)
	f.Add("Content-Length", "-1", "Authorization", "Bearer "+token)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		req := httptest.NewRequest("POST", "/v1/recommend", strings.NewReader(body(3, "i1")))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(name1, value1)
		req.Header.Set(name2, value2)
		w := deliver(h, req)
		if w.Code != 200 && (w.Code < 400 || w.Code > 499) || w.Code == 200 && !strings.Contains(value1+value2, token) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if id := w.Header().Get(replica.HeaderRequestID); id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("request id %q", id)
		}
	})
}
