package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve answers on l until ctx is done, then lets open requests finish for up to DrainTimeout, while /readyz says no. It
// closes l. It returns nil after a clean end.
func (r *Replica) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           r.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve replica %s on %s: %w", r.cfg.ID, l.Addr(), err)
	case <-ctx.Done():
	}
	r.draining.Store(true)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.DrainTimeout)
	defer cancel()
	err := server.Shutdown(bounded)
	if err != nil {
		err = errors.Join(fmt.Errorf("serve replica %s: requests were cut off after %v: %w", r.cfg.ID, r.cfg.DrainTimeout, err), server.Close())
	}
	<-ended
	return err
}
