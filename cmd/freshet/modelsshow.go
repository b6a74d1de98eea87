package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/freshet-ml/freshet/publisher"
)

// ModelsShowCmd shows one version.
type ModelsShowCmd struct {
	ModelFlags
	Version atVersion `arg:"" default:"head" help:"Its number, or head, the newest (${default})."`
	JSON    bool      `name:"json" help:"Print the manifest as JSON."`
}

// Run prints a version's manifest.
func (c *ModelsShowCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	_, m, err := c.openAt(ctx, a, c.Version, &closers)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(m)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("version", "%d of %s", m.Version, m.Model)
	row("kind", "%s", m.Kind)
	if m.Parent != 0 {
		row("parent", "%d", m.Parent)
	}
	row("base", "%d", m.Base)
	row("created", "%s by %s", m.CreatedAt.UTC().Format(time.RFC3339), m.Publisher)
	row("trained through", "%s", through(m))
	row("steps", "%d", m.Step)
	row("items", "%d", m.Items)
	for _, name := range slices.Sorted(maps.Keys(m.Metrics)) {
		row(name, "%.6g", m.Metrics[name])
	}
	row("shape", "%s", m.ConfigDigest)
	switch err := publisher.Verify(m, a.cfg.Serve.TrustedKeys); {
	case m.Signature == "":
		row("signature", "none")
	case err != nil:
		row("signature", "%v", err)
	case len(a.cfg.Serve.TrustedKeys) == 0:
		row("signature", "by %s, not checked: no serve.trusted_keys are set", m.Signer)
	default:
		row("signature", "good, by %s", m.Signer)
	}
	for _, o := range m.Objects {
		row("object", "%s  %s  sha256 %s", o.Name, size(o.Bytes), o.SHA256)
	}
	for _, o := range m.FromParent {
		row("from parent", "%s  %s  sha256 %s", o.Name, size(o.Bytes), o.SHA256)
	}
	return w.Flush()
}
