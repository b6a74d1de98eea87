package config

import (
	"fmt"
	"net/url"
	"time"
)

// ServeLimits bound what callers of the HTTP API may ask for. 0 is a replica's own default, except of the rates and of drain_delay.
type ServeLimits struct {
	TokenFile               string        `koanf:"token_file" doc:"further bearer tokens, one a line, read again when it changes: add the new one, change the callers, take the old one away"`
	MaxInFlight             int           `koanf:"max_in_flight" doc:"requests computed at the same time; 0 is 4 for each CPU"`
	MaxQueue                int           `koanf:"max_queue" doc:"requests that wait for their turn"`
	MaxWait                 time.Duration `koanf:"max_wait" doc:"longest wait that a request is let in for; the others get 429 and Retry-After at once"`
	MaxConns                int           `koanf:"max_conns" doc:"open connections; more wait to be accepted"`
	RequestsPerSec          float64       `koanf:"requests_per_sec" doc:"over all callers, 429 above; 0 is no limit"`
	RequestsPerSecPerCaller float64       `koanf:"requests_per_sec_per_caller" doc:"of each token or, without tokens, each address, 429 above; 0 is no limit"`
	DrainDelay              time.Duration `koanf:"drain_delay" doc:"that serve and up go on answering at their end while /readyz says no, so that load balancers see it"`
	DrainTimeout            time.Duration `koanf:"drain_timeout" doc:"that they then wait for open requests"`
}

// ServeTLS names the files of certificates.
type ServeTLS struct {
	CertFile     string `koanf:"cert_file" doc:"certificate of this server; with it the API is served over TLS alone"`
	KeyFile      string `koanf:"key_file" doc:"its key"`
	ClientCAFile string `koanf:"client_ca_file" doc:"who signs the certificates that callers must show, those of health checks too; empty asks for none"`
}

// ServeTraces says where spans go.
type ServeTraces struct {
	Endpoint string  `koanf:"endpoint" doc:"OTLP over HTTP, such as http://127.0.0.1:4318; empty makes none"`
	Sample   float64 `koanf:"sample" doc:"share of requests that are traced; of a caller's trace its own decision counts"`
}

func defaultServeLimits() ServeLimits {
	// A page that waits longer than 100 ms has gone on without an answer. 4096 connections hold some 100 MiB.
	return ServeLimits{MaxQueue: 1024, MaxWait: 100 * time.Millisecond, MaxConns: 4096, DrainTimeout: 10 * time.Second}
}

// Drain is how long a server may take to end.
func (l ServeLimits) Drain() time.Duration { return l.DrainDelay + l.DrainTimeout }

func (c *checker) serveLimits(l ServeLimits) {
	between(c, "serve.max_in_flight", l.MaxInFlight, 0, 10_000)
	between(c, "serve.max_queue", l.MaxQueue, 1, 1_000_000)
	between(c, "serve.max_conns", l.MaxConns, 1, 1_000_000)
	between(c, "serve.requests_per_sec", l.RequestsPerSec, 0, 1e9)
	between(c, "serve.requests_per_sec_per_caller", l.RequestsPerSecPerCaller, 0, 1e9)
	c.duration("serve.max_wait", l.MaxWait, time.Millisecond)
	c.duration("serve.drain_delay", l.DrainDelay, 0)
	c.duration("serve.drain_timeout", l.DrainTimeout, time.Millisecond)
}

func (c *checker) serveTLS(t ServeTLS) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.fault("serve.tls.cert_file", "a certificate and its key go together", "set both serve.tls.cert_file and serve.tls.key_file")
	}
	if t.ClientCAFile != "" && t.CertFile == "" {
		c.fault("serve.tls.client_ca_file", "callers can show certificates over TLS only", "set serve.tls.cert_file and serve.tls.key_file too")
	}
}

func (c *checker) serveTraces(t ServeTraces) {
	between(c, "serve.traces.sample", t.Sample, 0, 1)
	if u, err := url.Parse(t.Endpoint); t.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		c.fault("serve.traces.endpoint", fmt.Sprintf("%q is not the address of a collector", t.Endpoint), "write http://host:4318, where it takes OTLP over HTTP")
	}
}
