package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Security says how connections to the brokers are secured. It holds for every connection: of readers, of groups, of
// producers, and for making topics. The zero value is neither encrypted nor authenticated.
type Security struct {
	TLS  TLS
	SASL SASL
}

// TLS says how connections are encrypted. Files are read anew for each connection, so that a certificate may be renewed
// while freshet runs.
type TLS struct {
	// Enabled encrypts. The fields below need it.
	Enabled bool
	// CAFile holds the authorities, in PEM, that may sign the brokers' certificates. Default: those of the machine.
	CAFile string
	// CertFile and KeyFile hold, in PEM, the certificate by which the brokers know this client, and its key.
	CertFile string
	KeyFile  string
	// ServerName is what the brokers' certificates are for, where that is not the name by which they are reached.
	ServerName string
	// AcceptAnyCertificate trusts whoever answers. Anyone on the way can then read and change everything.
	AcceptAnyCertificate bool
}

// SASL says as whom the brokers know this client.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Empty: no authentication.
	Mechanism string
	// User is the name.
	User string
	// Password, or PasswordFile, whose content it is but for the end of the line. The file is read anew for each connection.
	Password     string
	PasswordFile string
}

// Mechanisms are those of SASL.Mechanism.
var Mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// String leaves the password out.
func (s SASL) String() string { return fmt.Sprintf("{%s %s}", s.Mechanism, s.User) }

// GoString leaves the password out.
func (s SASL) GoString() string { return s.String() }

// Validate reports every fault of s at once, or nil. It reads the files.
func (s Security) Validate() error {
	var faults []error
	t := s.TLS
	if !t.Enabled && t != (TLS{}) {
		faults = append(faults, errors.New("tls: it is set up and not enabled: set kafka.tls.enabled"))
	}
	if t.Enabled {
		if _, err := s.tlsConfig("broker"); err != nil {
			faults = append(faults, err)
		}
	}
	a := s.SASL
	switch {
	case a.Mechanism == "":
		if a != (SASL{}) {
			faults = append(faults, fmt.Errorf("sasl: it is set up without a mechanism: set kafka.sasl.mechanism to one of %s", strings.Join(Mechanisms, ", ")))
		}
	case !slices.Contains(Mechanisms, a.Mechanism):
		faults = append(faults, fmt.Errorf("sasl mechanism %q: must be one of %s", a.Mechanism, strings.Join(Mechanisms, ", ")))
	default:
		if a.User == "" {
			faults = append(faults, errors.New("sasl: user: must not be empty"))
		}
		if (a.Password == "") == (a.PasswordFile == "") {
			faults = append(faults, errors.New("sasl: give either a password or a password file"))
		} else if _, err := a.mechanism(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// warn logs what is allowed and dangerous.
func (s Security) warn(log *slog.Logger) {
	if s.TLS.AcceptAnyCertificate {
		log.Warn("kafka: any certificate is accepted: whoever is on the way to the brokers can read and change everything")
	}
	if s.SASL.Mechanism == "PLAIN" && !s.TLS.Enabled {
		log.Warn("kafka: the password goes over the network as it stands: use TLS or SCRAM")
	}
}

// tlsConfig returns the configuration for a connection to host.
func (s Security) tlsConfig(host string) (*tls.Config, error) {
	t := s.TLS
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: t.AcceptAnyCertificate} //nolint:gosec // the setting's name says what it does
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls: read the authorities (kafka.tls.ca_file): %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: %s holds no certificate: kafka.tls.ca_file wants PEM, which begins with -----BEGIN CERTIFICATE-----", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("tls: kafka.tls.cert_file and kafka.tls.key_file go together: give both")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls: read the client's certificate (kafka.tls.cert_file, kafka.tls.key_file): %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// mechanism returns the client's side of the authentication.
func (s SASL) mechanism() (sasl.Mechanism, error) {
	password := s.Password
	if s.PasswordFile != "" {
		b, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("sasl: read the password (kafka.sasl.password_file): %w", err)
		}
		if password = strings.TrimRight(string(b), "\r\n"); password == "" {
			return nil, fmt.Errorf("sasl: %s holds no password", s.PasswordFile)
		}
	}
	algorithm := scram.SHA256
	switch s.Mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: s.User, Password: password}, nil
	case "SCRAM-SHA-512":
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, s.User, password)
	if err != nil {
		return nil, errors.New("sasl: the user or the password has characters that SCRAM does not allow") // the cause would quote them
	}
	return m, nil
}

// dial makes a connection: TCP, TLS, SASL, all within dialTimeout. kafka-go would do the latter two itself, but tells what
// went wrong there as an end of file, if at all, and sets no limit to the last.
func (s Security) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if s.TLS.Enabled {
		secured, err := s.handshake(ctx, conn, address)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
	}
	if s.SASL.Mechanism != "" {
		if err := s.SASL.authenticate(ctx, conn, address); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// handshake begins TLS.
func (s Security) handshake(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	c, err := s.tlsConfig(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	secured := tls.Client(conn, c)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, tlsRefusal(address, err)
	}
	return secured, nil
}
