package replica

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLSFiles name PEM files. The zero value is no TLS.
type TLSFiles struct {
	CertFile     string // the server's certificate, with those between it and a root
	KeyFile      string
	ClientCAFile string // who signs the certificates that callers must show; "" asks for none
}

// Validate reports what does not fit together.
func (f TLSFiles) Validate() error {
	switch {
	case (f.CertFile == "") != (f.KeyFile == ""):
		return errors.New("a certificate and its key go together: give both, or neither")
	case f.ClientCAFile != "" && f.CertFile == "":
		return errors.New("callers show certificates over TLS only: give a certificate and its key too")
	}
	return nil
}

// Listen returns l with TLS where there is a certificate, else l itself. The files are read again when they change. failed hears of files that cannot be read or do not
// fit together; connections then go on with those before. HTTP/1.1 alone is offered: one connection is one request at a time, as every limit here counts them.
func (f TLSFiles) Listen(l net.Listener, now func() time.Time, failed func(error)) (net.Listener, error) {
	if f.CertFile == "" {
		return l, nil
	}
	files := []string{f.CertFile, f.KeyFile}
	if f.ClientCAFile != "" {
		files = append(files, f.ClientCAFile)
	}
	current := &reloaded[*tls.Config]{files: files, read: f.read, now: now, failed: failed}
	if err := current.load(); err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.get(), nil },
	}), nil
}

func (f TLSFiles) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", f.CertFile, f.KeyFile, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if f.ClientCAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read who signs callers' certificates: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read who signs callers' certificates: there is no certificate in %s", f.ClientCAFile)
	}
	return c, nil
}
