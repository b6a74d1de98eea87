package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// maxWarmupRequests bounds the work before a version serves.
const maxWarmupRequests = 10_000

// Defaults of what a server bounds.
const (
	defaultMaxConns     = 4096
	defaultDrainTimeout = 10 * time.Second
)

// Config says what a Replica follows and how it serves. Fields left zero take their default.
type Config struct {
	ID      string // names this replica in reports and answers; required
	Model   string // name of the line of versions; required
	Address string // of the HTTP API as others reach it; only reported
	Dir     string // where the last good version is kept; "" = nowhere, and a start needs NATS

	// TrustedKeys are the nkey public keys whose signature is accepted. Empty: every version is accepted, signed or not.
	TrustedKeys []string
	// ConfigDigest pins the model's shape; "" accepts any base. A chain never mixes two.
	ConfigDigest string

	Serving model.Serving // how versions are held; default float32, exact

	MaxJitter      time.Duration     // a replica that serves already waits up to this before it fetches a base, so that hundreds do not fetch at once; default 250 ms, negative = none
	PollEvery      time.Duration     // the head is asked for so often even when the watch is silent; default 15 s
	Backoff        publisher.Backoff // between attempts after a fault; default 100 ms to 30 s
	WarmupRequests int               // requests that a version has to answer before it serves: the last of each of so many users, kept in Dir for the next start; default 64, negative = none
	MaxHistory     int               // parts asked of Histories for a request; default 50. A version reads the newest of them, as many as its trainer does
	Gap            time.Duration     // longest distance of two clicks of one session, as the windows of the stream have it; default 30 m

	// CacheBytes bounds what is kept of users who asked, so that their next request need not read all of their past again: keys and values of the network, some
	// 1 KiB a token at width 64 and two blocks. Who asked longest ago goes first. Default 256 MiB: a thousand users of 256 tokens, or eight thousand of 32; negative =
	// nothing is kept.
	CacheBytes int64

	// Live are clicks that no part has yet, for histories. Several replicas may share one. Default none: a click counts once its part is in the log.
	Live *LiveClicks

	Token        string        // bearer token for /v1/; "" = none, and without a TokenFile either /v1/ is open
	TokenFile    string        // further tokens, one a line, read again when it changes; "" = none
	TLS          TLSFiles      // of the API; default none
	MaxInFlight  int           // requests computed at the same time; the others wait; default 4 for each CPU, more would only share them
	MaxQueue     int           // requests that wait; default 1024
	MaxWait      time.Duration // longest wait that a request is let in for, else 429; default 100 ms: a page that waits longer has gone on without an answer
	MaxConns     int           // open connections; more wait to be accepted; default 4096, which hold some 100 MiB
	DrainDelay   time.Duration // that Serve goes on after /readyz says no, for load balancers to see it; default 0
	DrainTimeout time.Duration // that Serve then waits for open requests; default 10 s

	RequestsPerSec          float64 // over all callers, 429 above; 0 = no limit
	RequestsPerSecPerCaller float64 // of each token, or, without tokens, each address; 0 = no limit

	Tracer  trace.Tracer         // of requests; default none
	Metrics prometheus.Collector // shown at /metrics beside the replica's own; default none

	Now  func() time.Time // default time.Now
	Rand func() float64   // in [0, 1), for jitter; default math/rand/v2
	Log  *slog.Logger     // default slog.Default
}

func (c Config) withDefaults() Config {
	if c.MaxJitter == 0 {
		c.MaxJitter = 250 * time.Millisecond
	}
	if c.PollEvery == 0 {
		c.PollEvery = 15 * time.Second
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Backoff.Most == 0 {
		c.Backoff.Most = 30 * time.Second
	}
	if c.Backoff.Rand == nil {
		c.Backoff.Rand = c.Rand
	}
	if c.WarmupRequests == 0 {
		c.WarmupRequests = 64
	}
	if c.MaxHistory == 0 {
		c.MaxHistory = 50
	}
	if c.Gap == 0 {
		c.Gap = 30 * time.Minute
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 256 << 20
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 4 * runtime.GOMAXPROCS(0)
	}
	if c.MaxQueue == 0 {
		c.MaxQueue = 1024
	}
	if c.MaxWait == 0 {
		c.MaxWait = 100 * time.Millisecond
	}
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = defaultDrainTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("replica: "+format, args...))
		}
	}
	if err := publisher.CheckName(c.ID); err != nil {
		faults = append(faults, fmt.Errorf("replica: id %w", err))
	}
	if err := publisher.CheckName(c.Model); err != nil {
		faults = append(faults, fmt.Errorf("replica: model %w", err))
	}
	for _, key := range c.TrustedKeys {
		fault(!nkeys.IsValidPublicKey(key), "trusted key %q is not an nkey public key", key)
	}
	if err := c.TLS.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("replica: tls: %w", err))
	}
	if err := c.Serving.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("replica: %w", err))
	}
	fault(c.PollEvery < 0, "poll_every %v: must be positive", c.PollEvery)
	fault(c.WarmupRequests > maxWarmupRequests, "warmup_requests %d: must be at most %d, each delays every version", c.WarmupRequests, maxWarmupRequests)
	fault(c.MaxHistory < 0, "max_history %d: must be positive", c.MaxHistory)
	fault(c.Gap < 0, "gap %v: must be positive", c.Gap)
	fault(c.MaxInFlight < 0, "max_in_flight %d: must be positive", c.MaxInFlight)
	fault(c.MaxWait < 0, "max_wait %v: must be positive", c.MaxWait)
	fault(c.MaxQueue < 0, "max_queue %d: must be positive", c.MaxQueue)
	fault(c.MaxConns < 0, "max_conns %d: must be positive", c.MaxConns)
	fault(c.RequestsPerSec < 0, "requests_per_sec %v: must not be negative", c.RequestsPerSec)
	fault(c.RequestsPerSecPerCaller < 0, "requests_per_sec_per_caller %v: must not be negative", c.RequestsPerSecPerCaller)
	fault(c.DrainDelay < 0, "drain_delay %v: must not be negative", c.DrainDelay)
	fault(c.DrainTimeout < 0, "drain_timeout %v: must be positive", c.DrainTimeout)
	return errors.Join(faults...)
}

// Histories knows what users did before. Its methods may be called from several goroutines.
type Histories interface {
	// Recent returns the latest parts of a user, at most n, oldest first. A user who is not known has none.
	Recent(user string, n int) ([]schema.Part, error)
}
