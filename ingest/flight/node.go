package flight

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// CheckNode reports what is wrong with the address of a node.
func CheckNode(address string) error {
	_, _, err := splitAddress(address)
	return err
}

// splitAddress returns the host and port in the address of a node, and whether it is called over TLS. The schemes are those
// of Arrow Flight's locations.
func splitAddress(address string) (hostPort string, secure bool, err error) {
	u, err := url.Parse(address)
	if err == nil {
		_, _, err = net.SplitHostPort(u.Host)
	}
	if err == nil && u.Path == "" {
		switch u.Scheme {
		case "grpc", "grpc+tcp":
			return u.Host, false, nil
		case "grpc+tls":
			return u.Host, true, nil
		}
	}
	return "", false, fmt.Errorf("%q is not the address of a node: write grpc://host:9091, or grpc+tls://host:9091", address)
}

// node is another machine's Server, as a mirror sees it.
type node struct {
	address string
	conn    *grpc.ClientConn
	client  flight.Client

	mu       sync.Mutex // guards what follows
	states   map[schema.Partition]state
	answered uint64 // how often
	err      error
}

// Windows of gRPC's flow control: what a mirror that has fallen behind may have in memory beside its own queues.
const (
	streamWindow = 4 << 20
	connWindow   = 32 << 20
)

// dial prepares a connection; it is made when it is first used.
func dial(address, token string, c *tls.Config) (*node, error) {
	hostPort, secure, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveEvery}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if secure {
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	} else {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(hostPort, options...)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", address, err)
	}
	return &node{address: address, conn: conn, client: flight.NewClientFromConn(conn, nil)}, nil
}

// listWithin bounds a look at a node's partitions.
const listWithin = 10 * time.Second

// list asks for the states of the node's partitions and keeps them.
func (n *node) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	states, err := n.ask(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err = n.explain(err); err == nil {
		n.states = states
		n.answered++
	}
	return n.err
}

func (n *node) ask(ctx context.Context) (map[schema.Partition]state, error) {
	in, err := n.client.DoAction(ctx, &flight.Action{Type: actionPartitions})
	if err != nil {
		return nil, err
	}
	states := map[schema.Partition]state{}
	for {
		result, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return states, nil
		}
		if err != nil {
			return nil, err
		}
		s, err := parseState(result.GetBody())
		if err != nil {
			return nil, err
		}
		if s.Partition >= buffer.MaxPartitions {
			return nil, fmt.Errorf("it has a partition %d, and the most there may be is %d", s.Partition, buffer.MaxPartitions)
		}
		states[s.Partition] = s
	}
}

// state returns what the node last said of p.
func (n *node) state(p schema.Partition) (state, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.states[p]
	return s, ok
}

// said is what the node last said, and whether it did: now, and ever.
func (n *node) said() (now error, ever bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err, n.answered > 0
}

// looks returns how often the node has said what it has.
func (n *node) looks() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.answered
}

// explain adds to an error of gRPC what to do about it.
func (n *node) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	s, _ := status.FromError(err) // also of one that is wrapped, whose text it keeps
	text := strings.ReplaceAll(s.Message(), "rpc error: code = "+s.Code().String()+" desc = ", "")
	next := ""
	switch {
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		next = ": it speaks plain text: write grpc:// instead of grpc+tls://, or give the node a certificate (flight.tls.cert)"
	case strings.Contains(text, "x509: certificate signed by unknown authority"):
		next = ": give the CA that signed the node's certificate (flight.tls.ca)"
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "remote error: tls: bad certificate"):
		next = ": the node asks for a certificate: give one that its CA has signed (flight.tls.cert and flight.tls.key)"
	case strings.Contains(text, "error reading server preface"):
		next = ": if it speaks TLS, write grpc+tls:// instead of grpc://"
	case strings.Contains(text, "connection refused"), strings.Contains(text, "no such host"):
		next = ": start it, or correct its address in --feed"
	case s.Code() == codes.DeadlineExceeded:
		next = fmt.Sprintf(": it did not answer within %v", listWithin)
	case s.Code() == codes.Unimplemented:
		next = ": what answers there is not a freshet: correct its address in --feed"
	}
	return &nodeError{text: fmt.Sprintf("node %s: %s%s", n.address, text, next), err: err}
}

// nodeError is an error of gRPC in words for an operator.
type nodeError struct {
	text string
	err  error
}

func (e *nodeError) Error() string { return e.text }
func (e *nodeError) Unwrap() error { return e.err }
