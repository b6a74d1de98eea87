package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ID returns what the directory is known by to others, 32 hex digits, and makes it at the first use. It is the same in every run and, as the lock is held by one
// process, of one process at a time: by it a trainer that starts again goes on with its line of versions at once. A copy of a directory needs another: remove the file.
func (d *Dir) ID() (string, error) {
	name := filepath.Join(d.path, "ID")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, 16)
		_, _ = rand.Read(fresh) // never fails
		b = []byte(hex.EncodeToString(fresh) + "\n")
		err = replaceFile(name, b, 0o640)
	}
	if err != nil {
		return "", fmt.Errorf("data directory: id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
		return "", fmt.Errorf("data directory: %s does not hold 32 hex digits: remove it to have one made", name)
	}
	return id, nil
}
