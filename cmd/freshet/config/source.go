package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/ingest/source"
)

// Kind is the sort of a source.
type Kind string

// The sorts of source.
const (
	KindSim   Kind = "sim"
	KindKafka Kind = "kafka"
	KindFile  Kind = "file"
)

// Kind returns what From names.
func (s Source) Kind() Kind {
	switch s.From {
	case "sim":
		return KindSim
	case "kafka":
		return KindKafka
	}
	return KindFile
}

// recordFormats are the formats of records, as opposed to those of files.
var recordFormats = []string{"json", "avro", "protobuf"}

// FileFormat returns the format of the file: Format, or where that is auto what the file's ending says.
func (s Source) FileFormat() (string, error) {
	if slices.Contains(recordFormats, s.Format) {
		return "", fmt.Errorf("%s is a format of records, and %s is a file: give --format csv, jsonl, or the name of a data set", s.Format, s.From)
	}
	if s.Format != "auto" {
		return s.Format, nil
	}
	name := strings.ToLower(s.From)
	for _, packed := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, packed)
	}
	switch filepath.Ext(name) {
	case ".csv", ".tsv":
		return "csv", nil
	case ".jsonl", ".ndjson", ".json":
		return "jsonl", nil
	}
	return "", fmt.Errorf("the format of %s is not known from its ending: give --format csv, jsonl, or the name of a data set (%s)",
		s.From, strings.Join(source.Formats[2:], ", "))
}

// Records is what the records of the topic look like, in the words of package decode.
type Records struct {
	Format  string
	Fields  map[string]string
	Actions map[string]string
}

// Records returns what the records of the topic look like. Those of the simulated shop, and those that rows of a file become,
// are JSON under the names of a click; the lines of a JSON file stay as they are.
func (s Source) Records() (Records, error) {
	switch s.Kind() {
	case KindSim:
		return Records{Format: "json"}, nil
	case KindFile:
		format, err := s.FileFormat()
		if err != nil {
			return Records{}, err
		}
		r := Records{Format: "json", Actions: s.Actions}
		if format == "jsonl" {
			r.Fields = s.Fields
		}
		return r, nil
	}
	if s.Format != "auto" && !slices.Contains(recordFormats, s.Format) {
		return Records{}, fmt.Errorf("%s is a format of files, and what is read is a topic: give --format json, avro or protobuf, or leave it out", s.Format)
	}
	return Records{Format: s.Format, Fields: s.Fields, Actions: s.Actions}, nil
}

// Sorts says whether the file is put in the order of its times.
func (s Source) Sorts(format string) bool {
	return s.Sort == "yes" || s.Sort != "no" && !source.InOrder(format)
}

// SpeedFactor returns how many seconds of event time pass in a second, or 0 for as fast as it goes. live says that the run
// goes on until it is interrupted: with speed auto, a live simulated shop runs in real time, and everything else at once.
func (s Source) SpeedFactor(live bool) (float64, error) {
	switch s.Speed {
	case "max":
		return 0, nil
	case "auto":
		if live && s.Kind() == KindSim {
			return 1, nil
		}
		return 0, nil
	}
	number, ok := strings.CutSuffix(s.Speed, "x")
	factor, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(factor > 0 && factor <= 1e6) {
		return 0, fmt.Errorf("%q is not a speed: write 1x, 10x, max or auto", s.Speed)
	}
	return factor, nil
}
