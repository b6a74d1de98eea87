package source_test

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
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// authority signs certificates and keeps them in files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key, a.cert = a.sign(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	return a
}

// sign makes a key and a certificate, name.pem and name.key.
func (a *authority) sign(t testing.TB, name string, c *x509.Certificate, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	c.NotBefore = c.NotAfter.Add(-24 * time.Hour)
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
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
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, signed
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server returns what a broker needs to speak TLS under a certificate for 127.0.0.1 and kafka.example.
func (a *authority) server(t testing.TB, c *x509.Certificate) *tls.Config {
	t.Helper()
	if c == nil {
		c = &x509.Certificate{DNSNames: []string{"kafka.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	}
	key, cert := a.sign(t, "server", c, a.cert, a.key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// client has the authority sign a client's certificate, client.pem and client.key.
func (a *authority) client(t testing.TB) {
	a.sign(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a.cert, a.key)
}

// everything uses every kind of connection: it makes a topic, writes to it, reads it with a group and without, and commits.
func everything(t *testing.T, address string, s source.Security) {
	t.Helper()
	const n = 200
	if _, err := source.EnsureTopic(context.Background(), source.TopicConfig{Brokers: []string{address}, Security: s, Topic: topic, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	produce(t, source.ProducerConfig{Brokers: []string{address}, Security: s}, &numbered{n: n, users: 20})
	all, err := source.ParsePartitions("0-")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []source.KafkaConfig{{}, {Group: "g"}, {Group: "alone", Partitions: all}} {
		c.Brokers, c.Security, c.MaxWait = []string{address}, s, 10*time.Millisecond
		k := newKafka(t, c)
		got := newCollector()
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, got) })
		got.until(t, "all", func() bool { return got.total() == n })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if len(got.faults) > 0 || k.Stats().Faults > 0 {
			t.Errorf("%v, %d failed requests", got.faults, k.Stats().Faults)
		}
		checkNumbered(t, got, n)
	}
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.client(t)
	server := a.server(t, nil)
	mutual := server.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	mutual.ClientCAs.AddCert(a.cert)
	elsewhere := a.server(t, &x509.Certificate{DNSNames: []string{"kafka.example"}})
	for name, tc := range map[string]struct {
		server *tls.Config
		client source.TLS
	}{
		"authority":            {server, source.TLS{CAFile: a.file("ca.pem")}},
		"client's certificate": {mutual, source.TLS{CAFile: a.file("ca.pem"), CertFile: a.file("client.pem"), KeyFile: a.file("client.key")}},
		"other name":           {elsewhere, source.TLS{CAFile: a.file("ca.pem"), ServerName: "kafka.example"}},
		"any certificate":      {server, source.TLS{AcceptAnyCertificate: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(tc.server))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			tc.client.Enabled = true
			everything(t, cluster.ListenAddrs()[0], source.Security{TLS: tc.client})
		})
	}
}

func TestSASL(t *testing.T) {
	a := newAuthority(t)
	file := a.file("password")
	if err := os.WriteFile(file, []byte("sesame open\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, secured := range []bool{false, true} {
		for _, mechanism := range source.Mechanisms {
			t.Run(fmt.Sprintf("%s TLS %v", mechanism, secured), func(t *testing.T) {
				t.Parallel()
				s := source.Security{SASL: source.SASL{Mechanism: mechanism, User: "joe", PasswordFile: file}}
				opts := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(mechanism, "joe", "sesame open")}
				if secured {
					opts = append(opts, kfake.TLS(a.server(t, nil)))
					s.TLS = source.TLS{Enabled: true, CAFile: a.file("ca.pem")}
					s.SASL.Password, s.SASL.PasswordFile = "sesame open", ""
				}
				cluster, err := kfake.NewCluster(opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer cluster.Close()
				everything(t, cluster.ListenAddrs()[0], s)
			})
		}
	}
}

// TestMisfits connects with settings that do not fit to the broker. Each time the error says what to set, long before the
// wait for a broker would be over.
func TestMisfits(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.client(t)
	other.client(t)
	server := a.server(t, nil)
	mutual := server.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	mutual.ClientCAs.AddCert(a.cert)
	user := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "joe", "right"), kfake.Superuser("PLAIN", "joe", "right")}
	trusting := source.TLS{Enabled: true, CAFile: a.file("ca.pem")}
	login := func(mechanism, password string) source.SASL {
		return source.SASL{Mechanism: mechanism, User: "joe", Password: password}
	}
	for name, tc := range map[string]struct {
		opts []kfake.Opt
		s    source.Security
		want string
	}{
		"plain text to TLS":     {[]kfake.Opt{kfake.TLS(server)}, source.Security{}, "this port speaks TLS: set kafka.tls.enabled"},
		"plain text to mutual":  {[]kfake.Opt{kfake.TLS(mutual)}, source.Security{}, "this port speaks TLS: set kafka.tls.enabled"},
		"TLS to plain text":     {nil, source.Security{TLS: trusting}, "this port does not speak TLS: unset kafka.tls.enabled"},
		"unknown authority":     {[]kfake.Opt{kfake.TLS(server)}, source.Security{TLS: source.TLS{Enabled: true, CAFile: other.file("ca.pem")}}, "set kafka.tls.ca_file to the authority's certificate"},
		"the machine's":         {[]kfake.Opt{kfake.TLS(server)}, source.Security{TLS: source.TLS{Enabled: true}}, "set kafka.tls.ca_file to the authority's certificate"},
		"other name":            {[]kfake.Opt{kfake.TLS(a.server(t, &x509.Certificate{DNSNames: []string{"else.example"}}))}, source.Security{TLS: trusting}, "set kafka.tls.server_name"},
		"expired":               {[]kfake.Opt{kfake.TLS(a.server(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(-time.Hour)}))}, source.Security{TLS: trusting}, "renew it, or set this machine's clock"},
		"no certificate":        {[]kfake.Opt{kfake.TLS(mutual)}, source.Security{TLS: trusting}, "set kafka.tls.cert_file and kafka.tls.key_file"},
		"another's certificate": {[]kfake.Opt{kfake.TLS(mutual)}, source.Security{TLS: source.TLS{Enabled: true, CAFile: a.file("ca.pem"), CertFile: other.file("client.pem"), KeyFile: other.file("client.key")}}, "set kafka.tls.cert_file and kafka.tls.key_file to one that it trusts"},
		"no user":               {user, source.Security{}, "set kafka.sasl.mechanism to one that it offers (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512)"},
		"no user over TLS":      {append([]kfake.Opt{kfake.TLS(server)}, user...), source.Security{TLS: trusting}, "set kafka.sasl.mechanism to one that it offers"},
		"wrong password":        {user, source.Security{SASL: login("PLAIN", "wrong")}, `user "joe" proved who it is: check kafka.sasl.user and kafka.sasl.password`},
		"wrong SCRAM password":  {user, source.Security{SASL: login("SCRAM-SHA-256", "wrong")}, `user "joe"`},
		"other SCRAM":           {user, source.Security{SASL: login("SCRAM-SHA-512", "right")}, `that the user has a password for SCRAM-SHA-512`},
		"user to TLS":           {append([]kfake.Opt{kfake.TLS(server)}, user...), source.Security{SASL: login("PLAIN", "right")}, "this port speaks TLS: set kafka.tls.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := startKafka(t, 1, tc.opts...)
			begun := time.Now()
			k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Security: tc.s, ConnectTimeout: time.Minute})
			err := k.Run(context.Background(), newCollector())
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), address) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "right") || strings.Contains(err.Error(), "wrong")) {
				t.Errorf("the error tells the password: %v", err)
			}
			if took := time.Since(begun); took > 30*time.Second { // half of the wait for a broker
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestBrokerRefusesUser has the broker answer as Kafka does, where kfake ends the connection or is not as strict.
func TestBrokerRefusesUser(t *testing.T) {
	for name, tc := range map[string]struct {
		key    kmsg.Key
		answer func(kmsg.Request) kmsg.Response
		want   string
	}{
		"wrong password": {kmsg.SASLAuthenticate, func(r kmsg.Request) kmsg.Response {
			answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			text := "Authentication failed: Invalid username or password"
			answer.ErrorCode, answer.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &text
			return answer
		}, `does not accept user "joe" with its password: check kafka.sasl.user and kafka.sasl.password, and that the user has a password for PLAIN`},
		"no authentication here": {kmsg.SASLHandshake, func(r kmsg.Request) kmsg.Response {
			answer := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
			answer.ErrorCode = kerr.IllegalSaslState.Code
			return answer
		}, "this port asks for no authentication: unset kafka.sasl, or give the port of the listener with SASL"},
		"another mechanism": {kmsg.SASLHandshake, func(r kmsg.Request) kmsg.Response {
			answer := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
			answer.ErrorCode, answer.SupportedMechanisms = kerr.UnsupportedSaslMechanism.Code, []string{"GSSAPI", "SCRAM-SHA-512"}
			return answer
		}, "does not offer SASL mechanism PLAIN: set kafka.sasl.mechanism to one that it offers: GSSAPI, SCRAM-SHA-512"},
	} {
		cluster, address := startKafka(t, 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "joe", "right"))
		cluster.ControlKey(int16(tc.key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			return tc.answer(r), nil, true
		})
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Security: source.Security{SASL: source.SASL{Mechanism: "PLAIN", User: "joe", Password: "secret"}}})
		if err := k.Run(context.Background(), newCollector()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestNotAllowed reads a topic that the user may not see.
func TestNotAllowed(t *testing.T) {
	_, address := startKafka(t, 1, kfake.EnableACLs(), kfake.EnableSASL(), kfake.Superuser("PLAIN", "root", "r"), kfake.User("PLAIN", "joe", "j"))
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Security: source.Security{SASL: source.SASL{Mechanism: "PLAIN", User: "joe", Password: "j"}}})
	if err := k.Run(context.Background(), newCollector()); err == nil || !strings.Contains(err.Error(), "allow its user to describe and read it") {
		t.Errorf("got %v", err)
	}
}

