package config_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
)

func TestNATSSecurity(t *testing.T) {
	yaml := "nats:\n  url: tls://nats:4222\n  user: joe\n  tls: {ca_file: ca.pem, cert_file: joe.pem, key_file: joe.key, server_name: n}\n"
	l := load(t, config.Places{File: yamlFile(t, yaml), Environ: []string{"FRESHET_NATS_PASSWORD=hunter2"}})
	want := config.NATS{URL: "tls://nats:4222", User: "joe", Password: "hunter2",
		TLS: config.NATSTLS{CAFile: "ca.pem", CertFile: "joe.pem", KeyFile: "joe.key", ServerName: "n"}}
	if l.Config.NATS != want {
		t.Errorf("%+v", l.Config.NATS)
	}
	var out bytes.Buffer
	if err := l.Effective(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "password: '********'") {
		t.Errorf("the password is printed, or nothing in its place:\n%s", &out)
	}
	for _, c := range []struct{ yaml, key, says string }{
		{"user: joe, password: x", "nats.url", "the embedded server knows neither users nor TLS"},
		{"tls: {ca_file: ca.pem}", "nats.url", "give --nats"},
		{"url: 'nats://a:1', user: joe", "nats.password", "one password"},
		{"url: 'nats://a:1', user: joe, password: x, password_file: y", "nats.password", "nats.password_file"},
		{"url: 'nats://a:1', password: x", "nats.user", "no user"},
		{"url: 'nats://a:1', creds_file: x, nkey_seed_file: y", "nats.creds_file", "nats.nkey_seed_file as well"},
		{"url: 'nats://a:1', user: joe, password: x, nkey_seed_file: y", "nats.nkey_seed_file", "nats.user as well"},
		{"url: 'nats://joe:x@a:1', creds_file: y", "nats.url", "it names a user"},
		{"url: 'nats://a:1', api_prefix: 'freshet.>'", "nats.api_prefix", "such as freshet.api"},
		{"url: 'nats://a:1', tls: {cert_file: x}", "nats.tls.cert_file", "nats.tls.key_file"},
	} {
		_, err := config.Load(config.Places{File: yamlFile(t, "nats: {"+c.yaml+"}\n")})
		var faults config.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Key != c.key || !strings.Contains(faults[0].Error(), c.says) {
			t.Errorf("%s: %v, want one fault of %s that says %q", c.yaml, err, c.key, c.says)
		}
	}
}
