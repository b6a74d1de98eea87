package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The headers of every answer, beside HeaderRequestID.
const (
	HeaderReplica = "X-Freshet-Replica"
	HeaderVersion = "X-Freshet-Version" // 0 while no version serves
)

// endpoint answers an exchange into x.out, or returns why it does not.
type endpoint func(x *exchange) error

// route is a path of the API.
type route struct {
	name    string // in metrics and logs, which must not hold what callers write
	path    string
	methods []string // HEAD goes with GET
	open    bool     // asks for no token, and has no rate
	answer  endpoint
}

// routes lists the API. The OpenAPI document describes the same.
func (r *Replica) routes() []route {
	get := []string{http.MethodGet}
	metrics := promhttp.HandlerFor(r.metrics.registry, promhttp.HandlerOpts{})
	return []route{
		{"recommend", "/v1/recommend", []string{http.MethodGet, http.MethodPost}, false, r.serveRecommend},
		{"batch", "/v1/batch", []string{http.MethodPost}, false, r.serveBatch},
		{"model", "/v1/model", get, false, r.serveModel},
		{"openapi", "/openapi.json", get, true, r.serveOpenAPI},
		{"livez", "/livez", get, true, func(x *exchange) error { return x.text("ok\n") }},
		{"readyz", "/readyz", get, true, r.serveReady},
		{"metrics", "/metrics", get, true, func(x *exchange) error {
			metrics.ServeHTTP(x.w, x.req)
			x.written = true
			return nil
		}},
	}
}

// nowhere is the route of every other path.
var nowhere = route{name: "other", answer: func(*exchange) error {
	return &fault{code: codeNotFound, message: "there is no such path: see /v1/recommend, /v1/batch and /v1/model"}
}}

// api is what a replica's HTTP side keeps between requests.
type api struct {
	tokens *Tokens
	rates  *rates
	line   line
	budget budget
}

func newAPI(cfg Config) (*api, error) {
	tokens, err := OpenTokens(cfg.Token, cfg.TokenFile, cfg.Now, func(err error) {
		cfg.Log.Warn("replica keeps the tokens it has", "err", err)
	})
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	return &api{
		tokens: tokens, rates: newRates(cfg.RequestsPerSec, cfg.RequestsPerSecPerCaller),
		line:   line{turns: cfg.MaxInFlight, room: cfg.MaxQueue, most: cfg.MaxWait, now: cfg.Now},
		budget: budget{most: maxHeldBytes},
	}, nil
}

// Handler returns the replica's HTTP API; doc.go describes it.
func (r *Replica) Handler() http.Handler {
	routes := map[string]route{}
	for _, to := range r.routes() {
		routes[to.path] = to
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		to, known := routes[req.URL.Path]
		if !known {
			to = nowhere
		}
		r.exchange(w, req, to)
	})
}

// exchange answers one request, whatever happens, and says so in metrics and log.
func (r *Replica) exchange(w http.ResponseWriter, req *http.Request, to route) {
	began := time.Now()
	r.metrics.inFlight.Inc()
	x := newExchange(w, req)
	x.lanes = r.lanes() // the request's only look at the pointer (I8)
	r.mark(x)
	ctx, end := r.traceRequest(x, to)
	x.ctx = ctx
	err := r.admit(x, to)
	if err == nil {
		err = r.run(x, to)
	}
	if err == nil && !x.written {
		err = r.hold(x, 0)
	}
	r.write(x, err)
	end()
	took := time.Since(began)
	r.metrics.inFlight.Dec()
	r.metrics.answered(to.name, x.status, took)
	if r.cfg.Log.Enabled(req.Context(), slog.LevelDebug) {
		r.cfg.Log.LogAttrs(req.Context(), slog.LevelDebug, "request", slog.String("request_id", x.id), slog.String("method", method(req.Method)),
			slog.String("route", to.name), slog.Int("status", x.status), slog.Duration("took", took), slog.Int("bytes", len(x.out.Buf)))
	}
	r.api.budget.give(x.held)
	x.release()
}

// method keeps what a caller invents out of the log.
func method(m string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, m) {
		return m
	}
	return "other"
}

// mark says in the head of the answer who answers, from what, and to which request.
func (r *Replica) mark(x *exchange) {
	h := x.w.Header()
	h.Set(HeaderReplica, r.cfg.ID)
	h.Set(HeaderRequestID, x.id)
	x.from(x.lanes.stable)
	if r.draining.Load() {
		h.Set("Connection", "close") // the next request has to go elsewhere
	}
}

// admit checks token, method and rate, in this order: who may not ask learns nothing else.
func (r *Replica) admit(x *exchange, to route) error {
	caller := ""
	if r.api.tokens.Asked() && !to.open {
		var err error
		if caller, err = r.api.tokens.Check(x.req.Header); err != nil {
			x.w.Header().Set("WWW-Authenticate", "Bearer")
			return &fault{code: codeToken, message: err.Error()}
		}
	}
	if len(to.methods) > 0 && !allowed(to.methods, x.req.Method) {
		x.w.Header().Set("Allow", strings.Join(to.methods, ", "))
		return &fault{code: codeMethod, message: "use " + strings.Join(to.methods, " or ")}
	}
	if to.open {
		return nil
	}
	if caller == "" && r.api.rates.each > 0 {
		caller = callerAddress(x.req.RemoteAddr)
	}
	if reason, retry := r.api.rates.allow(caller, r.cfg.Now()); reason != "" {
		r.metrics.shed.WithLabelValues(string(reason)).Inc()
		return &fault{code: codeRateLimited, message: "more requests than this replica is set to answer: wait as long as Retry-After says", retry: retry}
	}
	return nil
}

