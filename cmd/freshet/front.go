package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/console"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/publisher/replica"
)

// listen takes the address that flag gives before anything else is started, so that a port in use is said at once.
func listen(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: stop what uses it, or give another %s (port 0 picks a free one)", address, err, flag)
	}
	return l, nil
}

// listenAll takes the addresses of the HTTP face and of the log, if that is shown, until c is closed. alone is an ingest node,
// which shows its log where nothing is said. Two nodes on one machine meet in both addresses, and hear of both at once.
func listenAll(cfg config.Config, says *slog.Logger, alone bool, c *closers) (api, log net.Listener, err error) {
	api, err = listen("--listen", cfg.Serve.Listen)
	if err == nil {
		c.add(closeListener(api))
		api, err = replica.Listen(api, tlsOfAPI(cfg.Serve.TLS), cfg.Serve.MaxConns, time.Now, func(err error) { says.Warn("the certificate stays as it is", "err", err) })
	}
	if address := cfg.Flight.Address(alone); address != "" {
		var logErr error
		if log, logErr = listen("--flight-listen", address); logErr == nil {
			c.add(closeListener(log))
		}
		err = errors.Join(err, logErr)
	}
	return api, log, err
}

// front is the HTTP face of "freshet up": it spreads requests over the replicas in turn, and answers for the node itself.
func front(replicas []http.Handler, status func() view.Status, metrics *prometheus.Registry) http.Handler {
	mux := nodeHandler(status, metrics)
	mux.Handle("GET /{$}", console.Handler())
	mux.Handle("GET "+console.Prefix, console.Handler())
	var turn atomic.Uint64
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		replicas[turn.Add(1)%uint64(len(replicas))].ServeHTTP(w, r)
	})
	return mux
}

// nodeHandler answers for a node: its status and its metrics.
func nodeHandler(status func() view.Status, metrics *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(status()); err != nil {
			panic(http.ErrAbortHandler) // the client is gone
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// health adds the probes of a node without replicas: it is ready while problem returns nil.
func health(mux *http.ServeMux, problem func() error) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := problem(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}
