package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/schema"
)

// Run writes sessions, clicks or records aside as a table.
func (c *ExportCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	format, path, err := c.target()
	if err != nil {
		return err
	}
	out, notes := a.stdout, a.stdout
	var file *export.File
	if path == "-" {
		notes = a.stderr // standard output is the table
	} else {
		if file, err = export.Create(path, c.Force); err != nil {
			return err
		}
		closers.add(file.Abort)
		out = file
	}
	job, err := c.open(ctx, a, &closers, path)
	if err != nil {
		return err
	}
	began := a.now()
	written := &countedWriter{w: out}
	buffered := bufio.NewWriterSize(written, 1<<20)
	sink, err := export.NewSink(export.What(c.What), format, buffered)
	if err != nil {
		return err
	}
	hide := c.show(a, job)
	sum, err := job.Run(ctx, sink)
	hide()
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil && file != nil {
		err = file.Commit()
		written.n = file.Bytes()
	}
	if err != nil {
		return err
	}
	return c.tell(notes, path, format, sum, written.n, a.now().Sub(began))
}

// target returns the format, and the file to write or "-".
func (c *ExportCmd) target() (format export.Format, path string, err error) {
	path = c.Out
	format = export.Format(c.Format)
	if format == "" {
		format = export.Parquet
		for _, f := range export.Formats {
			if strings.HasSuffix(strings.TrimSuffix(path, ".gz"), "."+string(f)) {
				format = f
			}
		}
	}
	name := c.What + "." + string(format)
	info, statErr := os.Stat(path)
	switch {
	case path == "":
		path = name
	case path != "-" && (strings.HasSuffix(path, "/") || statErr == nil && info.IsDir()):
		path = filepath.Join(path, name)
	}
	if strings.HasSuffix(path, ".gz") && format != export.CSV {
		return "", "", fmt.Errorf("%s: a %s file is compressed inside, and no reader opens one within gzip: leave .gz out", path, format)
	}
	return format, path, nil
}

// open opens what is exported from: a data directory that no process has, or running nodes.
func (c *ExportCmd) open(ctx context.Context, a *app, closers *closers, path string) (*export.Job, error) {
	const day = 24 * time.Hour // for logs that were made under other settings than those of now
	w := a.cfg.Window
	o := export.Options{What: export.What(c.What), Open: c.Open, HeldBytes: c.HeldMiB << 20, Slack: day + w.Lateness, Span: day + w.Gap + w.MaxSessionAge}
	switch {
	case o.What == export.Aside && len(c.Feed) > 0:
		return nil, errors.New("nodes show their sessions over --feed, and their records aside over HTTP: give --server http://HOST:PORT")
	case o.What != export.Aside && c.Server != "":
		return nil, errors.New("--server is for the records aside: sessions and clicks of a running freshet come over --feed grpc://HOST:PORT, where it shows them (--flight-listen)")
	case c.Server != "":
		return c.asideJob(ctx, aside.Client{BaseURL: c.Server, Token: a.cfg.Serve.Token}, o)
	case len(c.Feed) > 0:
		store, err := c.copyFeed(ctx, a, closers, path)
		if err != nil {
			return nil, err
		}
		return c.job(store, o)
	}
	instead := "add --feed grpc://HOST:PORT, if it shows its log (--flight-listen); or stop it, export, and start it again, which goes on where it stopped"
	if o.What == export.Aside {
		instead = "add --server " + serverOf(a.cfg.Config)
	}
	store, err := visitStore(a, closers, instead)
	if err != nil {
		return nil, err
	}
	if o.What == export.Aside {
		return c.asideJob(ctx, aside.Local{Shelf: store}, o)
	}
	return c.job(store, o)
}

// job makes the export of sessions or clicks. A duration goes back from the newest click that there is.
func (c *ExportCmd) job(store *buffer.Store, o export.Options) (*export.Job, error) {
	metas, err := store.Partitions()
	if err != nil {
		return nil, err
	}
	newest := schema.BeginningOfTime
	for _, m := range metas {
		newest = max(newest, m.Window.MaxSeen)
	}
	if newest != schema.BeginningOfTime {
		o.Since, o.Until = c.Since.ms(int64(newest)), c.Until.ms(int64(newest))
	}
	return export.New(store, o)
}

