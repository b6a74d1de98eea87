package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/ingest/buffer"
)

// visitStore opens the store of a data directory that no process has, for a tool. Where one has it, the error says to do
// instead.
func visitStore(a *app, c *closers, instead string) (*buffer.Store, error) {
	dir, err := datadir.Visit(a.cfg.DataDir)
	var held *datadir.Held
	if errors.As(err, &held) {
		return nil, fmt.Errorf("freshet is running on this directory (%s has %s): %s", held.By, held.Path, instead)
	}
	if err != nil {
		return nil, err
	}
	c.add(dir.Close)
	if _, err := os.Stat(dir.Buffer()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data directory %s has no clicks yet: it is that of a replica, or nothing was ever read into it", dir.Path())
	}
	store, err := buffer.Open(dir.Buffer(), buffer.Options{Log: a.log})
	if err != nil {
		return nil, err
	}
	c.add(store.Close)
	return store, nil
}
