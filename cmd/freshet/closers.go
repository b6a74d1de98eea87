package main

import (
	"errors"
	"net"

	"github.com/nats-io/nats.go"
)

// closers releases what a verb has taken, the last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

// close calls them and joins their errors to err. It is meant to be deferred.
func (c *closers) close(err *error) {
	for i := len(*c) - 1; i >= 0; i-- {
		*err = errors.Join(*err, (*c)[i]())
	}
	*c = nil
}

func closeConn(nc *nats.Conn) func() error {
	return func() error {
		nc.Close()
		return nil
	}
}

// closeListener is for a listener that an HTTP server may have closed already.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
