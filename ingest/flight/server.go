package flight

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Log is what a Server shows. *buffer.Store is one.
type Log interface {
	Partitions() (map[schema.Partition]buffer.Meta, error)
	Partition(p schema.Partition) buffer.Meta
	LogPacked(p schema.Partition, from schema.Emit, limit int) ([]buffer.Entry, error)
	Recent(user string, n int) ([]schema.Part, error)
	Changed() <-chan struct{}
}

var _ Log = (*buffer.Store)(nil)

// ServerConfig says who may read. Fields left zero take their default.
type ServerConfig struct {
	Token      string        // that callers must send; "" asks for none
	TLS        *tls.Config   // of the listener; nil is plain text
	MaxStreams int           // DoGet calls at the same time, ResourceExhausted above; default 1024: each may hold a few MiB
	StopWithin time.Duration // that streams have to end when the server stops; default 5 s
	Log        *slog.Logger  // default: nothing is logged

	// Live is where the node tells of the clicks that it takes. Default: it takes none, and live clicks are not to be had.
	Live *live.Broadcast
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.MaxStreams == 0 {
		c.MaxStreams = 1024
	}
	if c.StopWithin == 0 {
		c.StopWithin = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// ServerStats says what a Server has sent since its start.
type ServerStats struct {
	Streams int64  // DoGet calls that are open
	Batches uint64 // record batches, also those without rows
	Rows    uint64
	Bytes   uint64 // of Arrow messages, before gRPC's own framing
	Refused uint64 // calls with a wrong or no token, or beyond MaxStreams
}

// Server shows a log over Arrow Flight. See doc.go for the protocol.
type Server struct {
	flight.BaseFlightServer
	log    Log
	cfg    ServerConfig
	schema []byte // as GetSchema and FlightInfo want it

	stopping                      chan struct{}
	streams                       atomic.Int64
	batches, rows, bytes, refused atomic.Uint64
}

// NewServer returns a Server of log. It serves once Run is called.
func NewServer(log Log, c ServerConfig) *Server {
	return &Server{log: log, cfg: c.withDefaults(), schema: flight.SerializeSchema(schema.PartsSchema(), memory.DefaultAllocator), stopping: make(chan struct{})}
}

// Run serves on l until ctx ends, then closes l, and lets calls end. It may be called once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.authorizeUnary), grpc.ChainStreamInterceptor(s.authorizeStream),
		grpc.MaxRecvMsgSize(64 << 10), // tickets and descriptors
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(uint32(s.cfg.MaxStreams)),
		// A reader that is gone without a word is noticed, and a quiet stream of a reader that is there is kept.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: keepaliveEvery}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveEvery / 4, PermitWithoutStream: true}),
	}
	if s.cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	server := grpc.NewServer(options...)
	flight.RegisterFlightServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		close(s.stopping)
		return fmt.Errorf("serve flight on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping) // streams that follow end by themselves
	late := time.AfterFunc(s.cfg.StopWithin, server.Stop)
	defer late.Stop()
	server.GracefulStop()
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve flight on %s: %w", l.Addr(), err)
	}
	return nil
}

const (
	keepaliveEvery = 20 * time.Second
	// maxMessage bounds a batch: one part that is larger than any that windows emit within their default bounds.
	maxMessage = 512 << 20
)

// Stats returns what the server has sent. It may be called from any goroutine.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Streams: s.streams.Load(), Batches: s.batches.Load(), Rows: s.rows.Load(), Bytes: s.bytes.Load(), Refused: s.refused.Load(),
	}
}

// partitions returns the metas of p, or of all partitions where p is nil, in rising order.
func (s *Server) partitions(p *schema.Partition) ([]buffer.Meta, error) {
	metas, err := s.log.Partitions()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	var out []buffer.Meta
	for _, id := range slices.Sorted(maps.Keys(metas)) {
		if p == nil || *p == id {
			out = append(out, metas[id])
		}
	}
	if p != nil && len(out) == 0 {
		return nil, status.Errorf(codes.NotFound, "partition %d is not on this node", *p)
	}
	return out, nil
}

func (s *Server) info(d *flight.FlightDescriptor, metas []buffer.Meta) *flight.FlightInfo {
	info := &flight.FlightInfo{Schema: s.schema, FlightDescriptor: d, TotalBytes: -1}
	for _, m := range metas {
		info.TotalRecords += int64(m.NextEmit - m.FirstEmit)
		info.Endpoint = append(info.Endpoint, &flight.FlightEndpoint{
			Ticket: &flight.Ticket{Ticket: ticket{Partition: &m.Partition}.bytes()}, AppMetadata: mustJSON(stateOf(m)),
		})
	}
	if len(metas) == 1 {
		info.AppMetadata = info.Endpoint[0].AppMetadata
	}
	return info
}

// ListFlights sends a flight for each partition.
func (s *Server) ListFlights(_ *flight.Criteria, out flight.FlightService_ListFlightsServer) error {
	metas, err := s.partitions(nil)
	if err != nil {
		return err
	}
	for _, m := range metas {
		d := &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{pathLog, strconv.Itoa(int(m.Partition))}}
		if err := out.Send(s.info(d, []buffer.Meta{m})); err != nil {
			return err
		}
	}
	return nil
}

// GetFlightInfo returns an endpoint for each partition that d names.
func (s *Server) GetFlightInfo(_ context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	p, err := partitionOf(d)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	metas, err := s.partitions(p)
	if err != nil {
		return nil, err
	}
	return s.info(d, metas), nil
}

// GetSchema returns the schema of the parts table, which all flights have.
func (s *Server) GetSchema(context.Context, *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	return &flight.SchemaResult{Schema: s.schema}, nil
}

// ListActions names what DoAction does.
func (s *Server) ListActions(_ *flight.Empty, out flight.FlightService_ListActionsServer) error {
	return out.Send(&flight.ActionType{Type: actionPartitions, Description: "a result for each partition: its state, as JSON"})
}

// DoAction sends the partitions' states.
func (s *Server) DoAction(a *flight.Action, out flight.FlightService_DoActionServer) error {
	if a.GetType() != actionPartitions {
		return status.Errorf(codes.InvalidArgument, "there is no action %.50q: the one there is, is %q", a.GetType(), actionPartitions)
	}
	metas, err := s.partitions(nil)
	if err != nil {
		return err
	}
	for _, m := range metas {
		if err := out.Send(&flight.Result{Body: mustJSON(stateOf(m))}); err != nil {
			return err
		}
	}
	return nil
}
