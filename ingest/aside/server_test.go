package aside_test

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

func lines(err error) iter.Seq[string] { return strings.Lines(err.Error()) }

// ask sends one request to a server of s that asks for the token "s3cret".
func ask(t *testing.T, s *shelf, method, target, body string, header ...string) (status int, h http.Header, answer string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	aside.Handler(aside.Local{Shelf: s}, wants("s3cret"), slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, w.Header(), string(b)
}

func TestServerRefuses(t *testing.T) {
	s := &shelf{}
	s.put(rejected(0, 1, schema.ReasonInvalid))
	bearer := []string{"Authorization", "Bearer s3cret"}
	post := append([]string{"Content-Type", "application/json"}, bearer...)
	many := `{"records":["` + strings.Repeat(`0:1","`, aside.MaxPage) + `0:1"]}`
	for _, tc := range []struct {
		method, target, body string
		header               []string
		status               int
		says                 string
	}{
		{"GET", "/v1/aside", "", nil, 401, "unauthorized"},
		{"GET", "/v1/aside/summary", "", []string{"Authorization", "Bearer s3cre"}, 401, "unauthorized"},
		{"GET", "/v1/aside/0/1", "", []string{"Authorization", "s3cret"}, 401, "unauthorized"},
		{"POST", "/v1/aside/redriven", `{"records":["0:1"]}`, []string{"Content-Type", "application/json"}, 401, "unauthorized"},
		{"GET", "/v1/aside?limit=0", "", bearer, 400, `"field":"limit"`},
		{"GET", "/v1/aside?limit=1001", "", bearer, 400, `"field":"limit"`},
		{"GET", "/v1/aside?after=1", "", bearer, 400, `"field":"after"`},
		{"GET", "/v1/aside?reason=lost", "", bearer, 400, "late, undecodable"},
		{"GET", "/v1/aside?partition=x", "", bearer, 400, `"field":"partition"`},
		{"GET", "/v1/aside?since=yesterday", "", bearer, 400, `"field":"since"`},
		{"GET", "/v1/aside?colour=red", "", bearer, 400, `"field":"colour"`},
		{"GET", "/v1/aside/summary?limit=1", "", bearer, 400, `"field":"limit"`},
		{"GET", "/v1/aside/0/2", "", bearer, 404, "not_found"},
		{"GET", "/v1/aside/0/x", "", bearer, 400, "PARTITION:OFFSET"},
		{"POST", "/v1/aside/redriven", `{"records":["0:1"]}`, bearer, 415, "application/json"},
		{"POST", "/v1/aside/redriven", `{"records":["0:1"]}`, append([]string{"Content-Type", "text/plain"}, bearer...), 415, "application/json"},
		{"POST", "/v1/aside/redriven", `{"records":[]}`, post, 400, `"field":"records"`},
		{"POST", "/v1/aside/redriven", many, post, 400, `"field":"records"`},
		{"POST", "/v1/aside/redriven", `{"records":["0:1"],"all":true}`, post, 400, "all"},
		{"POST", "/v1/aside/redriven", `{"records":["0:1"]} {}`, post, 400, "behind"},
		{"POST", "/v1/aside/redriven", `{"records":["` + strings.Repeat("x", 1<<17) + `"]}`, post, 400, "too large"},
		{"DELETE", "/v1/aside", "", bearer, 405, ""},
	} {
		status, _, answer := ask(t, s, tc.method, tc.target, tc.body, tc.header...)
		if status != tc.status || !strings.Contains(answer, tc.says) {
			t.Errorf("%s %s: %d %s", tc.method, tc.target, status, answer)
		}
		var fault struct {
			Error struct{ Code, Message string }
		}
		if status != 405 && (json.Unmarshal([]byte(answer), &fault) != nil || fault.Error.Code == "" || fault.Error.Message == "") {
			t.Errorf("%s %s: not an error of the API: %s", tc.method, tc.target, answer)
		}
	}
	if len(s.records) != 1 {
		t.Error("a refused request removed a record")
	}
}

func TestServerSaysThatItIsBroken(t *testing.T) {
	s := &shelf{broken: errBroken}
	for _, target := range []string{"/v1/aside", "/v1/aside/summary", "/v1/aside/0/1"} {
		status, _, answer := ask(t, s, "GET", target, "", "Authorization", "Bearer s3cret")
		if status != 500 || !strings.Contains(answer, "internal") || strings.Contains(answer, "disk") {
			t.Errorf("%s: %d %s", target, status, answer)
		}
	}
}

// TestClientSaysWhatToDo: what a person reads when the server is not what was meant.
func TestClientSaysWhatToDo(t *testing.T) {
	s := &shelf{}
	s.put(rejected(0, 1, schema.ReasonInvalid))
	node := httptest.NewServer(aside.Handler(aside.Local{Shelf: s}, wants("s3cret"), slog.New(slog.DiscardHandler)))
	defer node.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	babble := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer babble.Close()
	circle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set(aside.NextHeader, "0:1") }))
	defer circle.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, tc := range []struct{ name, url, token, says string }{
		{"no token", node.URL, "", "FRESHET_SERVE_TOKEN"},
		{"another token", node.URL, "secret", "FRESHET_SERVE_TOKEN"},
		{"a replica", other.URL, "", "without a store"},
		{"a web page", babble.URL, "", "not that of a freshet"},
		{"a circle", circle.URL, "", "was reached already"},
		{"nobody", gone.URL, "", "nothing listens"},
		{"no URL", "::", "", "give a URL"},
	} {
		err := aside.Each(t.Context(), aside.Client{BaseURL: tc.url, Token: tc.token}, aside.Filter{}, func(*schema.Rejected) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	c := aside.Client{BaseURL: node.URL, Token: "s3cret"}
	if _, err := c.Record(t.Context(), aside.Place{Partition: 0, Offset: 2}); !errors.Is(err, aside.ErrNone) || !strings.HasPrefix(err.Error(), "0:2: ") {
		t.Errorf("%v", err)
	}
	if _, err := c.Page(t.Context(), aside.Filter{Reasons: []schema.Reason{"lost"}}, aside.Start, 1); err == nil || !strings.Contains(err.Error(), "late, undecodable") {
		t.Errorf("%v", err)
	}
}

// FuzzQuery: no query makes the server fail, and what it takes is what it shows.
func FuzzQuery(t *testing.F) {
	f := fuzz.Of(t)
	for _, q := range []string{"", "limit=3", "reason=late&reason=invalid", "after=0:1&partition=0", "since=1&until=2", "since=%zz", "limit=-1", "after=0:9223372036854775807"} {
		f.Add(q)
	}
	s := &shelf{}
	for o := range 20 {
		s.put(rejected(o%3, o, schema.Reasons[o%len(schema.Reasons)]))
	}
	h := aside.Handler(aside.Local{Shelf: s}, nil, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/v1/aside", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
		if w.Code == 200 && strings.Count(w.Body.String(), "\n") > 20 {
			t.Fatalf("%q: %s", query, w.Body)
		}
	})
}

