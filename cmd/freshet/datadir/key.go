package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// SigningKey returns the key with which this directory's publisher signs manifests, and makes it at the first use. The
// file keys/publisher.nk holds an nkey seed (ed25519); who can read it can sign.
func (d *Dir) SigningKey() (nkeys.KeyPair, error) {
	name := filepath.Join(d.Keys(), "publisher.nk")
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newKey(name)
	}
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("signing key %s is readable by others (%v): chmod 600 it, and make a new one if it may have been read", name, info.Mode().Perm())
	}
	seed, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	key, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w: restore it from a backup, or remove it to have a new one made (replicas that pin the old key must be told)", name, err)
	}
	return key, nil
}

func newKey(name string) (nkeys.KeyPair, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if err := replaceFile(name, append(seed, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return key, nil
}
