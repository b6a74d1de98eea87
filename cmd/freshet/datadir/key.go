package datadir

import (
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
	key, err := ReadKey(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newKey(name)
	}
	return key, err
}

// ReadKey returns the key whose seed a file holds. A file that others may read is refused.
func ReadKey(name string) (nkeys.KeyPair, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %s is readable by others (%v): chmod 600 it, and make a new one if it may have been read", name, info.Mode().Perm())
	}
	seed, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return nil, fmt.Errorf("key %s holds no seed of a user, which begins with SU: restore it from a backup, or remove it to make a new one (who trusts the old key must be told)", name)
	}
	return key, nil
}

// MakeKey makes a key and a file for its seed, which only its owner can read. A file that is there already is refused.
func MakeKey(name string) (nkeys.KeyPair, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key: %s is there already: choose another name, so that nothing is lost that was signed with it", name)
	}
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return newKey(name)
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
