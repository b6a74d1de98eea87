package flight

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const authorization = "authorization"

// authorize reports what is wrong with a call's token.
func (s *Server) authorize(ctx context.Context) error {
	if s.cfg.Token == "" {
		return nil
	}
	sent := metadata.ValueFromIncomingContext(ctx, authorization)
	if len(sent) == 0 {
		s.refused.Add(1)
		return status.Error(codes.Unauthenticated, "this node asks for a token: send the header authorization: Bearer <token> (freshet: set flight.token)")
	}
	token, bearer := strings.CutPrefix(sent[0], "Bearer ")
	// Digests, so that the time that comparing takes says nothing about the token, not even its length.
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.cfg.Token))
	if !bearer || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		s.refused.Add(1)
		return status.Error(codes.Unauthenticated, "the token is not this node's: set flight.token to the same on both")
	}
	return nil
}

func (s *Server) authorizeUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (s *Server) authorizeStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := s.authorize(stream.Context()); err != nil {
		return err
	}
	return handle(server, stream)
}

// bearer sends a token with each call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{authorization: "Bearer " + string(b)}, nil
}

// RequireTransportSecurity returns false: within a closed network a token over plain text is better than none.
func (b bearer) RequireTransportSecurity() bool { return false }

// TLSFiles name PEM files. Empty names are files that are not needed.
type TLSFiles struct {
	Cert, Key string // of this node: shown by its listener, and to nodes that ask for a certificate
	CA        string // who signs the certificates of the nodes that are read; empty is whom the machine trusts
	ClientCA  string // who signs the certificates that callers of the listener must have; empty asks for none
}

// Server returns the configuration of a listener, or nil where there is no certificate.
func (f TLSFiles) Server() (*tls.Config, error) {
	if f.Cert == "" && f.Key == "" {
		if f.ClientCA != "" {
			return nil, errors.New("flight: a client CA without a certificate of the node: give flight.tls.cert and flight.tls.key too")
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := f.own(c); err != nil {
		return nil, err
	}
	if f.ClientCA != "" {
		pool, err := readCA(f.ClientCA)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// Client returns the configuration with which nodes are called over TLS.
func (f TLSFiles) Client() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Cert != "" || f.Key != "" {
		if err := f.own(c); err != nil {
			return nil, err
		}
	}
	if f.CA != "" {
		pool, err := readCA(f.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	return c, nil
}

func (f TLSFiles) own(c *tls.Config) error {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return fmt.Errorf("flight: certificate %q with key %q: %w: give both as PEM files", f.Cert, f.Key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}

func readCA(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("flight: read CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("flight: %s holds no certificate: give a PEM file of the CA", name)
	}
	return pool, nil
}
