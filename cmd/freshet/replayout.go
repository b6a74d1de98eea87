package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
	"github.com/freshet-ml/freshet/trainer/replay"
	"github.com/freshet-ml/freshet/trainer/replay/page"
)

// found is what the report of a protocol can be written as.
type found interface {
	json.Marshaler
	Table() string
	Over() schema.Table
	Page(about replay.About) *page.Page
}

// write prints what was found and writes the files that were asked for. The table comes first: what fails behind it is a disk.
func (c *ReplayCmd) write(a *app, o found) error {
	if _, err := fmt.Fprint(a.stdout, o.Table()); err != nil {
		return err
	}
	var faults []error
	file := func(name, flag string, f func(w io.Writer) error) {
		if name == "" {
			return
		}
		if err := writeWhole(name, f); err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
			return
		}
		a.log.Info("written", "file", name)
	}
	file(c.CSV, "csv", func(w io.Writer) error { return export.WritePlain(w, export.CSV, o.Over()) })
	file(c.Parquet, "parquet", func(w io.Writer) error { return export.WritePlain(w, export.Parquet, o.Over()) })
	file(c.Report, "report", func(w io.Writer) error { return o.Page(c.about(a)).Write(w) })
	if c.JSON {
		faults = append(faults, json.NewEncoder(a.stdout).Encode(o))
	}
	return errors.Join(faults...)
}

// writeWhole writes a file that is there whole or as it was before.
func writeWhole(name string, f func(w io.Writer) error) (err error) {
	out, err := export.Create(name, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Abort()) }()
	w := bufio.NewWriter(out)
	if err := f(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return out.Commit()
}

// about says what the report is of.
func (c *ReplayCmd) about(a *app) replay.About {
	words := append([]string{"freshet"}, os.Args[1:]...)
	for i, w := range words {
		if strings.ContainsAny(w, " '\"$*?()&;|<>\\") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	now := a.now()
	return replay.About{
		Command: strings.Join(words, " "), Input: c.inputName,
		Machine: fmt.Sprintf("%s, %d of its processors, %s/%s, %s", processor(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, nn.Backend()),
		Version: version().Version, At: now, Took: now.Sub(c.began),
	}
}

// processor names the machine's, as Linux tells it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "a processor whose name is not known"
}

// kinds of files that may be replaced, by how they begin.
var replaceable = map[string][]byte{"csv": []byte("arm,"), "parquet": []byte("PAR1"), "report": []byte("<!DOCTYPE html>")}

// mayWrite says what is wrong with the places for files.
func (c *ReplayCmd) mayWrite() error {
	var faults []error
	names := map[string]string{}
	for _, f := range []struct{ flag, name string }{{"csv", c.CSV}, {"parquet", c.Parquet}, {"report", c.Report}} {
		if f.name == "" {
			continue
		}
		if other, twice := names[f.name]; twice {
			faults = append(faults, fmt.Errorf("--%s and --%s are both %s: name two files", other, f.flag, f.name))
			continue
		}
		names[f.name] = f.flag
		faults = append(faults, c.mayReplace(f.flag, f.name))
	}
	return errors.Join(faults...)
}

func (c *ReplayCmd) mayReplace(flag, name string) error {
	if name == "-" {
		return fmt.Errorf("--%s -: standard output has the table: name a file, or give --json", flag)
	}
	if sameFile(name, c.Source) {
		return fmt.Errorf("--%s %s is the file that is read: name another", flag, name)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("--%s %s is a directory: name a file in it", flag, name)
	}
	head := make([]byte, len(replaceable[flag]))
	switch n, err := io.ReadFull(f, head); {
	case err == io.EOF: // it is empty
	case !bytes.Equal(head[:n], replaceable[flag]):
		return fmt.Errorf("--%s %s is there already, and holds no results of freshet replay: name another file, or remove it", flag, name)
	}
	return nil
}
