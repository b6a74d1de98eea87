package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// OrderFlags are those of the verbs that give an order.
type OrderFlags struct {
	ModelFlags
	Key  string        `placeholder:"FILE" help:"Sign the order with the nkey seed in this file; replicas obey the keys in serve.trusted_keys. Those of freshet up obey keys/publisher.nk in its data directory."`
	Why  string        `placeholder:"TEXT" help:"The reason, for whoever reads the order later."`
	Wait time.Duration `default:"30s" placeholder:"DURATION" help:"How long to wait for the replicas to obey (${default}); 0s does not wait."`
	Yes  bool          `short:"y" help:"Do not ask."`
	JSON bool          `name:"json" help:"Print the order, and what the replicas say, as one JSON object."`
}

// ModelsPinCmd pins replicas to a version.
type ModelsPinCmd struct {
	OrderFlags
	Version atVersion `arg:"" help:"Its number. A trial of a candidate ends."`
}

// ModelsUnpinCmd lets replicas follow the head.
type ModelsUnpinCmd struct {
	OrderFlags
}

// ModelsRollbackCmd pins replicas to an older version.
type ModelsRollbackCmd struct {
	OrderFlags
	To atVersion `placeholder:"VERSION" default:"head" help:"Go back to this version, instead of the one before."`
}

// ModelsCandidateCmd has a share of the users answered from another version.
type ModelsCandidateCmd struct {
	OrderFlags
	Version atVersion `arg:"" help:"Its number, or head, the newest."`
	Share   float64   `required:"" placeholder:"S" help:"Of the users, such as 0.1. They are the same on all replicas, and stay when the share grows. pin and unpin end the trial."`
}

// Run pins replicas to a version.
func (c *ModelsPinCmd) Run(ctx context.Context, a *app) error {
	if c.Version == 0 {
		return errors.New("the head is followed, not pinned: run \"freshet models unpin\", or give a number")
	}
	return c.give(ctx, a, func(_ *publisher.Store, _ publisher.Order, o *publisher.Order) error {
		o.Version = schema.Version(c.Version)
		return nil
	})
}

// Run lets replicas follow the head.
func (c *ModelsUnpinCmd) Run(ctx context.Context, a *app) error {
	return c.give(ctx, a, func(*publisher.Store, publisher.Order, *publisher.Order) error { return nil })
}

// Run pins replicas to the version before the one that they serve.
func (c *ModelsRollbackCmd) Run(ctx context.Context, a *app) error {
	return c.give(ctx, a, func(store *publisher.Store, before publisher.Order, o *publisher.Order) error {
		served, err := atVersion(before.Version).manifest(ctx, store, o.Model)
		if err != nil {
			return err
		}
		o.Version = schema.Version(c.To)
		switch {
		case o.Version == 0 && served.Parent == 0:
			return fmt.Errorf("version %d does not say which version was before it: give one with --to, as \"freshet models list\" shows them", served.Version)
		case o.Version == 0:
			o.Version = served.Parent
		case o.Version >= served.Version:
			return fmt.Errorf("--to %d does not go back from version %d, which is served: run \"freshet models pin %d\"", o.Version, served.Version, o.Version)
		}
		return nil
	})
}

// Run has a share of the users answered from another version.
func (c *ModelsCandidateCmd) Run(ctx context.Context, a *app) error {
	return c.give(ctx, a, func(_ *publisher.Store, before publisher.Order, o *publisher.Order) error {
		o.Version = before.Version
		if o.Version == schema.Version(c.Version) {
			return fmt.Errorf("everybody is answered from %s already: pin the others to another version first", c.Version)
		}
		o.Candidate = &publisher.Candidate{Version: schema.Version(c.Version), Share: c.Share}
		return nil
	})
}

// givenOrder is what the verbs print.
type givenOrder struct {
	Order    publisher.Order    `json:"order"`
	Replicas []publisher.Report `json:"replicas"`
}

// give makes an order of what plan says, signs it, and stores it where no other was given meanwhile. before is the order in
// force; the zero Order where there is none.
func (f *OrderFlags) give(ctx context.Context, a *app, plan func(store *publisher.Store, before publisher.Order, o *publisher.Order) error) (err error) {
	var closers closers
	defer closers.close(&err)
	seed, err := f.seed(a)
	if err != nil {
		return err
	}
	store, err := f.open(ctx, a, &closers)
	if err != nil {
		return err
	}
	last, revision, err := orderOf(ctx, store, a.cfg.Publish.Model)
	if err != nil {
		return err
	}
	replicas, err := store.Reports(ctx, a.cfg.Publish.Model)
	if err != nil {
		return err
	}
	o := publisher.Order{Format: publisher.OrderFormat, Model: a.cfg.Publish.Model, By: whoami(), At: a.now().UTC().Truncate(time.Second), Why: f.Why}
	before := publisher.Order{}
	if last != nil {
		before = *last
	}
	o.Serial = before.Serial + 1
	for _, r := range replicas { // they refuse a lower one than they have seen, even if NATS has lost it
		o.Serial = max(o.Serial, r.Order+1)
	}
	if err := plan(store, before, &o); err != nil {
		return err
	}
	if err := f.check(ctx, a, store, o); err != nil {
		return err
	}
	if err := f.confirm(a, o, replicas); err != nil {
		return err
	}
	if seed != nil {
		if err := o.Sign(seed); err != nil {
			return err
		}
	}
	err = store.GiveOrder(ctx, o, revision)
	if errors.Is(err, publisher.ErrOrderChanged) {
		return fmt.Errorf("%w: see it with \"freshet models list\", and run this again if it is still what you want", err)
	}
	if err != nil {
		return err
	}
	replicas, obeyed := f.await(ctx, store, o, replicas)
	if f.JSON {
		err = json.NewEncoder(a.stdout).Encode(givenOrder{o, append([]publisher.Report{}, replicas...)})
	} else {
		fmt.Fprintln(a.stdout, said(&o))
		err = writeReplicas(a.stdout, replicas)
	}
	return errors.Join(obeyed, err)
}