func TestSecurityNamesAllFaults(t *testing.T) {
	a := newAuthority(t)
	a.client(t)
	missing, empty := a.file("none"), a.file("empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		s    source.Security
		want []string
	}{
		{source.Security{TLS: source.TLS{CAFile: "x"}, SASL: source.SASL{User: "joe"}}, []string{"set kafka.tls.enabled", "set kafka.sasl.mechanism to one of PLAIN"}},
		{source.Security{TLS: source.TLS{Enabled: true, CAFile: missing}, SASL: source.SASL{Mechanism: "GSSAPI"}}, []string{"kafka.tls.ca_file", "no such file", `sasl mechanism "GSSAPI"`}},
		{source.Security{TLS: source.TLS{Enabled: true, CAFile: empty}, SASL: source.SASL{Mechanism: "PLAIN"}}, []string{"holds no certificate", "user: must not be empty", "either a password or a password file"}},
		{source.Security{TLS: source.TLS{Enabled: true, CertFile: missing}, SASL: source.SASL{Mechanism: "PLAIN", User: "joe", Password: "p", PasswordFile: empty}}, []string{"give both", "either a password or a password file"}},
		{source.Security{TLS: source.TLS{Enabled: true, CertFile: a.file("client.pem"), KeyFile: a.file("ca.key")}, SASL: source.SASL{Mechanism: "PLAIN", User: "joe", PasswordFile: empty}}, []string{"client's certificate", "holds no password"}},
		{source.Security{SASL: source.SASL{Mechanism: "SCRAM-SHA-256", User: "joe", PasswordFile: missing}}, []string{"kafka.sasl.password_file"}},
		{source.Security{SASL: source.SASL{Mechanism: "SCRAM-SHA-256", User: "joe", Password: "hid\x00den"}}, []string{"characters that SCRAM does not allow"}},
	} {
		_, err := source.NewKafka(source.KafkaConfig{Brokers: []string{"127.0.0.1:1"}, Topic: topic, Security: tc.s})
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want it to say %q", tc.s, err, want)
			}
		}
		if text := fmt.Sprintf("%v %+v %#v", tc.s, tc.s, tc.s); strings.Contains(text, "den") || err != nil && strings.Contains(err.Error(), "den") {
			t.Errorf("the password shows in %s, %v", text, err)
		}
	}
}

// TestPasswordIsReadAnew changes the password of a user whose connections then end: the next one has the new password, as
// soon as it is in the file.
func TestPasswordIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	var password atomic.Value
	password.Store("old")
	cluster, address := startKafka(t, 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "joe", "old"))
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		request := r.(*kmsg.SASLAuthenticateRequest)
		if !strings.HasSuffix(string(request.SASLAuthBytes), "\x00"+password.Load().(string)) {
			return nil, errors.New("wrong password"), true // which ends the connection
		}
		request.SASLAuthBytes = []byte("\x00joe\x00old") // what the broker knows
		return nil, nil, false
	})
	var ended atomic.Bool
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if password.Load() == "new" && !ended.Swap(true) {
			return nil, errors.New("end this connection"), true
		}
		return nil, nil, false
	})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond,
		Security: source.Security{SASL: source.SASL{Mechanism: "PLAIN", User: "joe", PasswordFile: file}}})
	c := newCollector()
	run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "an empty fetch", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.batches > 0 })
	password.Store("new")
	c.until(t, "the refusal", func() bool {
		err := k.Health()
		return err != nil && strings.Contains(err.Error(), `user "joe"`)
	})
	write("new")
	c.until(t, "health", func() bool { return k.Health() == nil })
}