func allowed(methods []string, method string) bool {
	return slices.Contains(methods, method) || method == http.MethodHead && slices.Contains(methods, http.MethodGet)
}

// run calls the endpoint. A panic is a bug of ours, and must not take the other requests with it.
func (r *Replica) run(x *exchange, to route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.cfg.Log.Error("replica panics on a request", "request_id", x.id, "route", to.name, "panic", p, "stack", string(debug.Stack()))
			err = &fault{code: codeInternal, message: "the replica failed to answer; its log says why"}
		}
	}()
	return to.answer(x)
}

// write sends what the endpoint wrote, or err as the API's error.
func (r *Replica) write(x *exchange, err error) {
	if x.written {
		return
	}
	if err != nil {
		f := new(fault)
		if !errors.As(err, &f) {
			r.cfg.Log.Error("replica fails to answer", "request_id", x.id, "err", err)
			f = &fault{code: codeInternal, message: "the replica failed to answer; its log says why"}
		}
		x.fail(f)
	}
	h := x.w.Header()
	h.Set("Content-Type", x.contentType)
	h.Set("Content-Length", strconv.Itoa(len(x.out.Buf)))
	x.w.WriteHeader(x.status)
	x.w.Write(x.out.Buf) // an error here means that the caller has gone
}

// compute answers q in its turn, from the version of its user's lane. Who gets none is to come again after Retry-After.
func (r *Replica) compute(x *exchange, q Request) (Answer, error) {
	entered := r.cfg.Now()
	end := r.traced(x.ctx, "queue")
	began, reason, retry := r.api.line.take(x.ctx)
	end()
	if reason != "" {
		return Answer{}, r.shed(reason, retry)
	}
	defer r.api.line.leave(began)
	r.metrics.queue.Observe(began.Sub(entered).Seconds())
	v, lane := x.lanes.of(q)
	return r.recommend(x.ctx, v, lane, q), nil
}

// shed counts a request that is sent away, and says when to come again.
func (r *Replica) shed(reason shedReason, retry time.Duration) error {
	r.metrics.shed.WithLabelValues(string(reason)).Inc()
	return &fault{code: codeOverloaded, message: "more is asked than this replica can answer: wait as long as Retry-After says, or ask another replica", retry: retry}
}

// notReady is the answer while no version serves.
func (r *Replica) notReady() error {
	r.metrics.shed.WithLabelValues(string(shedNotReady)).Inc()
	return &fault{code: codeNotReady, message: "no verified version serves yet: " + r.whyRefused(), retry: time.Second}
}

func (r *Replica) serveRecommend(x *exchange) error {
	q, err := r.request(x)
	if err != nil {
		return err
	}
	if x.lanes.stable == nil {
		return r.notReady()
	}
	answer, err := r.compute(x, q)
	if err != nil {
		return err
	}
	v, _ := x.lanes.of(q)
	x.from(v)
	answer.encode(&x.out)
	return nil
}

// request reads what is asked, from the URL or from the body.
func (r *Replica) request(x *exchange) (q Request, err error) {
	if x.req.Method != http.MethodPost {
		return decodeQuery(x.req.URL.RawQuery)
	}
	if err := r.readBody(x); err != nil {
		return q, err
	}
	err = decodeBody(&x.in, x.body, func() error {
		q, err = decodeRequest(&x.in, r.cfg.Now())
		return err
	})
	return q, err
}

// modelAnswer is the answer of /v1/model.
type modelAnswer struct {
	schema.Manifest
	AppliedAt time.Time `json:"applied_at"`
	AgeMillis int64     `json:"age_ms"`
	Refused   string    `json:"refused,omitempty"` // why the newest version, or what the order says, is not what is served
	Order     uint64    `json:"order,omitempty"`   // serial of the order in force
	// Candidate is what a share of the users is answered from instead.
	Candidate *publisher.Candidate `json:"candidate,omitempty"`
}

func (r *Replica) serveModel(x *exchange) error {
	v := x.lanes.stable
	if v == nil {
		return r.notReady()
	}
	a := modelAnswer{Manifest: v.manifest, AppliedAt: v.appliedAt.UTC(), AgeMillis: r.age(v).Milliseconds(), Refused: r.whyRefused(), Order: r.inForce().Serial}
	if c := x.lanes.candidate; c != nil {
		a.Candidate = &publisher.Candidate{Version: c.number(), Share: x.lanes.share}
	}
	b, err := json.Marshal(a)
	x.out.Raw(b)
	return err
}

func (r *Replica) serveReady(x *exchange) error {
	if r.draining.Load() {
		x.status = http.StatusServiceUnavailable
		return x.text("the replica is shutting down\n")
	}
	v := x.lanes.stable
	if v == nil {
		x.status = http.StatusServiceUnavailable
		return x.text("no verified version serves yet: " + r.whyRefused() + "\n")
	}
	return x.text(fmt.Sprintf("serving version %d of %s\n", v.number(), v.manifest.Model))
}
