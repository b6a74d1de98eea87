package publisher

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Connect dials NATS the way both ends of the protocol want it: it succeeds while the server is down, or refuses these
// credentials, and keeps trying for ever, because a replica serves, and a trainer trains, without NATS. Further options
// (Security.Options) are applied last. The caller closes the connection.
func Connect(url, name string, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	all := append([]nats.Option{
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // credentials are put right at the server, too
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, time.Second),
		nats.PingInterval(10 * time.Second), // a half-open connection is noticed in 20 s, not in 4 minutes
	}, options...)
	nc, err := nats.Connect(url, all...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to nats %s: %w", Redacted(url), err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("connect to nats %s: %w", Redacted(url), err)
	}
	return nc, js, nil
}
