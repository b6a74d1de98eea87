package flight

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// authority signs certificates for the test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	return key
}

func (a *authority) write(name, sort string, der []byte) string {
	file := filepath.Join(a.dir, name)
	must(a.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: sort, Bytes: der}), 0o600))
	return file
}

// issue returns the files of a certificate for 127.0.0.1.
func (a *authority) issue(name string) (cert, key string) {
	k := a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	must(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(k)
	must(a.t, err)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", keyDER)
}

func serverTLS(t *testing.T, f TLSFiles) *tls.Config {
	t.Helper()
	c, err := f.Server()
	must(t, err)
	return c
}

func clientTLS(t *testing.T, f TLSFiles) *tls.Config {
	t.Helper()
	c, err := f.Client()
	must(t, err)
	return c
}

// TestWhoMayRead: each way of not being let in says what to change, and changing it lets in.
func TestWhoMayRead(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	nodeCert, nodeKey := ours.issue("node")
	ownCert, ownKey := ours.issue("reader")
	strangeCert, strangeKey := theirs.issue("stranger")
	node := TLSFiles{Cert: nodeCert, Key: nodeKey}
	closed := node
	closed.ClientCA = ours.file
	for _, tc := range []struct {
		name   string
		server ServerConfig
		scheme string
		token  string
		tls    TLSFiles
		says   string // "" = let in
	}{
		{"open", ServerConfig{}, "grpc", "", TLSFiles{}, ""},
		{"open with tcp in the scheme", ServerConfig{}, "grpc+tcp", "", TLSFiles{}, ""},
		{"a token that nobody asked for", ServerConfig{}, "grpc", "secret", TLSFiles{}, ""},
		{"token", ServerConfig{Token: "secret"}, "grpc", "secret", TLSFiles{}, ""},
		{"no token", ServerConfig{Token: "secret"}, "grpc", "", TLSFiles{}, "this node asks for a token"},
		{"wrong token", ServerConfig{Token: "secret"}, "grpc", "secre", TLSFiles{}, "the token is not this node's"},
		{"tls", ServerConfig{TLS: serverTLS(t, node)}, "grpc+tls", "", TLSFiles{CA: ours.file}, ""},
		{"tls and token", ServerConfig{TLS: serverTLS(t, node), Token: "secret"}, "grpc+tls", "secret", TLSFiles{CA: ours.file}, ""},
		{"tls and a wrong token", ServerConfig{TLS: serverTLS(t, node), Token: "secret"}, "grpc+tls", "x", TLSFiles{CA: ours.file}, "the token is not this node's"},
		{"plain text to tls", ServerConfig{TLS: serverTLS(t, node)}, "grpc", "", TLSFiles{}, "write grpc+tls:// instead of grpc://"},
		{"tls to plain text", ServerConfig{}, "grpc+tls", "", TLSFiles{CA: ours.file}, "write grpc:// instead of grpc+tls://"},
		{"another authority", ServerConfig{TLS: serverTLS(t, node)}, "grpc+tls", "", TLSFiles{CA: theirs.file}, "give the CA that signed the node's certificate"},
		{"certificates both ways", ServerConfig{TLS: serverTLS(t, closed)}, "grpc+tls", "", TLSFiles{CA: ours.file, Cert: ownCert, Key: ownKey}, ""},
		{"no certificate", ServerConfig{TLS: serverTLS(t, closed)}, "grpc+tls", "", TLSFiles{CA: ours.file}, "the node asks for a certificate"},
		{"a stranger's certificate", ServerConfig{TLS: serverTLS(t, closed)}, "grpc+tls", "", TLSFiles{CA: ours.file, Cert: strangeCert, Key: strangeKey}, "the node asks for a certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newTopic(t, seeded(t, 0), 1)
			o.grow(t, 0)
			m := newMachine(t, o.store, tc.server)
			config := quickMirror(m)
			config.Nodes = []string{tc.scheme + "://" + m.address}
			config.Token, config.TLS = tc.token, clientTLS(t, tc.tls)
			mirror := startMirror(t, buffer.Memory(), config)
			if tc.says == "" {
				mirror.reaches(o)
				until(t, mirror.store, "all is well", mirror.Health)
				return
			}
			until(t, mirror.store, "health says what to change", func() error {
				if err := mirror.Health(); err == nil || !strings.Contains(err.Error(), tc.says) {
					return errOf("it says %v", err)
				}
				return nil
			})
			if n := mirror.store.Partition(0).NextEmit; n != 0 {
				t.Errorf("%d entries were let out", n)
			}
		})
	}
}

