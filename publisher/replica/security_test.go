package replica_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// authority signs certificates, into files NAME.pem and NAME.key of a folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca", time.Hour)
	return a
}

// issue makes a certificate that ends after the given time; the first is the authority's own.
func (a *authority) issue(t testing.TB, name string, ends time.Duration, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(int64(len(name)) + 1), Subject: pkix.Name{CommonName: name}, DNSNames: names,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(ends), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if len(names) > 0 {
		c.IPAddresses = nil
	} else {
		c.DNSNames = []string{"localhost"}
	}
	if a.cert == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == c {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server is how a NATS server speaks TLS under the certificate name, and asks for one where mutual.
func (a *authority) server(t testing.TB, name string, mutual bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if mutual {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(a.cert)
	}
	return c
}

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// connect dials s as a process does, and returns what an operator reads: nothing where the connection comes about.
func connect(t testing.TB, s *server.Server, security publisher.Security) error {
	t.Helper()
	options, err := security.Options()
	if err != nil {
		return err
	}
	faults := make(chan error, 100)
	nc, _, err := publisher.Connect(s.ClientURL(), "test", append(options, nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			select {
			case faults <- err:
			default:
			}
		}))...)
	if err != nil {
		return err
	}
	t.Cleanup(func() { closeAndWait(nc) })
	var refused error
	eventually(t, "the connection comes about or is refused", func() bool {
		if nc.IsConnected() {
			return true
		}
		err := nc.LastError()
		select {
		case err = <-faults:
		default:
		}
		refused = publisher.Explain(s.ClientURL(), err)
		return refused != nil
	})
	return refused
}

func closeAndWait(nc *nats.Conn) {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	nc.Close()
	<-closed
}

// Who is refused reads why and what to do, and nobody who should not be is.
func TestConnectionsAreRefusedInWords(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ca.issue(t, "server", time.Hour)
	ca.issue(t, "elsewhere", time.Hour, "nats.example")
	ca.issue(t, "expired", -time.Hour)
	ca.issue(t, "client", time.Hour)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	public, _ := pair.PublicKey()
	stranger, _ := nkeys.CreateUser()
	strange, _ := stranger.Seed()

	plain := natstest.Run(t, &server.Options{})
	guarded := natstest.Run(t, &server.Options{Users: []*server.User{{Username: "joe", Password: "s3cret"}}, Nkeys: []*server.NkeyUser{{Nkey: public}}})
	secure := natstest.Run(t, &server.Options{TLSConfig: ca.server(t, "server", false)})
	renamed := natstest.Run(t, &server.Options{TLSConfig: ca.server(t, "elsewhere", false)})
	expired := natstest.Run(t, &server.Options{TLSConfig: ca.server(t, "expired", false)})
	mutual := natstest.Run(t, &server.Options{TLSConfig: ca.server(t, "server", true)})
	trusts := publisher.TLS{CAFile: ca.file("ca.pem")}
	shown := publisher.TLS{CAFile: ca.file("ca.pem"), CertFile: ca.file("client.pem"), KeyFile: ca.file("client.key")}
	for _, c := range []struct {
		name     string
		server   *server.Server
		security publisher.Security
		says     string // "" = it connects
	}{
		{"plain", plain, publisher.Security{}, ""},
		{"nobody", guarded, publisher.Security{}, "its users do not include this one"},
		{"a password", guarded, publisher.Security{User: "joe", Password: "s3cret"}, ""},
		{"a password file", guarded, publisher.Security{User: "joe", PasswordFile: file(t, "p", "s3cret\n")}, ""},
		{"a wrong password", guarded, publisher.Security{User: "joe", Password: "hunter2"}, "nats.user and its password"},
		{"an nkey", guarded, publisher.Security{NKeySeedFile: file(t, "u.nk", string(seed)+"\n")}, ""},
		{"a strange nkey", guarded, publisher.Security{NKeySeedFile: file(t, "u.nk", string(strange))}, "nats.nkey_seed_file"},
		{"an nkey where there are none", plain, publisher.Security{NKeySeedFile: file(t, "u.nk", string(seed))}, "its users do not include this one"},
		{"TLS", secure, publisher.Security{TLS: trusts}, ""},
		{"TLS without its authority", secure, publisher.Security{}, "nats.tls.ca_file"},
		{"TLS with another authority", secure, publisher.Security{TLS: publisher.TLS{CAFile: other.file("ca.pem")}}, "nats.tls.ca_file"},
		{"TLS where there is none", plain, publisher.Security{TLS: trusts}, "it offers no TLS"},
		{"another name", renamed, publisher.Security{TLS: trusts}, "nats.tls.server_name"},
		{"another name that is given", renamed, publisher.Security{TLS: publisher.TLS{CAFile: ca.file("ca.pem"), ServerName: "nats.example"}}, ""},
		{"an expired certificate", expired, publisher.Security{TLS: trusts}, "renew it"},
		{"a client's certificate", mutual, publisher.Security{TLS: shown}, ""},
		{"no client's certificate", mutual, publisher.Security{TLS: trusts}, "nats.tls.cert_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := connect(t, c.server, c.security)
			switch {
			case c.says == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), c.says):
				t.Errorf("%v: it does not say %q", err, c.says)
			case strings.Contains(err.Error(), "hunter2"):
				t.Errorf("it tells the password: %v", err)
			}
		})
	}
}

