package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// ModelsCmd is about the published versions of a model, and what replicas are to serve.
type ModelsCmd struct {
	List      ModelsListCmd      `cmd:"" help:"List the published versions, and who serves what."`
	Show      ModelsShowCmd      `cmd:"" help:"Show one version whole."`
	Pull      ModelsPullCmd      `cmd:"" help:"Download a version with all that it needs, checked; a replica starts from the directory."`
	Verify    ModelsVerifyCmd    `cmd:"" help:"Check a version as a replica does: signature, chain, digests, and that a model can be built from it."`
	Pin       ModelsPinCmd       `cmd:"" help:"Have replicas serve one version, also an older one, until something else is ordered."`
	Unpin     ModelsUnpinCmd     `cmd:"" help:"Have replicas follow the newest version again."`
	Rollback  ModelsRollbackCmd  `cmd:"" help:"Have replicas serve the version before the one that they serve."`
	Candidate ModelsCandidateCmd `cmd:"" help:"Have replicas answer a share of the users from another version, and the others as before."`
	GC        ModelsGCCmd        `cmd:"" name:"gc" help:"Remove versions that nobody needs any more."`
}

// ModelFlags say which model is meant, and where its versions are.
type ModelFlags struct {
	Settings
	NATSFlags
	Model string `key:"publish.model" placeholder:"NAME" help:"The name that its versions are published under (default)."`
}

// roleOperator is what these verbs are in NATS.
const roleOperator = "operator"

// open opens the store of versions.
func (f *ModelFlags) open(ctx context.Context, a *app, c *closers) (*publisher.Store, error) {
	if a.cfg.NATS.Embedded() {
		return nil, errors.New("no NATS to ask: give --nats nats://HOST:PORT; \"freshet up\" prints the address of its own")
	}
	nc, err := dialNATS(ctx, a.cfg.NATS, roleOperator, a.log)
	if err != nil {
		return nil, err
	}
	c.add(closeConn(nc.Conn))
	store, err := publisher.OpenStore(ctx, nc.js)
	if errors.Is(err, publisher.ErrNoStore) {
		return nil, fmt.Errorf("%w: start a trainer, which makes them", err)
	}
	return store, err
}

// openAt opens the store of versions, and returns the manifest of v with it.
func (f *ModelFlags) openAt(ctx context.Context, a *app, v atVersion, c *closers) (*publisher.Store, schema.Manifest, error) {
	store, err := f.open(ctx, a, c)
	if err != nil {
		return nil, schema.Manifest{}, err
	}
	m, err := v.manifest(ctx, store, a.cfg.Publish.Model)
	return store, m, err
}

// checking is the configuration by which versions are checked: that of a replica here.
func (f *ModelFlags) checking(a *app) replica.Config {
	return replica.Config{ID: roleOperator, Model: a.cfg.Publish.Model, TrustedKeys: a.cfg.Serve.TrustedKeys,
		Serving: model.Serving{Precision: model.Precision(a.cfg.Serve.Precision)}, Gap: a.cfg.Window.Gap, Log: a.log}
}

// atVersion is a version as it is given on the command line: its number, or head.
type atVersion schema.Version

// headWord is the newest version, whatever its number.
const headWord = "head"

// UnmarshalText reads a number above 0, or head, which is 0.
func (v *atVersion) UnmarshalText(b []byte) error {
	if string(b) == headWord {
		*v = 0
		return nil
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a version: give its number, as \"freshet models list\" shows it, or %s", b, headWord)
	}
	*v = atVersion(n)
	return nil
}

// String writes it as it is read.
func (v atVersion) String() string {
	if v == 0 {
		return headWord
	}
	return strconv.FormatUint(uint64(v), 10)
}

// manifest returns the manifest of v.
func (v atVersion) manifest(ctx context.Context, store *publisher.Store, model string) (schema.Manifest, error) {
	if v == 0 {
		return store.Head(ctx, model)
	}
	m, err := store.Manifest(ctx, model, schema.Version(v))
	if errors.Is(err, publisher.ErrMissing) {
		return m, fmt.Errorf("%w: it was never published, or has been collected: see \"freshet models list\"", err)
	}
	return m, err
}