// TestEveryCallAsksForTheToken: not only those that a mirror makes.
func TestEveryCallAsksForTheToken(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	m := newMachine(t, o.store, ServerConfig{Token: "secret"})
	ctx := context.Background()
	calls := func(c flight.Client) map[string]error {
		errs := map[string]error{}
		_, errs["GetFlightInfo"] = c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"log"}})
		_, errs["GetSchema"] = c.GetSchema(ctx, &flight.FlightDescriptor{})
		if in, err := c.ListFlights(ctx, &flight.Criteria{}); err == nil {
			_, errs["ListFlights"] = in.Recv()
		}
		if in, err := c.DoAction(ctx, &flight.Action{Type: actionPartitions}); err == nil {
			_, errs["DoAction"] = in.Recv()
		}
		if in, err := c.ListActions(ctx, &flight.Empty{}); err == nil {
			_, errs["ListActions"] = in.Recv()
		}
		_, errs["DoGet"] = get(t, c, `{"partition":0}`)
		return errs
	}
	for name, err := range calls(anyClient(t, m)) {
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s without a token: %v", name, err)
		}
	}
	with := anyClient(t, m, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearer("secret")))
	for name, err := range calls(with) {
		if err != nil {
			t.Errorf("%s with the token: %v", name, err)
		}
	}
	if n := m.server.Stats().Refused; n != 6 {
		t.Errorf("%d calls were refused, want 6", n)
	}
}

// TestAnyClientOverTLS reads with a client that was configured by hand.
func TestAnyClientOverTLS(t *testing.T) {
	ours := newAuthority(t, "ours")
	cert, key := ours.issue("node")
	o := newTopic(t, seeded(t, 0), 1)
	m := newMachine(t, o.store, ServerConfig{TLS: serverTLS(t, TLSFiles{Cert: cert, Key: key})})
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	c := anyClient(t, m, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})))
	if g, err := get(t, c, `{"partition":0,"marks":true}`); err != nil || len(g.rows) != 1 {
		t.Errorf("%d rows, %v", len(g.rows), err)
	}
}

func TestTLSFilesNameWhatIsWrong(t *testing.T) {
	ours := newAuthority(t, "ours")
	cert, key := ours.issue("node")
	for _, f := range []TLSFiles{
		{Cert: cert}, {Key: key}, {Cert: "none", Key: key}, {Cert: cert, Key: ours.file}, {ClientCA: ours.file},
		{Cert: cert, Key: key, ClientCA: "none"}, {Cert: cert, Key: key, ClientCA: key},
	} {
		if _, err := f.Server(); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
	for _, f := range []TLSFiles{{CA: "none"}, {CA: key}, {Cert: cert}} {
		if _, err := f.Client(); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
	if c, err := (TLSFiles{}).Server(); c != nil || err != nil {
		t.Errorf("no files: %v, %v; want plain text", c, err)
	}
	for _, address := range []string{"", "host:9091", "http://host:9091", "grpc://host", "grpc://host:9091/x"} {
		if CheckNode(address) == nil {
			t.Errorf("address %q was accepted", address)
		}
	}
	if err := (MirrorConfig{Nodes: []string{"grpc://a:1", "grpc://a:1", "b"}, Keep: -1, BatchBytes: 1}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "named twice") || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "keep") || !strings.Contains(err.Error(), "batch_bytes") {
		t.Errorf("faults of the config: %v", err)
	}
}
