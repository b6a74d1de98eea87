package publisher

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrRefused marks what is not an outage: NATS is there, and will not have this process as it is.
var ErrRefused = errors.New("NATS refuses this process")

// Explain returns err, which a connection to the servers at url has met, as an ErrRefused with the next step, or nil where
// it is nothing of the kind: then the servers may only be away.
func Explain(url string, err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
	)
	next := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		next = "these credentials are no longer good: have new ones issued and put them into nats.creds_file"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrNkeysNotSupported):
		next = "its users do not include this one, or not with this secret: compare nats.creds_file, nats.nkey_seed_file, or nats.user and its password, with what the server knows"
	case errors.Is(err, nats.ErrPermissionViolation):
		next = "this user may not do that: give it the subject, as deploy/nats-secure.conf does for each role"
	case errors.Is(err, nats.ErrSecureConnWanted):
		next = "it offers no TLS: turn it on at the server, or unset nats.tls and write nats:// in nats.url"
	case errors.As(err, &unknown):
		next = "an authority that is not trusted has signed its certificate: name the authority's certificate in nats.tls.ca_file"
	case errors.As(err, &hostname):
		next = "its certificate is for another name: reach it by that name, or give it in nats.tls.server_name"
	case errors.As(err, &invalid):
		next = "its certificate is not valid: renew it"
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"),
		strings.Contains(err.Error(), "tls: unknown certificate"), strings.Contains(err.Error(), "closed by remote after TLS handshake"):
		next = "it asks for a certificate that its authority has signed: give nats.tls.cert_file and nats.tls.key_file"
	case errors.Is(err, nats.ErrTLS):
		next = "TLS with it does not come about: look at nats.tls, and at the tls block of the server"
	default:
		return nil
	}
	return &refused{url: Redacted(url), err: err, next: next}
}

// refused is an ErrRefused with its cause.
type refused struct {
	url  string
	err  error
	next string
}

func (r *refused) Error() string {
	return fmt.Sprintf("%v: %s: %v: %s", ErrRefused, r.url, r.err, r.next)
}
func (r *refused) Is(target error) bool { return target == ErrRefused }
func (r *refused) Unwrap() error        { return r.err }

// unanswered returns what the server has said of a request that err says got no answer: what it does not allow it leaves
// unanswered, and tells the connection. Any other err stays.
func unanswered(js jetstream.JetStream, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if refused := Explain(js.Conn().ConnectedUrlRedacted(), js.Conn().LastError()); refused != nil {
		return refused
	}
	return err
}
