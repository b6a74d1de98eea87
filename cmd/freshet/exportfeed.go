package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/flight"
)

// feedPatience is how long an export waits for nodes that do not answer, or do not send what they have.
const feedPatience = 30 * time.Second

// copyFeed copies the logs of running nodes, as far as they are now, into a store beside the output, which is removed with
// the closers. Where the bounds allow it only the end of the logs is copied.
func (c *ExportCmd) copyFeed(ctx context.Context, a *app, closers *closers, beside string) (*buffer.Store, error) {
	if beside == "-" {
		beside = filepath.Join(os.TempDir(), c.What)
	}
	dir, err := os.MkdirTemp(filepath.Dir(beside), "."+filepath.Base(beside)+".feed-*")
	if err != nil {
		return nil, fmt.Errorf("export: %w: the logs are copied beside the output: give --out a place that is writable", err)
	}
	closers.add(func() error { return os.RemoveAll(dir) })
	store, err := buffer.Open(dir, buffer.Options{Log: a.log})
	if err != nil {
		return nil, err
	}
	closers.add(store.Close)
	tls, err := tlsFiles(a.cfg.Flight).Client()
	if err != nil {
		return nil, err
	}
	mirror, err := flight.NewMirror(store, flight.MirrorConfig{
		Nodes: c.Feed, Token: a.cfg.Flight.Token, TLS: tls, Keep: c.feedKeep(a.cfg.Config, a.now()), AcceptGaps: true, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	s := newStages()
	s.start("feed", mirror.Run)
	copied := s.start("copy", func(ctx context.Context) error { return c.awaitFeed(ctx, a, mirror) })
	err = s.wait(ctx, copied.done)
	if err = s.stop(err); err == nil {
		err = ctx.Err()
	}
	if err = errors.Join(err, mirror.Close()); err != nil {
		return nil, err
	}
	if gaps := mirror.Stats().Gaps; gaps > 0 {
		a.log.Warn("the nodes no longer have some entries of their logs: what was in them is not exported", "entries", gaps)
	}
	return store, nil
}

// feedKeep returns how far back from the watermark the logs are wanted; 0 is all of them. A session that ends within the
// bounds began at most the longest session before. The watermark of a stream is at most a little ahead of the clock, so what
// is counted back from the clock goes back at least as far as is wanted.
func (c *ExportCmd) feedKeep(cfg config.Config, now time.Time) time.Duration {
	if c.Open || c.Since == (when{}) {
		return 0
	}
	back := time.Duration(now.UnixMilli()-c.Since.ms(now.UnixMilli())) * time.Millisecond
	return max(back, 0) + 24*time.Hour + cfg.Window.Lateness + cfg.Window.MaxSessionAge + cfg.Window.MaxAhead
}

// awaitFeed returns when the mirror has all that the nodes had at a look at them.
func (c *ExportCmd) awaitFeed(ctx context.Context, a *app, m *flight.Mirror) error {
	var terminal io.Writer
	if a.terminal {
		terminal = a.stderr
	}
	var bar *view.Progress // once it is known how much there is
	defer func() {
		if bar != nil {
			bar.Close()
		}
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var seen, shown uint64
	moved, answered := a.now(), a.now()
	for {
		s := m.Stats()
		all := s.Answered == s.Nodes
		if terminal != nil && bar == nil && all && s.Behind > 0 {
			bar = view.NewProgressOf("entries", terminal, a.log, "copy the log", int64(s.Entries+s.Behind), a.now)
		}
		if bar != nil {
			bar.Add(int64(s.Entries - shown))
			shown = s.Entries
		}
		if s.Entries != seen {
			seen, moved = s.Entries, a.now()
		}
		if all {
			answered = a.now()
		}
		switch {
		case all && s.Behind == 0:
			return nil
		case a.now().Sub(answered) > feedPatience: // the others may go on and on meanwhile
			return errors.Join(fmt.Errorf("export: %d of %d nodes have not answered within %v", s.Nodes-s.Answered, s.Nodes, feedPatience), m.Health())
		case a.now().Sub(moved) > feedPatience:
			return errors.Join(fmt.Errorf("export: the nodes have not sent what they have within %v", feedPatience), m.Health())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
