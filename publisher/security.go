package publisher

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Security says how connections to NATS are encrypted, and as whom NATS knows this process. The zero value names nobody,
// and encrypts where the server asks for it. At most one of CredsFile, NKeySeedFile and User is given.
type Security struct {
	TLS TLS
	// CredsFile holds a user's JWT and seed, as nsc writes them.
	CredsFile string
	// NKeySeedFile holds the seed of a user nkey, whose public key the server knows.
	NKeySeedFile string
	// User has Password, or PasswordFile, whose content it is but for the end of the line.
	User, Password, PasswordFile string
	// Inbox is the part of this process in the subjects that replies come to: _INBOX.<Inbox>.>. With one of its own, a
	// process need not be allowed to listen to the replies that others get. Empty: _INBOX.>
	Inbox string
}

// TLS says how connections are encrypted. Files are read anew for each connection, so that a certificate may be renewed
// while a process runs. Where any of it is given, a server without TLS is refused.
type TLS struct {
	// CAFile holds the authorities, in PEM, that may sign the servers' certificates. Default: those of the machine.
	CAFile string
	// CertFile and KeyFile hold, in PEM, the certificate by which the servers know this client, and its key.
	CertFile, KeyFile string
	// ServerName is what the servers' certificates are for, where that is not the name by which they are reached.
	ServerName string
}

// String leaves the password out.
func (s Security) String() string {
	return fmt.Sprintf("{%+v creds %s, nkey %s, user %s}", s.TLS, s.CredsFile, s.NKeySeedFile, s.User)
}

// GoString leaves the password out.
func (s Security) GoString() string { return s.String() }

// Validate reports every fault of s at once, or nil. It reads the files.
func (s Security) Validate() error {
	var faults []error
	named := 0
	for _, given := range []string{s.CredsFile, s.NKeySeedFile, s.User} {
		if given != "" {
			named++
		}
	}
	if named > 1 {
		faults = append(faults, errors.New("nats: give one of nats.creds_file, nats.nkey_seed_file and nats.user"))
	}
	if s.User != "" && (s.Password == "") == (s.PasswordFile == "") {
		faults = append(faults, errors.New("nats: a user has one password: give nats.password or nats.password_file"))
	}
	if s.User == "" && (s.Password != "" || s.PasswordFile != "") {
		faults = append(faults, errors.New("nats: there is a password and nobody who has it: give nats.user"))
	}
	if _, err := s.password(); err != nil {
		faults = append(faults, err)
	}
	if s.CredsFile != "" {
		faults = append(faults, checkCreds(s.CredsFile))
	}
	if s.NKeySeedFile != "" {
		faults = append(faults, checkSeed(s.NKeySeedFile))
	}
	if _, err := s.TLS.authorities(); err != nil {
		faults = append(faults, err)
	}
	if _, err := s.TLS.certificate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Options returns what Connect has to be given. It reads the files, and returns what is wrong with them.
func (s Security) Options() ([]nats.Option, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	var options []nats.Option
	if s.Inbox != "" {
		options = append(options, nats.CustomInboxPrefix("_INBOX."+s.Inbox))
	}
	switch {
	case s.CredsFile != "":
		options = append(options, nats.UserCredentials(s.CredsFile))
	case s.NKeySeedFile != "":
		option, err := nats.NkeyOptionFromSeed(s.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("nats: nats.nkey_seed_file %s: %w", s.NKeySeedFile, err)
		}
		options = append(options, option)
	case s.User != "":
		options = append(options, nats.UserInfoHandler(func() (user, password string) {
			password, _ = s.password() // without it the server says no, and the next attempt reads it again
			return s.User, password
		}))
	}
	if s.TLS == (TLS{}) {
		return options, nil
	}
	options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.TLS.ServerName}))
	var certificate nats.TLSCertHandler
	var authorities nats.RootCAsHandler
	if s.TLS.CertFile != "" {
		certificate = s.TLS.certificate
	}
	if s.TLS.CAFile != "" {
		authorities = s.TLS.authorities
	}
	if certificate != nil || authorities != nil {
		options = append(options, nats.ClientTLSConfig(certificate, authorities))
	}
	return options, nil
}

func (s Security) password() (string, error) {
	if s.PasswordFile == "" {
		return s.Password, nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("nats: read the password (nats.password_file): %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return "", fmt.Errorf("nats: nats.password_file %s holds no password", s.PasswordFile)
	}
	return password, nil
}

func checkCreds(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("nats: read the credentials (nats.creds_file): %w", err)
	}
	if token, err := nkeys.ParseDecoratedJWT(b); err != nil || strings.Count(token, ".") != 2 { // it takes whatever comes first for one
		return fmt.Errorf("nats: nats.creds_file %s holds no JWT: write it with \"nsc generate creds\"", file)
	}
	key, err := nkeys.ParseDecoratedUserNKey(b)
	if err != nil {
		return fmt.Errorf("nats: nats.creds_file %s holds no seed of a user: write it with \"nsc generate creds\"", file)
	}
	key.Wipe()
	return nil
}

func checkSeed(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("nats: read the seed (nats.nkey_seed_file): %w", err)
	}
	key, err := nkeys.ParseDecoratedUserNKey(b)
	if err != nil {
		return fmt.Errorf("nats: nats.nkey_seed_file %s holds no seed of a user, which begins with SU: make one with \"freshet key make FILE\"", file)
	}
	key.Wipe()
	return nil
}

// authorities returns those of the file, or nil where none is given.
func (t TLS) authorities() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("nats: read the authorities (nats.tls.ca_file): %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("nats: %s holds no certificate: nats.tls.ca_file wants PEM, which begins with -----BEGIN CERTIFICATE-----", t.CAFile)
	}
	return pool, nil
}

// certificate returns that of the files, or an empty one where none is given.
func (t TLS) certificate() (tls.Certificate, error) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return tls.Certificate{}, errors.New("nats: a certificate and its key go together: give both nats.tls.cert_file and nats.tls.key_file")
	}
	if t.CertFile == "" {
		return tls.Certificate{}, nil
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("nats: read this client's certificate (nats.tls.cert_file, nats.tls.key_file): %w", err)
	}
	return pair, nil
}

// Redacted returns the addresses of servers without the users, passwords and tokens that may stand in them.
func Redacted(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil {
			parts[i] = "(not an address)"
			continue
		}
		u.User = nil
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}
