package replica

import (
	"cmp"
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

// Server answers over HTTP as a replica does, for who puts something before replicas or beside them: slow callers are bounded, and it ends in order.
type Server struct {
	Handler      http.Handler
	Draining     func()        // is called when the end begins, so that /readyz says no; nil = nothing says so
	DrainDelay   time.Duration // as Config.DrainDelay
	DrainTimeout time.Duration // as Config.DrainTimeout, with the same default
	Log          *slog.Logger

	after func(time.Duration) <-chan time.Time // of a test; nil is time.After
}

// Listen returns l with no more than maxConns connections open at a time (0 = the default of Config.MaxConns), over TLS where there is a certificate.
func Listen(l net.Listener, files TLSFiles, maxConns int, now func() time.Time, failed func(error)) (net.Listener, error) {
	return files.Listen(netutil.LimitListener(l, cmp.Or(maxConns, defaultMaxConns)), now, failed)
}

// Serve answers on l until ctx is done. Then Draining is called; for DrainDelay all goes on, so that load balancers see what /readyz says; then nothing new is accepted,
// and open requests finish for up to DrainTimeout. It closes l. It returns nil after a clean end.
func (s Server) Serve(ctx context.Context, l net.Listener) error {
	server := s.server()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve http on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	if s.Draining != nil {
		s.Draining()
	}
	after := time.After
	if s.after != nil {
		after = s.after
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serve http on %s: %w", l.Addr(), err)
	case <-after(s.DrainDelay):
	}
	most := cmp.Or(s.DrainTimeout, defaultDrainTimeout)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	err := server.Shutdown(bounded)
	if err != nil {
		err = errors.Join(fmt.Errorf("serve http on %s: requests were cut off after %v: %w", l.Addr(), most, err), server.Close())
	}
	<-ended
	return err
}

func (s Server) server() *http.Server {
	return &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeadBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // what callers do wrong before a request is read
	}
}

// Serve answers on l until ctx is done, within MaxConns and over TLS as Config says, and ends as a Server does: /readyz says no at once, and answers close their connections.
func (r *Replica) Serve(ctx context.Context, l net.Listener) error {
	return r.serve(ctx, l, nil)
}

func (r *Replica) serve(ctx context.Context, l net.Listener, after func(time.Duration) <-chan time.Time) error {
	outer, err := Listen(l, r.cfg.TLS, r.cfg.MaxConns, r.cfg.Now, func(err error) { r.cfg.Log.Warn("replica keeps the certificate it has", "err", err) })
	if err != nil {
		return errors.Join(fmt.Errorf("serve replica %s: %w", r.cfg.ID, err), l.Close())
	}
	s := r.httpServer()
	s.after = after
	if err := s.Serve(ctx, outer); err != nil {
		return fmt.Errorf("replica %s: %w", r.cfg.ID, err)
	}
	return nil
}

func (r *Replica) httpServer() Server {
	return Server{Handler: r.Handler(), Draining: r.Drain, DrainDelay: r.cfg.DrainDelay, DrainTimeout: r.cfg.DrainTimeout, Log: r.cfg.Log}
}

// Drain has /readyz say no from now on, and answers close their connections. Serve does it by itself; it is for who serves Handler otherwise.
func (r *Replica) Drain() { r.draining.Store(true) }
