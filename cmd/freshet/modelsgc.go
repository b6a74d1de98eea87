package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/freshet-ml/freshet/publisher"
)

// ModelsGCCmd removes versions.
type ModelsGCCmd struct {
	ModelFlags
	Keep   int  `default:"2" placeholder:"N" help:"Keep the newest so many chains (${default}), beside what is served, pinned or on trial; a chain is a base and the deltas after it."`
	DryRun bool `help:"Remove nothing, and say what would be removed."`
	Yes    bool `short:"y" help:"Do not ask."`
	JSON   bool `name:"json" help:"Print the summary as one JSON object."`
}

// collectedJSON is what gc prints for programs.
type collectedJSON struct {
	Model  string `json:"model"`
	DryRun bool   `json:"dry_run"`
	publisher.Collected
}

// Run removes versions that nobody needs.
func (c *ModelsGCCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	if c.Keep < 1 {
		return fmt.Errorf("--keep %d: must be at least 1", c.Keep)
	}
	store, err := c.open(ctx, a, &closers)
	if err != nil {
		return err
	}
	model := a.cfg.Publish.Model
	if a.terminal && !c.Yes && !c.DryRun {
		would, err := store.Collect(ctx, model, c.Keep, true)
		if err != nil {
			return err
		}
		if len(would.Objects)+len(would.Versions) > 0 {
			if err := a.confirm(fmt.Sprintf("Remove %s?", collected(would))); err != nil {
				return err
			}
		}
	}
	removed, err := store.Collect(ctx, model, c.Keep, c.DryRun)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(collectedJSON{model, c.DryRun, removed})
	}
	verb := "removed"
	if c.DryRun {
		verb = "would remove"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s\n", verb, collected(removed))
	return err
}

func collected(c publisher.Collected) string {
	text := fmt.Sprintf("%d versions and %d objects, %s", len(c.Versions), len(c.Objects), size(c.Bytes))
	if n := len(c.Versions); n > 0 {
		text += fmt.Sprintf(" (versions %d to %d)", c.Versions[0], c.Versions[n-1])
	}
	return text
}
