package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSConfig says how an embedded NATS server runs.
type NATSConfig struct {
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// StoreDir holds JetStream's files; it is made where it is missing.
	StoreDir string
	// MaxStore bounds the bytes that JetStream may hold; 0 lets the server take three quarters of the free disk.
	MaxStore int64
	// NoSync acknowledges before the disk has the bytes. The default waits, so that a version that was announced is
	// there after a loss of power.
	NoSync bool
	// ReadyWithin bounds the wait for the server, which reads its store first; 0 means 30 s.
	ReadyWithin time.Duration
	// Log receives the server's warnings and errors; nil drops them.
	Log *slog.Logger
}

// Validate reports every fault of c at once, or nil.
func (c NATSConfig) Validate() error {
	var faults []error
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("port %d is not between 0 and 65535", c.Port))
	}
	if c.StoreDir == "" {
		faults = append(faults, errors.New("store directory is missing"))
	}
	if c.MaxStore < 0 {
		faults = append(faults, fmt.Errorf("max store %d is negative: 0 means no bound of its own", c.MaxStore))
	}
	return errors.Join(faults...)
}

// NATS is a running embedded server.
type NATS struct {
	srv   *server.Server
	close sync.Once
}

// StartNATS starts a server with JetStream and returns when it accepts connections.
func StartNATS(c NATSConfig) (*NATS, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("embedded nats: %w", err)
	}
	if c.ReadyWithin == 0 {
		c.ReadyWithin = 30 * time.Second
	}
	if err := os.MkdirAll(c.StoreDir, 0o750); err != nil {
		return nil, fmt.Errorf("embedded nats: %w: make the directory writable, or give another --data-dir", err)
	}
	port := c.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	// The server reports a port in use as text only; asking first gives the cause as a value.
	if err := portFree(c.Port); err != nil {
		return nil, startError("embedded nats", "nats.port", c.Port, err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "freshet", Host: "127.0.0.1", Port: port, NoSigs: true,
		JetStream: true, StoreDir: c.StoreDir, SyncAlways: !c.NoSync,
		JetStreamMaxStore: c.MaxStore, JetStreamMaxMemory: 64 << 20,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded nats: %w", err)
	}
	faults := &natsLog{log: c.Log}
	srv.SetLogger(faults, false, false)
	srv.Start()
	if fatal := faults.first(); fatal != "" {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, startError("embedded nats", "nats.port", c.Port, errors.New(fatal))
	}
	if !srv.ReadyForConnections(c.ReadyWithin) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("embedded nats: not ready within %v: see the log above; a large store needs longer (%s)", c.ReadyWithin, c.StoreDir)
	}
	return &NATS{srv: srv}, nil
}

func portFree(port int) error {
	if port == 0 {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return l.Close()
}

// URL returns the address for clients, nats://host:port.
func (n *NATS) URL() string { return n.srv.ClientURL() }

// Close stops the server and returns when its store is on the disk. Clients should drain first. It may be called more
// than once.
func (n *NATS) Close() error {
	n.close.Do(func() {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
	})
	return nil
}

// natsLog hands the server's warnings to slog and keeps its fatal message: the server itself would end the process.
type natsLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

func (l *natsLog) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *natsLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = strings.TrimSpace(fmt.Sprintf(format, args...))
	}
}

func (l *natsLog) Errorf(format string, args ...any) {
	if l.log != nil {
		l.log.Error("nats: " + fmt.Sprintf(format, args...))
	}
}

func (l *natsLog) Warnf(format string, args ...any) {
	if l.log == nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	level := slog.LevelWarn
	if strings.Contains(text, "Recovering stream state") || strings.Contains(text, "Stream state outdated") {
		level = slog.LevelInfo // after a kill the server reads a stream's blocks again instead of its index: nothing is lost
	}
	l.log.Log(context.Background(), level, "nats: "+text)
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}
