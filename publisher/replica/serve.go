package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// How long a caller may take over each part of a request. What is slower holds a connection and nothing else, and only for so long.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // head and body
	writeTimeout  = 30 * time.Second // from the end of the head to the end of the answer
	idleTimeout   = 2 * time.Minute
	maxHeadBytes  = 16 << 10
)

// Serve answers on l until ctx is done. Then /readyz says no at once; for DrainDelay all goes on, so that load balancers see that, with answers that close their
// connections; then nothing new is accepted, and open requests finish for up to DrainTimeout. It closes l. It returns nil after a clean end.
func (r *Replica) Serve(ctx context.Context, l net.Listener) error {
	return r.serve(ctx, l, time.After)
}

func (r *Replica) serve(ctx context.Context, l net.Listener, after func(time.Duration) <-chan time.Time) error {
	outer, err := r.cfg.TLS.Listen(netutil.LimitListener(l, r.cfg.MaxConns), r.cfg.Now, func(err error) {
		r.cfg.Log.Warn("replica keeps the certificate it has", "err", err)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("serve replica %s: %w", r.cfg.ID, err), l.Close())
	}
	server := r.server()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(outer) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve replica %s on %s: %w", r.cfg.ID, l.Addr(), err)
	case <-ctx.Done():
	}
	r.draining.Store(true)
	select {
	case err := <-ended:
		return fmt.Errorf("serve replica %s on %s: %w", r.cfg.ID, l.Addr(), err)
	case <-after(r.cfg.DrainDelay):
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.DrainTimeout)
	defer cancel()
	err = server.Shutdown(bounded)
	if err != nil {
		err = errors.Join(fmt.Errorf("serve replica %s: requests were cut off after %v: %w", r.cfg.ID, r.cfg.DrainTimeout, err), server.Close())
	}
	<-ended
	return err
}

func (r *Replica) server() *http.Server {
	return &http.Server{
		Handler:           r.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeadBytes,
		ErrorLog:          slog.NewLogLogger(r.cfg.Log.Handler(), slog.LevelDebug), // what callers do wrong before a request is read
	}
}
