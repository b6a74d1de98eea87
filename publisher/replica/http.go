package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The headers of every answer.
const (
	HeaderReplica = "X-Freshet-Replica"
	HeaderVersion = "X-Freshet-Version" // 0 while no version serves
)

// Handler returns the replica's HTTP API; doc.go describes it.
func (r *Replica) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/recommend", r.guarded(r.serveRecommend, http.MethodGet, http.MethodPost))
	mux.Handle("/v1/model", r.guarded(r.serveModel, http.MethodGet))
	mux.Handle("/livez", r.open(func(w http.ResponseWriter, _ *version) {
		fmt.Fprintln(w, "ok")
	}))
	mux.Handle("/readyz", r.open(r.serveReady))
	mux.Handle("/metrics", promhttp.HandlerFor(r.metrics.registry, promhttp.HandlerOpts{}))
	mux.Handle("/", r.guarded(func(http.ResponseWriter, *http.Request, lanes) (any, error) {
		return nil, &badRequest{http.StatusNotFound, "not_found", "there is no such path: see /v1/recommend and /v1/model", ""}
	}))
	return mux
}

// endpoint answers a request from l, the lanes that the request sees, and from no other (I8).
type endpoint func(w http.ResponseWriter, req *http.Request, l lanes) (any, error)

// guarded wraps an endpoint of the API: headers, token, limits, errors and metrics. No methods = all.
func (r *Replica) guarded(answer endpoint, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		began := time.Now()
		r.metrics.inFlight.Inc()
		status := http.StatusInternalServerError
		defer func() {
			r.metrics.inFlight.Dec()
			r.metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
			r.metrics.seconds.Observe(time.Since(began).Seconds())
		}()
		l := r.lanes() // the request's only look at the pointer
		r.mark(w, l.stable)
		body, err := r.guard(w, req, l, answer, methods)
		status = r.write(w, body, err)
	})
}

func (r *Replica) guard(w http.ResponseWriter, req *http.Request, l lanes, answer endpoint, methods []string) (body any, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.cfg.Log.Error("replica panics on a request", "path", req.URL.Path, "panic", p)
			body, err = nil, errors.New("panic")
		}
	}()
	if r.cfg.Token != "" && !r.authorized(req) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, &badRequest{http.StatusUnauthorized, "unauthorized", "send the header Authorization: Bearer and the token", ""}
	}
	if len(methods) > 0 && !contains(methods, req.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return nil, &badRequest{http.StatusMethodNotAllowed, "method_not_allowed", "use " + strings.Join(methods, " or "), ""}
	}
	if r.limit != nil && !r.limit.Allow() {
		w.Header().Set("Retry-After", "1")
		return nil, &badRequest{http.StatusTooManyRequests, "rate_limited", "more requests than this replica is set to answer", ""}
	}
	return answer(w, req, l)
}

func contains(methods []string, method string) bool {
	for _, m := range methods {
		if m == method || m == http.MethodGet && method == http.MethodHead {
			return true
		}
	}
	return false
}

// authorized compares digests, so that neither the token's content nor its length shows in the time taken.
func (r *Replica) authorized(req *http.Request) bool {
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(sum[:], r.token[:]) == 1
}

// open wraps an endpoint that needs no token.
func (r *Replica) open(answer func(w http.ResponseWriter, v *version)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		v := r.lanes().stable
		r.mark(w, v)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		answer(w, v)
	})
}

func (r *Replica) mark(w http.ResponseWriter, v *version) {
	w.Header().Set(HeaderReplica, r.cfg.ID)
	w.Header().Set(HeaderVersion, strconv.FormatUint(uint64(v.number()), 10))
}

// write sends body, or err as the API's error, and returns the status.
func (r *Replica) write(w http.ResponseWriter, body any, err error) int {
	status := http.StatusOK
	var text []byte
	if err == nil {
		text, err = json.Marshal(body)
	}
	if err != nil {
		fault := new(badRequest)
		if !errors.As(err, &fault) {
			r.cfg.Log.Error("replica fails to answer", "err", err)
			fault = &badRequest{http.StatusInternalServerError, "internal", "the replica failed to answer; its log says why", ""}
		}
		status = fault.status
		text, _ = json.Marshal(map[string]errorBody{"error": {fault.code, fault.message, fault.field}})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	w.Write(append(text, '\n')) // an error here means that the caller has gone
	return status
}

type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

func (r *Replica) notReady() error {
	return &badRequest{http.StatusServiceUnavailable, "not_ready", "no verified version serves yet: " + r.whyRefused(), ""}
}

func (r *Replica) serveRecommend(w http.ResponseWriter, req *http.Request, l lanes) (any, error) {
	var q Request
	var err error
	if req.Method == http.MethodPost {
		q, err = parsePost(http.MaxBytesReader(w, req.Body, maxBodyBytes), r.cfg.Now())
	} else {
		q, err = parseGet(req)
	}
	if err != nil {
		return nil, err
	}
	v, lane := l.of(q)
	if v == nil {
		w.Header().Set("Retry-After", "1")
		return nil, r.notReady()
	}
	r.mark(w, v)
	if err := r.takeTurn(req.Context()); err != nil {
		w.Header().Set("Retry-After", "1")
		return nil, err
	}
	defer func() { <-r.turns }()
	return r.recommend(v, lane, q), nil
}

// takeTurn waits for a place among the requests being computed, up to MaxWait.
func (r *Replica) takeTurn(ctx context.Context) error {
	select {
	case r.turns <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(r.cfg.MaxWait)
	defer wait.Stop()
	select {
	case r.turns <- struct{}{}:
		return nil
	case <-wait.C:
	case <-ctx.Done():
	}
	return &badRequest{http.StatusServiceUnavailable, "overloaded", "too many requests are being computed: try another replica", ""}
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

func (r *Replica) serveModel(_ http.ResponseWriter, _ *http.Request, l lanes) (any, error) {
	v := l.stable
	if v == nil {
		return nil, r.notReady()
	}
	a := modelAnswer{Manifest: v.manifest, AppliedAt: v.appliedAt.UTC(), AgeMillis: r.age(v).Milliseconds(), Refused: r.whyRefused(), Order: r.inForce().Serial}
	if l.candidate != nil {
		a.Candidate = &publisher.Candidate{Version: l.candidate.number(), Share: l.share}
	}
	return a, nil
}

func (r *Replica) serveReady(w http.ResponseWriter, v *version) {
	switch {
	case r.draining.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "the replica is shutting down")
	case v == nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		var b bytes.Buffer
		fmt.Fprintf(&b, "no verified version serves yet: %s\n", r.whyRefused())
		w.Write(b.Bytes())
	default:
		fmt.Fprintf(w, "serving version %d of %s\n", v.manifest.Version, v.manifest.Model)
	}
}
