package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// refusal says that a broker answers and that the two sides do not fit together: no waiting helps, so it is returned at once.
type refusal struct {
	address string
	what    string // what is wrong
	next    string // what to do about it
	err     error
}

func (r *refusal) Error() string {
	return fmt.Sprintf("kafka: broker %s: %s: %s: %v", r.address, r.what, r.next, r.err)
}

func (r *refusal) Unwrap() error { return r.err }

var noDeadline time.Time

// tlsRefusal says what a failed TLS handshake means. Where that is not certain, it is only wrapped: see explain.
func tlsRefusal(address string, err error) error {
	r := &refusal{address: address, err: err}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		r.what, r.next = "its certificate is signed by an authority that is not trusted here", "set kafka.tls.ca_file to the authority's certificate"
	case errors.As(err, &name):
		r.what, r.next = "its certificate is for another name", "reach it by a name of the certificate, or set kafka.tls.server_name to one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		r.what, r.next = "its certificate is not valid now", "renew it, or set this machine's clock"
	case errors.As(err, &certificate):
		r.what, r.next = "its certificate is not good", "have it renewed"
	case errors.As(err, &header):
		r.what, r.next = "this port does not speak TLS", "unset kafka.tls.enabled, or give the port of the listener with TLS"
	case isAlert(err):
		r.what, r.next = refusedByBroker, refusedByBrokerNext
	default:
		return fmt.Errorf("kafka: begin TLS with %s: %w", address, err)
	}
	return r
}

const (
	refusedByBroker     = "it refuses the TLS connection"
	refusedByBrokerNext = "where it asks for a client's certificate, set kafka.tls.cert_file and kafka.tls.key_file to one that it trusts"
)

// isAlert reports whether err is what the other side of TLS complains of.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// explain finds out whether err, with which the first request to the brokers failed, comes of settings that do not fit. It
// may ask the brokers. It returns nil where waiting may help.
func (s Security) explain(ctx context.Context, brokers []string, err error) error {
	var known *refusal
	if errors.As(err, &known) {
		return known
	}
	if s.Validate() != nil { // a file was taken away
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil
	}
	for _, address := range brokers {
		if isAlert(err) {
			return &refusal{address: address, what: refusedByBroker, next: refusedByBrokerNext, err: err}
		}
		if r := s.probe(ctx, address, err); r != nil {
			return r
		}
	}
	return nil
}

// probe tries what this client is not set to, to see whether that is what the broker wants.
func (s Security) probe(ctx context.Context, address string, err error) error {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	open := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline) // on a connection that is broken the next use fails
		return conn
	}
	conn := open()
	if conn == nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	plainText := speaksKafka(conn)
	if s.TLS.Enabled && plainText {
		return &refusal{address: address, what: "this port does not speak TLS", next: "unset kafka.tls.enabled, or give the port of the listener with TLS", err: err}
	}
	if !s.TLS.Enabled && !plainText {
		other := open()
		if other == nil {
			return nil
		}
		defer func() { _ = other.Close() }()
		probe := tls.Client(other, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // nothing is said over it
		if failed := probe.HandshakeContext(ctx); failed == nil || isAlert(failed) {
			return &refusal{address: address, what: "this port speaks TLS", next: "set kafka.tls.enabled, and kafka.tls.ca_file unless this machine trusts who signs its certificates", err: err}
		}
		return nil
	}
	if s.SASL.Mechanism != "" {
		return nil
	}
	openSecured := func() net.Conn {
		conn := open()
		if conn == nil || !s.TLS.Enabled {
			return conn
		}
		secured, failed := s.handshake(ctx, conn, address)
		if failed != nil {
			_ = conn.Close()
			return nil
		}
		return secured
	}
	secured := openSecured()
	if secured == nil {
		return nil
	}
	defer func() { _ = secured.Close() }()
	if _, failed := (&metadataCall{}).RawExchange(secured); failed == nil {
		return nil // it answers after all, to everyone
	}
	again := openSecured()
	if again == nil {
		return nil
	}
	defer func() { _ = again.Close() }()
	code, offered, failed := saslHandshake(again, "none of them") // the answer lists those that there are
	if failed != nil || !errors.Is(code, kafka.UnsupportedSASLMechanism) {
		return nil
	}
	return &refusal{address: address, what: "it wants to know who this client is",
		next: "set kafka.sasl.mechanism to one that it offers (" + strings.Join(offered, ", ") + "), kafka.sasl.user and kafka.sasl.password", err: err}
}

// speaksKafka asks what every broker answers to everyone: which versions it has.
func speaksKafka(conn net.Conn) bool {
	answer, err := exchange(conn, appendRequest(nil, protocol.ApiVersions, 0, false), maxMetadata, func(int) []byte { return nil })
	if err != nil {
		return false
	}
	_, err = metadataVersion(answer)
	return err == nil
}
