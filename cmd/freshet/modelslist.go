package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// ModelsListCmd lists versions.
type ModelsListCmd struct {
	ModelFlags
	Limit int  `default:"20" placeholder:"N" help:"Show so many, the newest (${default}); 0 shows all."`
	JSON  bool `name:"json" help:"Print one JSON object."`
}

// listedModel is what list prints.
type listedModel struct {
	Model    string             `json:"model"`
	Versions []listedVersion    `json:"versions"` // the newest first
	Order    *publisher.Order   `json:"order"`    // null = replicas follow the head
	Replicas []publisher.Report `json:"replicas"`
}

type listedVersion struct {
	schema.Manifest
	Bytes    int64    `json:"bytes"`  // of its objects
	Places   []string `json:"places"` // head, pinned, candidate
	ServedBy []string `json:"served_by"`
}

// Run prints the versions as a table, or as JSON.
func (c *ModelsListCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: must not be negative; 0 shows all", c.Limit)
	}
	store, err := c.open(ctx, a, &closers)
	if err != nil {
		return err
	}
	l, err := listModel(ctx, store, a.cfg.Publish.Model, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(l)
	}
	return l.write(a.stdout, a.now())
}

func listModel(ctx context.Context, store *publisher.Store, model string, limit int) (listedModel, error) {
	l := listedModel{Model: model}
	if limit == 0 {
		limit = int(^uint(0) >> 1)
	}
	published, err := store.Published(ctx, model, limit)
	if err != nil {
		return l, err
	}
	if l.Order, _, err = orderOf(ctx, store, model); err != nil {
		return l, err
	}
	if l.Replicas, err = store.Reports(ctx, model); err != nil {
		return l, err
	}
	add := func(m schema.Manifest) {
		v := listedVersion{Manifest: m, Bytes: bytesOf(m), Places: []string{}, ServedBy: []string{}}
		if m.Version == published[0].Version {
			v.Places = append(v.Places, headWord)
		}
		if o := l.Order; o != nil {
			if o.Version == m.Version {
				v.Places = append(v.Places, "pinned")
			}
			if o.Candidate != nil && o.Candidate.Version == m.Version {
				v.Places = append(v.Places, "candidate")
			}
		}
		for _, r := range l.Replicas {
			if r.Version == m.Version || r.Candidate == m.Version {
				v.ServedBy = append(v.ServedBy, r.ID)
			}
		}
		l.Versions = append(l.Versions, v)
	}
	for _, m := range published {
		add(m)
	}
	// What is served or ordered is listed, too, however old it is.
	older := map[schema.Version]bool{}
	for _, r := range l.Replicas {
		older[r.Version], older[r.Candidate] = true, true
	}
	if o := l.Order; o != nil {
		older[o.Version] = true
		if o.Candidate != nil {
			older[o.Candidate.Version] = true
		}
	}
	last := published[len(published)-1].Version
	for _, v := range slices.Backward(slices.Sorted(maps.Keys(older))) {
		if v == 0 || v >= last {
			continue
		}
		m, err := store.Manifest(ctx, model, v)
		if errors.Is(err, publisher.ErrMissing) {
			continue // the replicas that serve it are listed all the same
		}
		if err != nil {
			return l, err
		}
		add(m)
	}
	return l, nil
}

// orderOf returns the order for a model and its revision, or nil where there is none.
func orderOf(ctx context.Context, store *publisher.Store, model string) (*publisher.Order, uint64, error) {
	stored, revision, err := store.OrderBytes(ctx, model)
	if errors.Is(err, publisher.ErrNoOrder) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	o, err := publisher.ParseOrder(stored)
	if err != nil {
		return nil, revision, fmt.Errorf("%w: no replica obeys it; remove the key %s of bucket %s, then give the order that you want", err, model, publisher.OrdersBucket)
	}
	return &o, revision, nil
}

func bytesOf(m schema.Manifest) (n int64) {
	for _, o := range m.AllObjects() {
		n += o.Bytes
	}
	return n
}

func (l listedModel) write(to io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "version\tkind\tsize\tage\ttrained through\tsteps\titems\trecall@20\tserved by\t")
	for _, v := range l.Versions {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", v.Version, v.Kind, size(v.Bytes), now.Sub(v.CreatedAt).Round(time.Second), through(v.Manifest),
			v.Step, v.Items, recallOf(v.Manifest), strings.Join(v.ServedBy, " "), strings.Join(v.Places, " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(to, "\n%s\n", said(l.Order))
	return writeReplicas(to, l.Replicas)
}

// said tells a person what an order says.
func said(o *publisher.Order) string {
	if o == nil {
		return "Nothing was ordered: replicas follow the newest version."
	}
	text := "replicas follow the newest version"
	if o.Version != 0 {
		text = fmt.Sprintf("replicas are pinned to version %d", o.Version)
	}
	if c := o.Candidate; c != nil {
		text += fmt.Sprintf("; %g %% of the users are answered from %s", 100*c.Share, atVersion(c.Version))
	}
	text = fmt.Sprintf("Order %d: %s. Given %s", o.Serial, text, o.At.UTC().Format(time.RFC3339))
	if o.By != "" {
		text += " by " + shorten(o.By)
	}
	if o.Signer == "" {
		text += ", not signed"
	}
	if o.Why != "" {
		text += ": " + shorten(o.Why)
	}
	return text + "."
}

func writeReplicas(to io.Writer, replicas []publisher.Report) error {
	if len(replicas) == 0 {
		_, err := fmt.Fprintln(to, "No replica reports.")
		return err
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nreplica\tserves\tcandidate\torder\tsince\taddress\t")
	for _, r := range replicas {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, numberOr(uint64(r.Version)), numberOr(uint64(r.Candidate)), numberOr(r.Order),
			r.AppliedAt.UTC().Format(time.DateTime), r.Address, shorten(r.Refused))
	}
	return w.Flush()
}

func numberOr(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func through(m schema.Manifest) string {
	if m.TrainedThrough.EventTime < schema.EarliestEventTime {
		return "no click yet"
	}
	return m.TrainedThrough.EventTime.Time().UTC().Format(time.DateTime)
}

// recallOf is the metric of the model that publish.max_drop guards; the others are in "models show".
func recallOf(m schema.Manifest) string {
	r, ok := m.Metrics[guarded]
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.3f", r)
}

// size writes a number of bytes for a person.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
