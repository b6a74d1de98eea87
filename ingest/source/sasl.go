package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
)

// Versions of the requests of SASL that are spoken here; brokers have them since Kafka 1.0 and 2.2.
const (
	handshakeVersion    = 1
	authenticateVersion = 1
)

// authenticate proves who this client is, before anything else is said on the connection.
func (s SASL) authenticate(ctx context.Context, conn net.Conn, address string) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	mechanism, err := s.mechanism()
	if err != nil {
		return err
	}
	code, offered, err := saslHandshake(conn, s.Mechanism)
	switch {
	case err != nil:
		return fmt.Errorf("kafka: begin SASL with %s: %w", address, err)
	case errors.Is(code, kafka.UnsupportedSASLMechanism):
		return &refusal{address: address, what: fmt.Sprintf("the broker does not offer SASL mechanism %s", s.Mechanism),
			next: "set kafka.sasl.mechanism to one that it offers: " + strings.Join(offered, ", "), err: code}
	case errors.Is(code, kafka.IllegalSASLState):
		return &refusal{address: address, what: "this port asks for no authentication", next: "unset kafka.sasl, or give the port of the listener with SASL", err: code}
	case code != nil:
		return fmt.Errorf("kafka: begin SASL with %s: %w", address, code)
	}
	session, message, err := mechanism.Start(ctx)
	for completed := false; err == nil && !completed; {
		var m protocol.Message
		if m, err = protocol.RoundTrip(conn, authenticateVersion, 0, clientID, &saslauthenticate.Request{AuthBytes: message}); err != nil {
			// Brokers may end the connection instead of answering, and may take their time for it.
			return &refusal{address: address, what: fmt.Sprintf("the broker broke off while user %q proved who it is", s.User), next: s.advice(), err: noEOF(err)}
		}
		answer := m.(*saslauthenticate.Response)
		if answer.ErrorCode != 0 {
			err = errors.Join(kafka.Error(answer.ErrorCode), textError(answer.ErrorMessage))
			break
		}
		completed, message, err = session.Next(ctx, answer.AuthBytes)
	}
	if err != nil {
		return &refusal{address: address, what: fmt.Sprintf("the broker does not accept user %q with its password", s.User), next: s.advice(), err: err}
	}
	return conn.SetDeadline(noDeadline)
}

func (s SASL) advice() string {
	return "check kafka.sasl.user and kafka.sasl.password, and that the user has a password for " + s.Mechanism
}

func textError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// saslHandshake asks for a mechanism. It returns the broker's error, if any, and the mechanisms that the broker has.
func saslHandshake(conn net.Conn, mechanism string) (code error, offered []string, err error) {
	m, err := protocol.RoundTrip(conn, handshakeVersion, 0, clientID, &saslhandshake.Request{Mechanism: mechanism})
	if err != nil {
		return nil, nil, noEOF(err)
	}
	r := m.(*saslhandshake.Response)
	if r.ErrorCode != 0 {
		code = kafka.Error(r.ErrorCode)
	}
	return code, r.Mechanisms, nil
}
