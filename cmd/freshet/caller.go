package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// client returns what calls a running freshet as the flags say.
func (f CallerFlags) client() (*http.Client, error) {
	if f == (CallerFlags{}) {
		return http.DefaultClient, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read who signs the server's certificate: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s: give a PEM file", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its key go together: give both --cert and --key, or neither")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("read the certificate %s and its key %s: %w", f.Cert, f.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = c
	return &http.Client{Transport: t}, nil
}

// untrusted says what to do about an error of a call where the server's certificate is signed by nobody who is trusted, or else the error itself.
func untrusted(err error) error {
	if signer := new(x509.UnknownAuthorityError); errors.As(err, signer) {
		return fmt.Errorf("%w: give the PEM file of who signs the server's certificate with --ca", err)
	}
	return err
}
