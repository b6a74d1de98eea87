package replica_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"
)

// document is the API's description as it is served, checked against the rules of OpenAPI, its examples against their schemas too.
func document(t *testing.T, h http.Handler) (*openapi3.T, routers.Router) {
	t.Helper()
	w := call(h, "GET", "/openapi.json", "")
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("the document: %d, %v", w.Code, err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the document: %v", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// conforms sends a request and holds the answer to the document, the request too unless it is meant to be wrong.
func conforms(t *testing.T, h http.Handler, router routers.Router, req *http.Request, right bool) *httptest.ResponseRecorder {
	t.Helper()
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if right {
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s %s: %v", req.Method, req.URL, body, err)
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	w := deliver(h, req)
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(), Options: in.Options}
	if err := openapi3filter.ValidateResponse(t.Context(), out.SetBodyBytes(w.Body.Bytes())); err != nil {
		t.Errorf("%s %s answers %d %.300s: %v", req.Method, req.URL, w.Code, w.Body, err)
	}
	return w
}

// TestExamplesOfTheDocument sends every example of a request and holds the answers to their schemas.
func TestExamplesOfTheDocument(t *testing.T) {
	r, _ := serving(t, nil, nil)
	doc, router := document(t, r.Handler())
	sent := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			req := httptest.NewRequest(method, path, nil)
			query := req.URL.Query()
			for _, p := range op.Parameters {
				if p.Value.Example == nil {
					t.Errorf("%s %s: parameter %s has no example", method, path, p.Value.Name)
				} else if text, _ := json.Marshal(p.Value.Example); p.Value.In == "query" {
					query.Set(p.Value.Name, strings.Trim(string(text), `"`))
				} else {
					req.Header.Set(p.Value.Name, strings.Trim(string(text), `"`))
				}
			}
			req.URL.RawQuery = query.Encode()
			if op.RequestBody == nil {
				if w := conforms(t, r.Handler(), router, req, true); w.Code != 200 {
					t.Errorf("%s %s: %d", method, path, w.Code)
				}
				sent++
				continue
			}
			for name, e := range op.RequestBody.Value.Content["application/json"].Examples {
				text, _ := json.Marshal(e.Value.Value)
				req := req.Clone(t.Context())
				req.Body = io.NopCloser(bytes.NewReader(text))
				req.Header.Set("Content-Type", "application/json")
				if w := conforms(t, r.Handler(), router, req, true); w.Code != 200 || w.Header().Get(replica.HeaderRequestID) != "checkout-17" {
					t.Errorf("%s %s, example %s: %d %s", method, path, name, w.Code, w.Body)
				}
				sent++
			}
		}
	}
	if sent < 10 {
		t.Errorf("only %d examples were sent: the test does not find them", sent)
	}
}

// TestDocumentIsComplete: paths, methods, codes and limits are those of the handlers.
func TestDocumentIsComplete(t *testing.T) {
	r, _ := serving(t, nil, nil)
	doc, _ := document(t, r.Handler())
	paths := map[string][]string{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			paths[path] = append(paths[path], method)
		}
		slices.Sort(paths[path])
	}
	if diff := cmp.Diff(r.Paths(), paths); diff != "" {
		t.Errorf("paths (-handlers +document):\n%s", diff)
	}
	codes := map[string]int{}
	for _, response := range doc.Components.Responses {
		for name, e := range response.Value.Content["application/json"].Examples {
			text, _ := json.Marshal(e.Value.Value)
			var w struct{ Error struct{ Code string } }
			if err := json.Unmarshal(text, &w); err != nil || w.Error.Code != name {
				t.Errorf("example %s: %s", name, text)
			}
			codes[name] = replica.StatusOf()[name]
		}
	}
	if diff := cmp.Diff(replica.StatusOf(), codes); diff != "" {
		t.Errorf("codes (-handlers +document):\n%s", diff)
	}
	enum := doc.Components.Schemas["Fault"].Value.Properties["code"].Value.Enum
	for c := range replica.StatusOf() {
		if !slices.Contains(enum, any(c)) {
			t.Errorf("code %s is not in the schema of errors", c)
		}
	}
	request := doc.Components.Schemas["Request"].Value.Properties
	filter := request["filter"].Value.Properties
	said := map[string]int{"k": int(*request["k"].Value.Max), "default k": int(request["k"].Value.Default.(float64)), "clicks": int(*request["clicks"].Value.MaxItems),
		"exclude": int(*request["exclude"].Value.MaxItems), "allow": int(*filter["allow"].Value.MaxItems), "category": int(*filter["category"].Value.MaxItems),
		"interests": int(*request["interests"].Value.Max), "batch": int(*doc.Components.Schemas["Batch"].Value.Properties["requests"].Value.MaxItems),
		"id": int(*request["user_id"].Value.MaxLength), "request id": int(*doc.Components.Headers["X-Request-Id"].Value.Schema.Value.MaxLength)}
	if diff := cmp.Diff(replica.Numbers, said); diff != "" {
		t.Errorf("limits (-handlers +document):\n%s", diff)
	}
}

