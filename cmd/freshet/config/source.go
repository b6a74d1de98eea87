package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
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

// FileFormat returns csv or jsonl: Format, or where that is auto what the file's ending says.
func (s Source) FileFormat() (string, error) {
	if s.Format == "csv" || s.Format == "jsonl" {
		return s.Format, nil
	}
	switch strings.ToLower(filepath.Ext(strings.TrimSuffix(s.From, ".gz"))) {
	case ".csv":
		return "csv", nil
	case ".jsonl", ".ndjson", ".json":
		return "jsonl", nil
	}
	return "", fmt.Errorf("the format of %s is not known from its ending: give --format csv or --format jsonl", s.From)
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