// FuzzRedriven: no body makes the server fail or removes more than it names.
func FuzzRedriven(t *testing.F) {
	f := fuzz.Of(t)
	for _, body := range []string{`{"records":["0:1","2:5"]}`, `{"records":[]}`, `{"records":["1:-1"]}`, `{"records":null,"more":1}`, `{"records":["0:1"]}{}`} {
		f.Add("application/json", body)
	}
	f.Add("text/plain", "{}")
	s := &shelf{}
	h := aside.Handler(aside.Local{Shelf: s}, nil, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, kind, body string) {
		s.records = nil
		for o := range 6 {
			s.put(rejected(o%3, o, schema.ReasonLate))
		}
		r := httptest.NewRequest("POST", "/v1/aside/redriven", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var got struct {
			Removed int
			Error   *aside.Fault
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || (got.Error == nil) != (w.Code == 200) || w.Code != 200 && (w.Code < 400 || w.Code > 499) {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		if got.Removed > strings.Count(body, ":") {
			t.Fatalf("%q removed %d", body, got.Removed)
		}
	})
}

// FuzzAnswer: whatever a node answers, its client reads it or says what is wrong, and ends.
func FuzzAnswer(t *testing.F) {
	f := fuzz.Of(t)
	s := &shelf{}
	for o := range 3 {
		s.put(rejected(0, o, schema.ReasonLate))
	}
	h := aside.Handler(aside.Local{Shelf: s}, nil, slog.New(slog.DiscardHandler))
	for _, path := range []string{"/v1/aside?limit=2", "/v1/aside/0/1", "/v1/aside/summary", "/v1/aside/0/9"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		f.Add(w.Code, w.Header().Get(aside.NextHeader), w.Body.String())
	}
	f.Fuzz(func(t *testing.T, status int, next, body string) {
		c := aside.Client{BaseURL: "http://node", HTTP: &http.Client{Transport: answers(func(*http.Request) *http.Response {
			return &http.Response{StatusCode: status, Header: http.Header{aside.NextHeader: {next}}, Body: io.NopCloser(strings.NewReader(body))}
		})}}
		page, err := c.Page(t.Context(), aside.Filter{}, aside.Start, 2)
		if err == nil && (status != 200 || page.More && page.Next == aside.Start) {
			t.Fatalf("%d %q %q was taken: %+v", status, next, body, page)
		}
		_, one := c.Record(t.Context(), aside.Place{})
		_, summary := c.Summary(t.Context(), aside.Filter{})
		if status != 200 && (one == nil || summary == nil) {
			t.Fatalf("%d %q was taken: %v, %v", status, body, one, summary)
		}
	})
}

// answers is an http.RoundTripper.
type answers func(*http.Request) *http.Response

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

// wants accepts one token.
func wants(token string) func(http.Header) error {
	return func(h http.Header) error {
		if h.Get("Authorization") != "Bearer "+token {
			return errors.New("send the header Authorization: Bearer and the token")
		}
		return nil
	}
}
