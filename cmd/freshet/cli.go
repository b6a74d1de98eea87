package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"golang.org/x/term"
)

// app is what every verb is given: a method Run(ctx context.Context, a *app) error on the verb's struct receives it.
type app struct {
	cfg            config.Loaded // of verbs that embed Settings
	log            *slog.Logger
	stdin          *os.File
	stdout, stderr io.Writer
	// terminal says that a person watches: standard error is a terminal, and so is standard input.
	terminal bool
	// drawn says that standard error alone is a terminal: enough for a bar, whatever is read from standard input.
	drawn bool
	now   func() time.Time

	logs *logSink
	// stop does what a first interrupt does: it ends ctx. abort does what a second one does: it ends the process.
	stop, abort func()
}

// logTo sends the log lines that follow to w, and returns a function that sends them to standard error again.
func (a *app) logTo(w io.Writer) (restore func()) {
	a.logs.set(w)
	return func() { a.logs.set(a.stderr) }
}

const description = `Freshet keeps a recommender as fresh as its click stream.

Try "freshet up": a simulated shop, everything in one process, recommendations at http://127.0.0.1:8080.`

// run is the program: it returns the exit code.
func run(args []string) int {
	stderr := os.Stderr
	var c cli
	parser, err := kong.New(&c, kong.Name("freshet"), kong.Description(description), kong.Writers(os.Stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	if err != nil {
		panic("freshet: command line: " + err.Error())
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fail(stderr, fmt.Errorf("%w: run freshet --help, or freshet VERB --help", err))
	}
	ctx, stop, abort := interruptible(stderr)
	defer stop()
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: stderr, now: time.Now, stop: stop, abort: abort,
		terminal: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(stderr.Fd())),
		drawn:    term.IsTerminal(int(stderr.Fd())),
		logs:     &logSink{w: stderr}, log: slog.New(slog.DiscardHandler),
	}
	if err := a.configure(parsed); err != nil {
		return fail(stderr, err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = errors.New("interrupted before the end: run the same command again to go on")
		}
		return fail(stderr, err)
	}
	return 0
}

// configure loads the configuration for verbs that have one, and sets up the log that it asks for.
func (a *app) configure(parsed *kong.Context) error {
	var places config.Places
	configured := false
	for _, f := range parsed.Flags() {
		if f.Name == "config" {
			configured = true
			places.File = f.Target.String()
		}
		if f.Set && f.Tag.Has("key") {
			places.Flags = append(places.Flags, settings("--"+f.Name, f.Value)...)
		}
	}
	if !configured {
		return nil
	}
	for _, p := range parsed.Path {
		if p.Positional != nil && p.Positional.Tag.Has("key") {
			places.Flags = append(places.Flags, settings("<"+p.Positional.Name+">", p.Positional)...)
		}
	}
	places.Environ = os.Environ()
	loaded, err := config.Load(places)
	if err != nil {
		return err
	}
	a.cfg = loaded
	a.log = newLogger(a.logs, loaded.Log, a.terminal, os.Getenv("NO_COLOR") != "")
	slog.SetDefault(a.log) // for the packages that take none
	return nil
}

// settings names the keys that a flag or an argument sets.
func settings(name string, v *kong.Value) (out []config.Flag) {
	for key := range strings.SplitSeq(v.Tag.Get("key"), ",") {
		out = append(out, config.Flag{Name: name, Key: key, Value: fmt.Sprint(v.Target.Interface())})
	}
	return out
}

// fail prints err and returns the exit code of an error. Several faults that were joined become a list.
func fail(w io.Writer, err error) int {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for { // several are often joined with nothing
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 1 {
			break
		}
		err = joined.Unwrap()[0]
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 1 && !strings.HasSuffix(lines[0], ":") {
		fmt.Fprintf(w, "freshet: %d things went wrong:\n", len(joined.Unwrap()))
		for _, e := range joined.Unwrap() {
			fmt.Fprintln(w, "  "+strings.ReplaceAll(strings.TrimSpace(e.Error()), "\n", "\n  "))
		}
		return 1
	}
	fmt.Fprintln(w, "freshet: "+strings.Join(lines, "\n"))
	return 1
}
