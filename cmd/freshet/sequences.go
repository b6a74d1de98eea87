package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/replay"
)

// sequenceFile is a file that is read into sequences of users.
type sequenceFile struct {
	path, format    string // format "" is what the ending says, or the first lines
	fields, actions map[string]string
	exposures       int // rows that were left out, because to be shown an item is not to choose it
}

// textFormats have no times, so there are no clicks in them.
var textFormats = []string{string(replay.Pairs), string(replay.Lists)}

// check says what is wrong with the format, before anything is read.
func (f *sequenceFile) check() error {
	formats := append(slices.Clone(source.Formats), textFormats...)
	switch {
	case f.format != "" && !slices.Contains(formats, f.format):
		return fmt.Errorf("--format %s is not known: give one of %s", f.format, strings.Join(formats, ", "))
	case f.format != "" && len(f.fields) > 0 && f.format != "csv" && f.format != "jsonl":
		return fmt.Errorf("--fields is for csv and jsonl: a file of %s has names of its own, or none", f.format)
	}
	return nil
}

// read reads the file. An error names the line, and what to do.
func (f *sequenceFile) read(ctx context.Context, a *app) (*replay.Sequences, error) {
	if f.format == "" {
		// The ending may say it; where it does not, the first lines are asked.
		f.format, _ = config.Source{From: f.path, Format: "auto"}.FileFormat()
	}
	var b replay.Builder
	read := f.readText
	if slices.Contains(source.Formats, f.format) {
		read = f.readClicks
	}
	if err := read(ctx, a, &b); err != nil {
		return nil, err
	}
	s, err := b.Finish()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name(), err)
	}
	return s, nil
}

func (f *sequenceFile) name() string {
	if f.path == "-" {
		return "standard input"
	}
	return f.path
}

// checkEvery is how many events are read between two looks at the context.
const checkEvery = 4096

func (f *sequenceFile) readClicks(ctx context.Context, a *app, b *replay.Builder) (err error) {
	stream, err := source.OpenFile(f.path, f.format, source.Options{Fields: f.fields})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	records := decode.Config{Format: decode.FormatJSON, Actions: f.actions}
	if f.format == "jsonl" {
		records.Fields = f.fields
	}
	decoder, err := decode.New(records)
	if err != nil {
		return err
	}
	if p, ok := stream.(source.Progress); ok {
		defer a.showReading(p)()
	}
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		record, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var c schema.Click
		fault := decoder.Decode(record.Value, &c)
		switch {
		case fault == nil && c.UserID == "":
			fault = errors.New("it has no user")
		case fault == nil && c.ItemID == "":
			fault = errors.New("it has no item")
		case fault != nil && f.format != "jsonl" && f.format != "otto": // rows become JSON, unless something is wrong with them
			fault = errors.New("want the columns of the others, with a user, an item, and a time in seconds, milliseconds or RFC 3339")
		}
		if fault != nil {
			line := ""
			if numbered, ok := stream.(source.Numbered); ok {
				line = fmt.Sprintf(" line %d:", numbered.Line())
			}
			return fmt.Errorf("%s:%s %.80q is no click: %w: correct or remove it, or give the right --format", f.name(), line, record.Value, fault)
		}
		if c.Action == schema.ActionExposure {
			f.exposures++
			continue
		}
		b.AddAt(c.UserID, c.ItemID, c.EventTime)
	}
}

// readText reads a file that has no times. Without a format its first lines say which it is.
func (f *sequenceFile) readText(ctx context.Context, a *app, b *replay.Builder) (err error) {
	lines, err := source.OpenLines(f.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	defer a.showReading(lines)()
	format := replay.Format(f.format)
	type numbered struct {
		text []byte
		line int
	}
	var ahead []numbered // that were read to know the format
	if format == "" {
		var first [][]byte
		for len(first) < replay.SniffLines() {
			line, err := lines.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			first = append(first, bytes.Clone(line))
			ahead = append(ahead, numbered{first[len(first)-1], lines.Line()})
		}
		if format, err = replay.Sniff(first); err != nil {
			return fmt.Errorf("%s: %w", f.name(), err)
		}
		f.format = string(format)
	}
	add := func(line []byte, number int) error {
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if err := b.AddLine(format, line, number); err != nil {
			return fmt.Errorf("%s: line %d: %w", f.name(), number, err)
		}
		return nil
	}
	for _, l := range ahead {
		if err := add(l.text, l.line); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := add(line, lines.Line()); err != nil {
			return err
		}
	}
}

// showReading draws how much of a file is read until the returned function is called, where a person can see it.
func (a *app) showReading(p source.Progress) (hide func()) {
	done, total := p.Progress()
	if !a.drawn {
		return func() {}
	}
	return a.follow(view.NewProgressOf("bytes", a.stderr, a.log, "read", total, a.now), func() int64 { done, _ = p.Progress(); return done })
}

// follow moves a bar by what done says, until the returned function is called.
func (a *app) follow(bar *view.Progress, done func() int64) (hide func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		shown := int64(0)
		show := func() {
			n := done()
			bar.Add(n - shown)
			shown = n
		}
		for {
			show()
			select {
			case <-tick.C:
			case <-ctx.Done():
				show()
				bar.Close()
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// sameFile says whether two paths name one file.
func sameFile(a, b string) bool {
	x, errX := filepath.EvalSymlinks(a)
	y, errY := filepath.EvalSymlinks(b)
	if errX != nil || errY != nil {
		return false
	}
	x, errX = filepath.Abs(x)
	y, errY = filepath.Abs(y)
	return errX == nil && errY == nil && x == y
}
