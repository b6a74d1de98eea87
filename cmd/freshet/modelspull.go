package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// ModelsPullCmd downloads a version.
type ModelsPullCmd struct {
	ModelFlags
	Version atVersion `arg:"" default:"head" help:"Its number, or head, the newest (${default})."`
	Out     string    `required:"" placeholder:"DIR" help:"Directory for it; what an earlier pull brought there is not fetched again."`
	Force   bool      `help:"Replace another version that is in the directory."`
	JSON    bool      `name:"json" help:"Print the summary as one JSON object."`
}

// ModelsVerifyCmd checks a version.
type ModelsVerifyCmd struct {
	ModelFlags
	Version atVersion `arg:"" default:"head" help:"Its number, or head, the newest (${default})."`
	Dir     string    `placeholder:"DIR" help:"Check what was pulled into this directory instead, which needs no NATS."`
	JSON    bool      `name:"json" help:"Print the summary as one JSON object."`
}

// checkedVersion is what pull and verify print.
type checkedVersion struct {
	Model   string           `json:"model"`
	Version schema.Version   `json:"version"`
	Chain   []schema.Version `json:"chain"` // from the base to it
	Items   int              `json:"items"`
	Bytes   int64            `json:"bytes"`
	Fetched int64            `json:"fetched"` // bytes that came from NATS
	Signed  bool             `json:"signed"`  // by a key of serve.trusted_keys
	Dir     string           `json:"dir,omitempty"`
}

// Run downloads a version.
func (c *ModelsPullCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	store, m, err := c.openAt(ctx, a, c.Version, &closers)
	if err != nil {
		return err
	}
	cfg := c.checking(a)
	cfg.Dir = c.Out
	if err := c.checkOut(cfg, m); err != nil {
		return err
	}
	var (
		bar  *view.Progress
		done int64
	)
	each := func(now, total int64) {
		if bar == nil {
			bar = view.NewProgressOf("bytes", a.stderr, a.log, "pull", total, a.now)
		}
		bar.Add(now - done)
		done = now
	}
	if !a.drawn {
		each = nil
	}
	copied, err := replica.Pull(ctx, cfg, store, m.Version, each)
	if bar != nil {
		bar.Close()
	}
	if err != nil {
		return fmt.Errorf("pull version %d: %w", m.Version, err)
	}
	return tellChecked(a, c.JSON, copied, c.Out)
}

// checkOut refuses a directory with something else in it than this version, or a part of one.
func (c *ModelsPullCmd) checkOut(cfg replica.Config, m schema.Manifest) error {
	entries, err := os.ReadDir(c.Out)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (len(entries) == 0 || c.Force) {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := replica.Held(cfg)
	switch {
	case err == nil && held.Version == m.Version && held.Model == m.Model:
		return nil
	case err == nil:
		return fmt.Errorf("%s holds version %d of %s: give another directory, or --force to replace it", c.Out, held.Version, held.Model)
	case errors.Is(err, fs.ErrNotExist) && len(entries) == 1 && entries[0].Name() == "objects":
		return nil // a pull that was cut off
	}
	return fmt.Errorf("%s holds something else: give an empty directory, or one that does not exist", c.Out)
}

// Run checks a version.
func (c *ModelsVerifyCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	cfg := c.checking(a)
	if c.Dir != "" {
		cfg.Dir = c.Dir
		held, err := replica.Held(cfg)
		if err != nil {
			return err
		}
		cfg.Model = held.Model
		checked, err := replica.VerifyDir(cfg)
		if err != nil {
			return fmt.Errorf("verify %s: %w", c.Dir, err)
		}
		return tellChecked(a, c.JSON, checked, c.Dir)
	}
	store, m, err := c.openAt(ctx, a, c.Version, &closers)
	if err != nil {
		return err
	}
	checked, err := replica.Verify(ctx, cfg, store, m.Version)
	if err != nil {
		return fmt.Errorf("verify version %d: %w", m.Version, err)
	}
	return tellChecked(a, c.JSON, checked, "")
}

func tellChecked(a *app, asJSON bool, c replica.Copy, dir string) error {
	m := c.Chain[len(c.Chain)-1]
	out := checkedVersion{Model: m.Model, Version: m.Version, Items: m.Items, Bytes: c.Bytes, Fetched: c.Fetched, Signed: len(a.cfg.Serve.TrustedKeys) > 0, Dir: dir}
	for _, m := range c.Chain {
		out.Chain = append(out.Chain, m.Version)
	}
	if asJSON {
		return json.NewEncoder(a.stdout).Encode(out)
	}
	text := fmt.Sprintf("version %d of %s is good: %d items, %s in a chain of %d", out.Version, out.Model, out.Items, size(out.Bytes), len(out.Chain))
	if out.Fetched > 0 {
		text += fmt.Sprintf(", %s fetched", size(out.Fetched))
	}
	if dir != "" {
		text += ", in " + dir
	}
	if !out.Signed {
		text += "; signatures were not checked, because no serve.trusted_keys are set"
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}
