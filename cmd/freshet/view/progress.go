package view

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows how far a bounded job has come: a bar with the time that is left on a terminal, a log line every few
// seconds elsewhere. Its methods may be called from several goroutines.
type Progress struct {
	mu          sync.Mutex
	bar         *progressbar.ProgressBar // nil where there is no terminal
	terminal    io.Writer
	log         *slog.Logger
	label       string
	done, total int64
	now         func() time.Time
	begun       time.Time
	logged      time.Time
}

const logEvery = 5 * time.Second

// NewProgress begins a job of total units called label; total -1 is a job whose end is not known. It draws on terminal,
// or where that is nil writes to log.
func NewProgress(terminal io.Writer, log *slog.Logger, label string, total int64, now func() time.Time) *Progress {
	return NewProgressOf("clicks", terminal, log, label, total, now)
}

// NewProgressOf is NewProgress for a job whose units are not clicks.
func NewProgressOf(units string, terminal io.Writer, log *slog.Logger, label string, total int64, now func() time.Time) *Progress {
	p := &Progress{terminal: terminal, log: log, label: label, total: total, now: now, begun: now(), logged: now()}
	if terminal != nil {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(terminal), progressbar.OptionSetDescription(label),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(units),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(24), progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░", BarStart: "", BarEnd: ""}))
	}
	return p
}

// Add says that n more units are done.
func (p *Progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.bar != nil {
		_ = p.bar.Add64(n) // it fails where more is done than was announced, which is no reason to stop the job
		return
	}
	if now := p.now(); now.Sub(p.logged) >= logEvery {
		p.logged = now
		args := []any{"done", p.done}
		if p.total > 0 {
			args = append(args, "total", p.total)
			if left := eta(p.done, p.total, now.Sub(p.begun)); left != "" {
				args = append(args, "left", left)
			}
		}
		p.log.Info(p.label, args...)
	}
}

// Note puts a few words beside the label on a terminal.
func (p *Progress) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Describe(p.label + ", " + text)
	}
}

// Close ends the job, also one that stopped before its end, and leaves the terminal on a fresh line.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := p.now().Sub(p.begun)
	if p.bar != nil {
		_ = p.bar.Exit()
		p.bar = nil
		fmt.Fprintln(p.terminal) // the bar itself stays on its line
		return
	}
	p.log.Info(p.label+" done", "done", p.done, "seconds", took.Round(100*time.Millisecond).Seconds())
}
