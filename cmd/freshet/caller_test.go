package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-ml/freshet/ingest/aside"
)

// TestCallersOverTLS: what asks a freshet whose certificate is signed by nobody the machine trusts, and that asks callers for one.
func TestCallersOverTLS(t *testing.T) {
	var asked atomic.Value // the Authorization of the last call
	serve := func(who tls.ClientAuthType) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Store(r.Header.Get("Authorization"))
			if r.URL.Path == aside.Prefix+"/summary" {
				io.WriteString(w, `{"records":0}`)
			}
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail
		s.TLS = &tls.Config{ClientAuth: who}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	server, strict := serve(tls.NoClientCert), serve(tls.RequireAnyClientCert)
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := server.TLS.Certificates[0]
	ca := write("ca.pem", "CERTIFICATE", server.Certificate().Raw)
	secret, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := write("key.pem", "PRIVATE KEY", secret)
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte("# callers\nfirst-token-of-the-file\nsecond-token-of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"FRESHET_SERVE_TOKEN_FILE=" + tokens}
	commands := func(s *httptest.Server) map[string][]string {
		return map[string][]string{"health": {"health", s.URL}, "aside": {"aside", "list", "--server", s.URL}}
	}
	for name, args := range commands(server) {
		if _, errs, code := freshet(t, env, args...); code != 1 || !strings.Contains(errs, "unknown authority") || !strings.Contains(errs, "--ca") {
			t.Errorf("%s of a stranger: exit %d, %q", name, code, errs)
		}
		if out, errs, code := freshet(t, env, append(args, "--ca", ca)...); code != 0 {
			t.Errorf("%s: exit %d, %q %q", name, code, out, errs)
		}
		for given, says := range map[string]string{key: "no certificate in", dir + "/none.pem": "no such file"} {
			if _, errs, code := freshet(t, env, append(args, "--ca", given)...); code != 1 || !strings.Contains(errs, says) {
				t.Errorf("%s --ca %s: exit %d, %q", name, given, code, errs)
			}
		}
		if _, errs, code := freshet(t, env, append(args, "--ca", ca, "--cert", ca)...); code != 1 || !strings.Contains(errs, "--key") {
			t.Errorf("%s with half a certificate: exit %d, %q", name, code, errs)
		}
	}
	list := append(commands(server)["aside"], "--ca", ca)
	freshet(t, env, list...)
	if got := asked.Load(); got != "Bearer first-token-of-the-file" {
		t.Errorf("aside asked with %q, want the first token of the file", got)
	}
	freshet(t, append(env, "FRESHET_SERVE_TOKEN=the-token-of-the-config"), list...)
	if got := asked.Load(); got != "Bearer the-token-of-the-config" {
		t.Errorf("aside asked with %q, want the token of the configuration", got)
	}

	for name, args := range commands(strict) {
		if _, errs, code := freshet(t, env, append(args, "--ca", ca)...); code != 1 || !strings.Contains(errs, "certificate") {
			t.Errorf("%s without a certificate: exit %d, %q", name, code, errs)
		}
		if out, errs, code := freshet(t, env, append(args, "--ca", ca, "--cert", ca, "--key", key)...); code != 0 {
			t.Errorf("%s with a certificate: exit %d, %q %q", name, code, out, errs)
		}
	}
}
