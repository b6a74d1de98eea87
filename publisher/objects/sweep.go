package objects

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Inventory is what a bucket held at a moment.
type Inventory struct {
	Names map[string]bool // of the objects that have their entry
	IDs   map[string]bool // of which there are chunks, those of a put that was cut off, or is going on, included

	through uint64 // nothing behind this message was looked at
}

// Inventory looks at all of the bucket.
func (b *Bucket) Inventory(ctx context.Context) (Inventory, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	v := Inventory{Names: map[string]bool{}, IDs: map[string]bool{}}
	info, err := b.stream.Info(ctx) // before the look: what comes during it may be seen, and is not swept
	if err != nil {
		return v, fmt.Errorf("inventory of bucket %s: %w", b.name, err)
	}
	v.through = info.State.LastSeq
	entries, chunks := "$O."+b.name+".M.", "$O."+b.name+".C."
	if info, err = b.stream.Info(ctx, jetstream.WithSubjectFilter("$O."+b.name+".>")); err != nil {
		return v, fmt.Errorf("inventory of bucket %s: %w", b.name, err)
	}
	for subject := range info.State.Subjects {
		if id, ok := strings.CutPrefix(subject, chunks); ok {
			v.IDs[id] = true
		} else if name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, entries)); err == nil {
			v.Names[string(name)] = true
		}
	}
	return v, nil
}

// Sweep removes what the inventory saw of an object. What was put under its name since stays whole.
func (b *Bucket) Sweep(ctx context.Context, v Inventory, name string) error {
	if err := b.sweep(ctx, v, b.entry(name)); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return b.SweepID(ctx, v, ID(name))
}

// SweepID removes the chunks that the inventory saw of an id.
func (b *Bucket) SweepID(ctx context.Context, v Inventory, id string) error {
	if err := b.sweep(ctx, v, "$O."+b.name+".C."+id); err != nil {
		return fmt.Errorf("remove chunks of %s: %w", id, err)
	}
	return nil
}

func (b *Bucket) sweep(ctx context.Context, v Inventory, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	return b.stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(v.through+1))
}
