package main

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/publisher/replica"
)

// withAPI puts what is set of the HTTP API into a replica's configuration.
func withAPI(c replica.Config, s config.Serve) replica.Config {
	c.Token, c.TokenFile, c.TLS = s.Token, s.TokenFile, tlsOfAPI(s.TLS)
	c.MaxInFlight, c.MaxQueue, c.MaxWait, c.MaxConns = s.MaxInFlight, s.MaxQueue, s.MaxWait, s.MaxConns
	c.RequestsPerSec, c.RequestsPerSecPerCaller = s.RequestsPerSec, s.RequestsPerSecPerCaller
	c.DrainDelay, c.DrainTimeout = s.DrainDelay, s.DrainTimeout
	return c
}

func tlsOfAPI(t config.ServeTLS) replica.TLSFiles {
	return replica.TLSFiles{CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCAFile: t.ClientCAFile}
}

// apiURL is where the HTTP API is that l listens for.
func apiURL(s config.Serve, l net.Listener) string { return scheme(s) + l.Addr().String() }

func scheme(s config.Serve) string {
	if s.TLS.CertFile != "" {
		return "https://"
	}
	return "http://"
}

// tokenCheck returns what looks for a token that counts in the head of a request, or nil where none is asked for.
func tokenCheck(s config.Serve, log *slog.Logger) (func(http.Header) error, error) {
	tokens, err := replica.OpenTokens(s.Token, s.TokenFile, time.Now, func(err error) { log.Warn("the tokens stay as they are", "err", err) })
	if err != nil || !tokens.Asked() {
		return nil, err
	}
	return func(h http.Header) error {
		_, err := tokens.Check(h)
		return err
	}, nil
}