// asideJob makes the export of records aside. A duration goes back from the last one that arrived.
func (c *ExportCmd) asideJob(ctx context.Context, book aside.Book, o export.Options) (*export.Job, error) {
	total, newest := int64(0), int64(0)
	err := aside.Each(ctx, book, aside.Filter{}, func(r *schema.Rejected) error {
		total++
		newest = max(newest, int64(r.ArrivedAt))
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.Since, o.Until = c.Since.ms(newest), c.Until.ms(newest)
	return export.NewAside(func(yield func(schema.Rejected, error) bool) {
		stop := errors.New("stop")
		err := aside.Each(ctx, book, aside.Filter{}, func(r *schema.Rejected) error {
			if !yield(*r, nil) {
				return stop
			}
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			yield(schema.Rejected{}, err)
		}
	}, total, o)
}

// show draws a bar on a terminal until the returned function is called. Elsewhere it is quiet.
func (c *ExportCmd) show(a *app, job *export.Job) (hide func()) {
	if !a.terminal {
		return func() {}
	}
	_, total, _ := job.Progress()
	bar := view.NewProgressOf("entries", a.stderr, a.log, "export "+c.What, total, a.now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for shown := int64(0); ; {
			n, _, rows := job.Progress()
			bar.Note(fmt.Sprintf("%d rows", rows))
			bar.Add(n - shown)
			shown = n
			select {
			case <-tick.C:
			case <-ctx.Done():
				bar.Close()
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// countedWriter counts what goes through it.
type countedWriter struct {
	w io.Writer
	n int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// exported is the summary as JSON. Times are ms; they are left out where there is no row.
type exported struct {
	What        string        `json:"what"`
	Format      export.Format `json:"format"`
	Out         string        `json:"out"`
	Rows        int64         `json:"rows"`
	SkippedOpen int64         `json:"skipped_open"`
	SkippedCut  int64         `json:"skipped_cut"`
	Repaired    int64         `json:"repaired_texts"`
	Bytes       int64         `json:"bytes"`
	Seconds     float64       `json:"seconds"`
	First       int64         `json:"first_event_time,omitempty"`
	Last        int64         `json:"last_event_time,omitempty"`
	FirstCame   int64         `json:"first_arrived_at,omitempty"`
	LastCame    int64         `json:"last_arrived_at,omitempty"`
}

func (c *ExportCmd) tell(w io.Writer, path string, format export.Format, sum export.Summary, bytes int64, took time.Duration) error {
	e := exported{What: c.What, Format: format, Out: path, Rows: sum.Rows, SkippedCut: sum.CutSessions, Repaired: sum.Repaired,
		Bytes: bytes, Seconds: took.Seconds(), First: sum.First, Last: sum.Last}
	if !c.Open {
		e.SkippedOpen = sum.OpenSessions
	}
	if export.What(c.What) == export.Aside {
		e.First, e.Last, e.FirstCame, e.LastCame = 0, 0, sum.First, sum.Last
	}
	if c.JSON {
		return json.NewEncoder(w).Encode(e)
	}
	rows := c.What
	if export.What(c.What) == export.Aside {
		rows = "records aside"
	}
	text := fmt.Sprintf("%s: %d %s, %d bytes, %.1f s, %.0f rows/s", path, sum.Rows, rows, bytes, took.Seconds(), float64(sum.Rows)/max(took.Seconds(), 1e-3))
	if sum.Rows > 0 {
		text += fmt.Sprintf("\nfrom %s to %s", utc(sum.First), utc(sum.Last))
	}
	if e.SkippedOpen > 0 {
		text += fmt.Sprintf("\n%d sessions are still open and left out; --open takes what there is of them", e.SkippedOpen)
	}
	if sum.CutSessions > 0 {
		text += fmt.Sprintf("\n%d sessions are left out, because their beginning is no longer in the log", sum.CutSessions)
	}
	if sum.Repaired > 0 {
		text += fmt.Sprintf("\n%d texts were not UTF-8 and have U+FFFD in place of what was wrong", sum.Repaired)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