// broken is a history that panics.
type broken struct{}

func (broken) Recent(string, int) ([]schema.Part, error) { panic("a bug") }

// cut is a body that breaks off.
type cut struct{ err error }

func (c cut) Read([]byte) (int, error) { return 0, c.err }

// TestEveryErrorIsInTheDocument provokes every code, and holds each answer to the document.
func TestEveryErrorIsInTheDocument(t *testing.T) {
	post := func(body string, header ...string) *http.Request {
		req := httptest.NewRequest("POST", "/v1/recommend", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return req
	}
	torn := func(err error) *http.Request {
		req := post("")
		req.Body = io.NopCloser(cut{err})
		return req
	}
	plain, _ := serving(t, nil, nil)
	guarded, _ := serving(t, func(c *replica.Config) { c.Token = "secret" }, nil)
	limited, _ := serving(t, func(c *replica.Config) { c.RequestsPerSec = 1 }, nil)
	buggy, _ := serving(t, nil, broken{})
	h := newHeld()
	busy, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxWait = 1, 1 }, h)
	waiting, err := replica.New(config("r1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	go call(busy.Handler(), "GET", "/v1/recommend?user_id=u1", "")
	<-h.enter
	defer close(h.leave)
	call(limited.Handler(), "GET", "/v1/model", "")
	_, router := document(t, plain.Handler())
	provoked := map[string]int{}
	for want, c := range map[string]struct {
		r   *replica.Replica
		req *http.Request
	}{
		"invalid_request":        {plain, post(`{"user_id":"u","k":0}`)},
		"malformed_json":         {plain, post(`{`)},
		"unreadable":             {plain, torn(io.ErrUnexpectedEOF)},
		"timeout":                {plain, torn(os.ErrDeadlineExceeded)},
		"unauthorized":           {guarded, post(`{"user_id":"u"}`)},
		"method_not_allowed":     {plain, httptest.NewRequest("GET", "/v1/batch", nil)},
		"too_large":              {plain, post(`"` + strings.Repeat("x", replica.MaxBodyBytes) + `"`)},
		"unsupported_media_type": {plain, post(`{}`, "Content-Type", "text/plain")},
		"rate_limited":           {limited, post(`{"user_id":"u"}`)},
		"overloaded":             {busy, post(`{"user_id":"u"}`)},
		"internal":               {buggy, post(`{"user_id":"u"}`)},
		"not_ready":              {waiting, post(`{"user_id":"u"}`)},
		"not_found":              {plain, httptest.NewRequest("GET", "/v1/nothing", nil)},
	} {
		var w *httptest.ResponseRecorder
		if want == "not_found" || want == "method_not_allowed" { // the document has no operation for these
			w = deliver(c.r.Handler(), c.req)
		} else {
			w = conforms(t, c.r.Handler(), router, c.req, false)
		}
		var got struct{ Error struct{ Code string } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error.Code != want {
			t.Errorf("%s: %d %s", want, w.Code, w.Body)
		}
		provoked[got.Error.Code] = w.Code
	}
	if diff := cmp.Diff(replica.StatusOf(), provoked); diff != "" {
		t.Errorf("codes (-all +provoked):\n%s", diff)
	}
}
