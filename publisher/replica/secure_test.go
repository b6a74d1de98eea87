package replica_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
)

// ticking is a clock that tests move.
type ticking struct {
	mu sync.Mutex
	at time.Time
}

func (c *ticking) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *ticking) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// write replaces a file, with a time of its own, as another second would give it.
func write(t *testing.T, file, text string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// TestTokensRotate: old and new tokens count beside each other while the file has both; a file that is gone or empty changes nothing, and opens nothing.
func TestTokensRotate(t *testing.T) {
	clock, file := &ticking{at: now}, filepath.Join(t.TempDir(), "tokens")
	write(t, file, "# of the shop\nold\n\n", now)
	r, _ := serving(t, func(c *replica.Config) { c.Token, c.TokenFile, c.Now = "fixed", file, clock.now }, nil)
	f := func(token string, want bool) {
		t.Helper()
		req, _ := http.NewRequest("GET", "/v1/model", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		if code := deliver(r.Handler(), req).Code; (code == 200) != want || !want && code != 401 {
			t.Errorf("token %q: %d", token, code)
		}
	}
	changed := func(text string, second int) {
		write(t, file, text, now.Add(time.Duration(second)*time.Second))
		clock.pass(replica.ReloadEvery)
	}
	f("old", true)
	f("fixed", true)
	f("new", false)
	f("", false)
	f("# of the shop", false)
	changed("old\nnew\n", 1)
	f("old", true)
	f("new", true)
	changed("new\n", 2)
	f("old", false)
	f("new", true)
	f("fixed", true)
	changed("\n# none\n", 3)
	f("new", true)
	f("", false)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	clock.pass(replica.ReloadEvery)
	f("new", true)
	f("other", false)
	changed("other\n", 4)
	f("other", true)
	f("new", false)
	for _, text := range []string{"", "#\n"} {
		write(t, file, text, now)
		if _, err := replica.OpenTokens("", file, clock.now, nil); err == nil {
			t.Errorf("a file with %q opens the API", text)
		}
	}
}

// issued makes a certificate and returns it and its key as PEM.
func (a *authority) issued(t *testing.T, name string) (cert, key string) {
	t.Helper()
	a.issue(t, name, time.Hour)
	c, err := os.ReadFile(a.file(name + ".pem"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := os.ReadFile(a.file(name + ".key"))
	if err != nil {
		t.Fatal(err)
	}
	return string(c), string(k)
}

func (a *authority) root() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// TestCertificatesRotate: a new certificate counts for the next connection; a pair that does not fit, as halfway through a replacement, changes nothing; who shows no
// certificate that is asked for gets no answer.
func TestCertificatesRotate(t *testing.T) {
	dir, clock, ours := t.TempDir(), &ticking{at: now}, newAuthority(t)
	files := replica.TLSFiles{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), ClientCAFile: filepath.Join(dir, "ca.pem")}
	cert1, key1 := ours.issued(t, "first")
	cert2, key2 := ours.issued(t, "second")
	write(t, files.CertFile, cert1, now)
	write(t, files.KeyFile, key1, now)
	write(t, files.ClientCAFile, ours.root(), now)
	r, _ := serving(t, func(c *replica.Config) { c.TLS, c.Now = files, clock.now }, nil)
	url, stop := listening(t, r)
	defer stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ours.root()))
	ask := func(show ...tls.Certificate) (name string, code int, err error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: show}}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get("https" + url[len("http"):] + "/readyz")
		if err != nil {
			return "", 0, err
		}
		defer res.Body.Close()
		return res.TLS.PeerCertificates[0].Subject.CommonName, res.StatusCode, nil
	}
	mine, theirs := newAuthority(t), newAuthority(t)
	pair := func(a *authority) tls.Certificate {
		c, k := a.issued(t, "caller")
		p, err := tls.X509KeyPair([]byte(c), []byte(k))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	good, bad := pair(ours), pair(theirs)
	f := func(name string) {
		t.Helper()
		if got, code, err := ask(good); err != nil || got != name || code != 200 {
			t.Errorf("certificate %s, status %d, %v; want %s", got, code, err, name)
		}
	}
	f("first")
	for _, show := range [][]tls.Certificate{nil, {bad}} {
		if _, code, err := ask(show...); err == nil {
			t.Errorf("%d certificates of others: status %d", len(show), code)
		}
	}
	write(t, files.CertFile, cert2, now.Add(time.Second))
	clock.pass(replica.ReloadEvery)
	f("first") // the key is not there yet
	write(t, files.KeyFile, key2, now.Add(time.Second))
	clock.pass(replica.ReloadEvery)
	f("second")
	write(t, files.ClientCAFile, mine.root(), now.Add(time.Second))
	clock.pass(replica.ReloadEvery)
	if _, code, err := ask(good); err == nil {
		t.Errorf("a certificate that is trusted no more: status %d", code)
	}
	good = pair(mine)
	f("second")
}
