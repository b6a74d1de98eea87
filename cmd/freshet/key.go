package main

import (
	"fmt"
	"io"

	"github.com/nats-io/nkeys"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
)

// Run makes a key and prints its public key.
func (c *KeyMakeCmd) Run(a *app) error {
	key, err := datadir.MakeKey(c.File)
	if err != nil {
		return err
	}
	return printPublic(a.stdout, key)
}

// Run prints the public key of a file.
func (c *KeyShowCmd) Run(a *app) error {
	key, err := datadir.ReadKey(c.File)
	if err != nil {
		return err
	}
	return printPublic(a.stdout, key)
}

func printPublic(w io.Writer, key nkeys.KeyPair) error {
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	_, err = fmt.Fprintln(w, public)
	return err
}

// signingKey returns the key that versions are signed with.
func signingKey(c config.Publish, dir *datadir.Dir) (nkeys.KeyPair, error) {
	if c.KeyFile == "" {
		return dir.SigningKey()
	}
	key, err := datadir.ReadKey(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("publish.key_file: %w", err)
	}
	return key, nil
}