// Who lacks a right reads which, and not that there is no NATS: the server leaves such a request unanswered.
func TestMissingRightsAreSaid(t *testing.T) {
	nothing := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}}}
	s := natstest.Run(t, &server.Options{Users: []*server.User{{Username: "joe", Password: "s3cret", Permissions: nothing}}})
	options, err := publisher.Security{User: "joe", Password: "s3cret"}.Options()
	if err != nil {
		t.Fatal(err)
	}
	nc, js, err := publisher.Connect(s.ClientURL(), "test", append(options, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAndWait(nc) })
	eventually(t, "the connection comes about", nc.IsConnected)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = publisher.OpenStore(ctx, js)
	if !errors.Is(err, publisher.ErrRefused) || !strings.Contains(err.Error(), "$JS.API.STREAM.INFO.OBJ_freshet_models") || !strings.Contains(err.Error(), "deploy/nats-secure.conf") {
		t.Error(err)
	}
}

// What is wrong on this side is said before anything is dialled.
func TestSecurityIsCheckedFirst(t *testing.T) {
	ca := newAuthority(t)
	account, _ := nkeys.CreateAccount()
	seed, _ := account.Seed()
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name     string
		security publisher.Security
		says     string
	}{
		{"two users", publisher.Security{User: "joe", Password: "x", NKeySeedFile: none}, "give one of nats.creds_file"},
		{"no password", publisher.Security{User: "joe"}, "nats.password_file"},
		{"two passwords", publisher.Security{User: "joe", Password: "x", PasswordFile: file(t, "p", "x")}, "one password"},
		{"an empty password file", publisher.Security{User: "joe", PasswordFile: file(t, "p", "\n")}, "holds no password"},
		{"nobody's password", publisher.Security{Password: "s3cret"}, "nats.user"},
		{"no seed file", publisher.Security{NKeySeedFile: none}, "no such file"},
		{"an account's seed", publisher.Security{NKeySeedFile: file(t, "a.nk", string(seed))}, "freshet key make"},
		{"no creds", publisher.Security{CredsFile: none}, "no such file"},
		{"creds without a JWT", publisher.Security{CredsFile: file(t, "c.creds", "hello")}, "nsc generate creds"},
		{"no authorities", publisher.Security{TLS: publisher.TLS{CAFile: file(t, "ca.pem", "hello")}}, "BEGIN CERTIFICATE"},
		{"half a certificate", publisher.Security{TLS: publisher.TLS{CertFile: ca.file("ca.pem")}}, "nats.tls.key_file"},
		{"another key", publisher.Security{TLS: publisher.TLS{CertFile: ca.file("ca.pem"), KeyFile: file(t, "k", "hello")}}, "nats.tls.cert_file"},
	} {
		_, err := c.security.Options()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: it tells the password: %v", c.name, err)
		}
	}
}
