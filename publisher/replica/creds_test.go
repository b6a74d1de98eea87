package replica_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
)

// issuer is an operator of NATS with an account, as nsc makes them: the server knows the operator alone, and users by what the account has signed.
type issuer struct {
	account nkeys.KeyPair
	options server.Options // of a server that trusts the operator
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	operator, account, system := newPair(t, nkeys.CreateOperator), newPair(t, nkeys.CreateAccount), newPair(t, nkeys.CreateAccount)
	claims := jwt.NewOperatorClaims(public(t, operator))
	claims.SystemAccount = public(t, system)
	trusted, err := jwt.DecodeOperatorClaims(signedClaims(t, claims, operator))
	if err != nil {
		t.Fatal(err)
	}
	known := new(server.MemAccResolver)
	for pair, storage := range map[nkeys.KeyPair]int64{account: jwt.NoLimit, system: 0} {
		c := jwt.NewAccountClaims(public(t, pair))
		if storage != 0 { // the system account has no JetStream
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: storage, DiskStorage: storage, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
		}
		if err := known.Store(public(t, pair), signedClaims(t, c, operator)); err != nil {
			t.Fatal(err)
		}
	}
	return &issuer{account, server.Options{TrustedOperators: []*jwt.OperatorClaims{trusted}, SystemAccount: claims.SystemAccount, AccountResolver: known}}
}

// creds is the file that a user of the account is given.
func (i *issuer) creds(t testing.TB, change func(*jwt.UserClaims)) string {
	t.Helper()
	pair := newPair(t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public(t, pair))
	if change != nil {
		change(claims)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(signedClaims(t, claims, i.account), seed)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "user.creds", string(text))
}

func newPair(t testing.TB, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func public(t testing.TB, pair nkeys.KeyPair) string {
	t.Helper()
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signedClaims(t testing.TB, claims jwt.Claims, by nkeys.KeyPair) string {
	t.Helper()
	token, err := claims.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// dialAs connects with the credentials in a file.
func dialAs(t testing.TB, s *server.Server, creds string) jetstream.JetStream {
	t.Helper()
	options, err := publisher.Security{CredsFile: creds}.Options()
	if err != nil {
		t.Fatal(err)
	}
	nc, js, err := publisher.Connect(s.ClientURL(), "test", append(options, nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAndWait(nc) })
	eventually(t, "the connection comes about", nc.IsConnected)
	return js
}

// TestCreds: publisher and replicas with credentials as nsc writes them, of a server that runs under an operator. A file that is replaced counts with the next connection,
// as after the server was away.
func TestCreds(t *testing.T) {
	ours := newIssuer(t)
	s := natstest.Run(t, &ours.options)
	trainee := newTrainee(t, 30)
	p := newPublisher(t, dialAs(t, s, ours.creds(t, nil)), nil)
	replicas := ours.creds(t, nil)
	js := dialAs(t, s, replicas)
	r, _ := start(t, config("r1"), js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	next, err := os.ReadFile(ours.creds(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(replicas, next, 0o600); err != nil {
		t.Fatal(err)
	}
	before := js.Conn().Stats().Reconnects
	if err := js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is connected again", func() bool { return js.Conn().Stats().Reconnects > before && js.Conn().IsConnected() })
	serves(t, r, trainee.publish(t, p).Version)
}

// TestStrangeCredsAreRefusedInWords: those of another operator, of an account that the server does not know, those that have run out, and half a file.
func TestStrangeCredsAreRefusedInWords(t *testing.T) {
	ours, theirs := newIssuer(t), newIssuer(t)
	s := natstest.Run(t, &ours.options)
	unknown := &issuer{account: newPair(t, nkeys.CreateAccount)}
	whole, err := os.ReadFile(ours.creds(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	token, seed, found := strings.Cut(string(whole), "------END NATS USER JWT------")
	if !found {
		t.Fatalf("%s", whole)
	}
	for name, c := range map[string]struct {
		creds, says string // "" = it connects
	}{
		"ours":               {ours.creds(t, nil), ""},
		"another operator's": {theirs.creds(t, nil), "compare nats.creds_file"},
		"another account's":  {unknown.creds(t, nil), "compare nats.creds_file"},
		"run out":            {ours.creds(t, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Hour).Unix() }), "nats.creds_file"},
		"not yet":            {ours.creds(t, func(c *jwt.UserClaims) { c.NotBefore = time.Now().Add(time.Hour).Unix() }), "nats.creds_file"},
		"no seed":            {file(t, "user.creds", token+"------END NATS USER JWT------\n"), "holds no seed of a user"},
		"no JWT":             {file(t, "user.creds", seed), "holds no JWT"},
		"no file":            {"none.creds", "read the credentials (nats.creds_file)"},
		"another's seed":     {file(t, "user.creds", token+"------END NATS USER JWT------"+tail(t, ours.creds(t, nil))), "nats.creds_file"},
	} {
		err := connect(t, s, publisher.Security{CredsFile: c.creds})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// tail is what follows on the JWT in a file of credentials.
func tail(t testing.TB, creds string) string {
	t.Helper()
	whole, err := os.ReadFile(creds)
	if err != nil {
		t.Fatal(err)
	}
	_, seed, _ := strings.Cut(string(whole), "------END NATS USER JWT------")
	return seed
}
