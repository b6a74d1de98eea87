package config

import (
	"net/url"
	"slices"
	"strings"
)

// NATS says where the NATS server is, and as whom it knows this process.
type NATS struct {
	URL          string  `koanf:"url" doc:"nats://host:port of a server with JetStream; empty runs one inside up" secret:"url"`
	Port         int     `koanf:"port" doc:"of the embedded server on 127.0.0.1; 0 picks one"`
	CredsFile    string  `koanf:"creds_file" doc:"file with the JWT and the seed of a user, as nsc writes it"`
	NKeySeedFile string  `koanf:"nkey_seed_file" doc:"file with the seed of a user, whose public key the server knows; freshet key make writes one"`
	User         string  `koanf:"user" doc:"name of a user who has a password"`
	Password     string  `koanf:"password" doc:"its password; better in FRESHET_NATS_PASSWORD or in password_file than here" secret:"true"`
	PasswordFile string  `koanf:"password_file" doc:"a file that holds the password, read anew for each connection"`
	APIPrefix    string  `koanf:"api_prefix" doc:"what JetStream's subjects begin with where another account of the server has the buckets; empty is $JS.API"`
	TLS          NATSTLS `koanf:"tls" doc:"how connections to the server are encrypted; any of it asks for TLS"`
}

// NATSTLS says how connections to the NATS server are encrypted.
type NATSTLS struct {
	CAFile     string `koanf:"ca_file" doc:"PEM file of the authorities that sign the server's certificate; empty takes the machine's"`
	CertFile   string `koanf:"cert_file" doc:"PEM file of the certificate by which the server knows this process"`
	KeyFile    string `koanf:"key_file" doc:"PEM file of its key"`
	ServerName string `koanf:"server_name" doc:"the name in the server's certificate where it is not the one it is reached by"`
}

// Embedded reports whether up runs the server itself.
func (n NATS) Embedded() bool { return n.URL == "" }

// nats looks at what fits together. Whether files can be read is looked at by those who read them.
func (c *checker) nats(n NATS) {
	between(c, "nats.port", n.Port, 0, 65535)
	for s := range strings.SplitSeq(n.URL, ",") {
		if s == "" {
			continue
		}
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			c.fault("nats.url", "it is not the address of a NATS server", "write nats://host:4222")
		} else if u.User != nil && (n.CredsFile != "" || n.NKeySeedFile != "" || n.User != "") {
			c.fault("nats.url", "it names a user, and so does another setting of nats", "keep one of them")
		}
	}
	if own := (NATS{Port: n.Port}); n.Embedded() && n != own {
		c.fault("nats.url", "it is empty, and the embedded server knows neither users nor TLS, on this machine only", "give --nats nats://host:4222, or unset the other settings of nats")
	}
	var users []string
	for _, s := range []struct{ key, value string }{{"nats.creds_file", n.CredsFile}, {"nats.nkey_seed_file", n.NKeySeedFile}, {"nats.user", n.User}} {
		if s.value != "" {
			users = append(users, s.key)
		}
	}
	switch {
	case len(users) > 1:
		c.fault(users[0], "there is "+strings.Join(users[1:], " and ")+" as well", "keep one of them: a process is one user")
	case n.User != "" && (n.Password == "") == (n.PasswordFile == ""):
		c.fault("nats.password", "there has to be one password", "set either nats.password (FRESHET_NATS_PASSWORD) or nats.password_file")
	case n.User == "" && (n.Password != "" || n.PasswordFile != ""):
		c.fault("nats.user", "there is a password, and no user", "set it, or unset the password")
	}
	if strings.ContainsAny(n.APIPrefix, " \t*>") || strings.HasSuffix(n.APIPrefix, ".") {
		c.fault("nats.api_prefix", "it cannot begin a subject", "write tokens with dots between them, such as freshet.api")
	}
	if (n.TLS.CertFile == "") != (n.TLS.KeyFile == "") {
		c.fault("nats.tls.cert_file", "a certificate and its key go together", "set both nats.tls.cert_file and nats.tls.key_file")
	}
}
