package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/publisher"
)

// Roles in NATS, beside that of a replica, which is its id.
const (
	roleTrainer = "trainer"
	roleIngest  = "ingest"
)

// link is a connection to NATS.
type link struct {
	*nats.Conn
	js      jetstream.JetStream
	url     string
	trouble *trouble
}

// openNATS begins a connection to the servers of c, which may be away. role is what the process is there: it names the
// connection to operators, and is its part in the subjects that replies come to.
func openNATS(c config.NATS, role string, log *slog.Logger, options ...nats.Option) (*link, error) {
	secured, err := natsSecurity(c, role).Options()
	if err != nil {
		return nil, err
	}
	t := &trouble{url: c.URL, log: log}
	options = append(secured, append(options,
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { t.met(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.met(err) }),
		nats.ConnectHandler(func(*nats.Conn) { t.over() }),
		nats.ReconnectHandler(func(*nats.Conn) { t.over() }))...)
	nc, js, err := publisher.Connect(c.URL, "freshet "+role, options...)
	if err != nil {
		return nil, err
	}
	if c.APIPrefix != "" {
		if js, err = jetstream.NewWithAPIPrefix(nc, c.APIPrefix); err != nil {
			nc.Close()
			return nil, fmt.Errorf("nats.api_prefix %q: %w", c.APIPrefix, err)
		}
	}
	return &link{nc, js, c.URL, t}, nil
}

// natsSecurity is c as the publisher wants it.
func natsSecurity(c config.NATS, role string) publisher.Security {
	return publisher.Security{
		TLS:       publisher.TLS{CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, ServerName: c.TLS.ServerName},
		CredsFile: c.CredsFile, NKeySeedFile: c.NKeySeedFile, User: c.User, Password: c.Password, PasswordFile: c.PasswordFile,
		Inbox: role,
	}
}

// dialNATS connects to the servers of c and waits until one answers.
func dialNATS(ctx context.Context, c config.NATS, role string, log *slog.Logger) (*link, error) {
	l, err := openNATS(c, role, log)
	if err != nil {
		return nil, err
	}
	if err := l.await(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// natsWithin bounds the wait for a NATS server at the start. Later outages are waited out.
const natsWithin = 5 * time.Second

// await returns when a server answers, or with what to do when none does within natsWithin or it refuses this process.
func (l *link) await(ctx context.Context) error {
	for deadline := time.Now().Add(natsWithin); !l.IsConnected(); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if refused := l.trouble.refusal(); refused != nil {
			return refused
		}
		if refused := publisher.Explain(l.url, l.LastError()); refused != nil {
			return refused
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no NATS server answers at %s: start one with JetStream (nats-server -js), or give the address of one that runs (\"freshet up\" without --nats brings its own)",
				publisher.Redacted(l.url))
		}
	}
	return nil
}

// trouble remembers what keeps a connection from coming about, and says it in the log, once until it changes.
type trouble struct {
	url string
	log *slog.Logger

	mu      sync.Mutex
	refused error // guarded by mu; nil where nothing says that the server does not want this process
}

func (t *trouble) met(err error) {
	refused := publisher.Explain(t.url, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case refused == nil:
		t.log.Debug("nats: a connection fails", "err", err)
	case t.refused == nil || t.refused.Error() != refused.Error():
		t.log.Error(refused.Error())
		t.refused = refused
	}
}

func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = nil
}

func (t *trouble) refusal() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}
