package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/lmittmann/tint"
)

// logSink is where log lines go; a live view takes its place while it draws.
type logSink struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *logSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func (s *logSink) set(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
}

// newLogger makes the log that c asks for: on a terminal coloured text, elsewhere key=value, or JSON.
func newLogger(w io.Writer, c config.Log, terminal, noColour bool) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config has checked the name
	}
	switch {
	case c.Format == "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	case c.Format == "auto" && terminal:
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: noColour}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