// seed returns the seed to sign with, or nil where the order is not to be signed.
func (f *OrderFlags) seed(a *app) ([]byte, error) {
	if f.Key == "" {
		if len(a.cfg.Serve.TrustedKeys) > 0 {
			return nil, errors.New("replicas with serve.trusted_keys obey signed orders only: give --key FILE")
		}
		return nil, nil
	}
	key, err := datadir.ReadKey(f.Key)
	if err != nil {
		return nil, err
	}
	if public, err := key.PublicKey(); err != nil || len(a.cfg.Serve.TrustedKeys) > 0 && !slices.Contains(a.cfg.Serve.TrustedKeys, public) {
		return nil, fmt.Errorf("the key in %s is %s, which serve.trusted_keys does not list: replicas would not obey it", f.Key, public)
	}
	return key.Seed()
}

// check refuses an order for versions that no replica could get.
func (f *OrderFlags) check(ctx context.Context, a *app, store *publisher.Store, o publisher.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	wanted := []schema.Version{o.Version}
	if o.Candidate != nil {
		wanted = append(wanted, o.Candidate.Version)
	}
	for _, v := range wanted {
		if v == 0 {
			continue
		}
		if _, err := atVersion(v).manifest(ctx, store, o.Model); err != nil {
			return err
		}
		if _, err := replica.Chain(ctx, f.checking(a), store, v); err != nil {
			return fmt.Errorf("no replica could serve version %d: %w", v, err)
		}
	}
	return nil
}

// confirm asks whoever sits at a terminal.
func (f *OrderFlags) confirm(a *app, o publisher.Order, replicas []publisher.Report) error {
	if !a.terminal || f.Yes {
		return nil
	}
	for _, r := range replicas {
		to := atVersion(o.Version).String()
		if o.Candidate != nil {
			to += fmt.Sprintf(", and %s for %g %% of the users", atVersion(o.Candidate.Version), 100*o.Candidate.Share)
		}
		fmt.Fprintf(a.stderr, "replica %s serves version %d and will serve %s\n", r.ID, r.Version, to)
	}
	return a.confirm(fmt.Sprintf("Give order %d to %d replicas?", o.Serial, len(replicas)))
}

// confirm asks a question, and returns an error unless the answer is yes.
func (a *app) confirm(question string) error {
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// await waits until every live replica obeys o, and returns what they say, and an error where that takes too long.
func (f *OrderFlags) await(ctx context.Context, store *publisher.Store, o publisher.Order, before []publisher.Report) ([]publisher.Report, error) {
	if f.Wait <= 0 {
		return before, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Wait)
	defer cancel()
	for {
		now, err := store.Reports(ctx, o.Model)
		if err == nil {
			before = now
			if len(disobeying(now, o)) == 0 {
				return now, nil
			}
		}
		select {
		case <-ctx.Done():
			var left []string
			for _, r := range disobeying(before, o) {
				left = append(left, fmt.Sprintf("%s serves version %d by order %d (%s)", r.ID, r.Version, r.Order, shorten(r.Refused)))
			}
			return before, fmt.Errorf("order %d was given, but after %v not all replicas obey it; they go on trying: %s", o.Serial, f.Wait, strings.Join(left, "; "))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// disobeying returns those replicas that do not serve what o says.
func disobeying(replicas []publisher.Report, o publisher.Order) (left []publisher.Report) {
	for _, r := range replicas {
		obeys := r.Order >= o.Serial && (o.Version == 0 || r.Version == o.Version)
		if c := o.Candidate; c == nil {
			obeys = obeys && r.Candidate == 0
		} else {
			obeys = obeys && r.Candidate != 0 && (c.Version == 0 || r.Candidate == c.Version)
		}
		if !obeys && r.Order <= o.Serial { // else somebody has given another order since
			left = append(left, r)
		}
	}
	return left
}

// whoami names the person at this machine.
func whoami() string {
	name := "unknown user"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
