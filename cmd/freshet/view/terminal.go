package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

// TerminalConfig says what a Terminal shows and what its keys do.
type TerminalConfig struct {
	In  io.Reader // the keyboard
	Out io.Writer // the terminal
	// Poll returns the status to draw. It is called a few times per second, by one goroutine at a time.
	Poll func() Status
	// Stop is called at the first q or Ctrl-C: it asks for an orderly end and returns at once. The view goes on until
	// Run's context ends, so that the end can be watched.
	Stop func()
	// Abort is called at the second q or Ctrl-C.
	Abort func()
	// Options are handed to bubbletea after the Terminal's own.
	Options []tea.ProgramOption
}

// Terminal draws the status live. It is a writer for logs as well: their lines scroll by above the picture.
type Terminal struct {
	c TerminalConfig

	mu      sync.Mutex
	running bool
	lines   []string // logged while running, not yet shown
	dropped int
}

// NewTerminal returns a Terminal that draws once Run is called.
func NewTerminal(c TerminalConfig) *Terminal { return &Terminal{c: c} }

const (
	refresh  = 250 * time.Millisecond
	linesMax = 1000 // of logs between two refreshes; more is a flood that nobody reads, and is counted
)

// Write takes whole log lines. While the picture is there they wait for the next refresh.
func (t *Terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		return t.c.Out.Write(p)
	}
	for l := range strings.SplitSeq(string(bytes.TrimRight(p, "\n")), "\n") {
		if len(t.lines) < linesMax {
			t.lines = append(t.lines, l)
		} else {
			t.dropped++
		}
	}
	return len(p), nil
}

// take returns the log lines that wait.
func (t *Terminal) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped > 0 {
		t.lines = append(t.lines, fmt.Sprintf("(%d more log lines)", t.dropped))
	}
	out := strings.Join(t.lines, "\n")
	t.lines, t.dropped = nil, 0
	return out
}

// Run draws until ctx ends, and leaves the last picture on the screen.
func (t *Terminal) Run(ctx context.Context) error {
	t.mu.Lock()
	t.running = true
	t.mu.Unlock()
	defer func() {
		rest := t.take()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.running = false
		if rest != "" {
			fmt.Fprintln(t.c.Out, rest)
		}
	}()
	options := append([]tea.ProgramOption{tea.WithInput(t.c.In), tea.WithOutput(t.c.Out), tea.WithoutSignalHandler(), tea.WithFPS(20)}, t.c.Options...)
	p := tea.NewProgram(&screen{t: t, end: ctx.Done(), history: &History{}, width: 80}, options...)
	if _, err := p.Run(); err != nil && !errors.Is(err, tea.ErrProgramKilled) {
		return fmt.Errorf("terminal view: %w", err)
	}
	return nil
}

// screen is the bubbletea model: the last status, and the size to draw it in.
type screen struct {
	t             *Terminal
	end           <-chan struct{}
	history       *History
	status        Status
	polled        bool
	ended         bool
	width, height int
	stops         int
}

type (
	statusMsg Status
	endMsg    struct{ Status }
)

// poll waits for the next refresh and reads the status, away from the goroutine that draws.
func (s *screen) poll(after time.Duration) tea.Cmd {
	return func() tea.Msg {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-s.end:
			return endMsg{s.t.c.Poll()}
		case <-timer.C:
			return statusMsg(s.t.c.Poll())
		}
	}
}

func (s *screen) Init() tea.Cmd { return s.poll(0) }

func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "ctrl+c":
			s.stop()
		}
	case statusMsg:
		s.show(Status(msg))
		return s, tea.Sequence(s.logs(), s.poll(refresh)) // in this order: the end, which a poll reports, must not overtake a log line
	case endMsg:
		s.show(msg.Status)
		s.ended = true
		return s, tea.Sequence(s.logs(), tea.Quit)
	}
	return s, nil
}

func (s *screen) show(status Status) {
	s.status, s.polled = status, true
	s.history.Add(status)
}

func (s *screen) stop() {
	s.stops++
	switch {
	case s.stops == 1 && s.t.c.Stop != nil:
		s.t.c.Stop()
	case s.stops == 2 && s.t.c.Abort != nil:
		s.t.c.Abort()
	}
}

func (s *screen) logs() tea.Cmd {
	if text := s.t.take(); text != "" {
		return tea.Println(text)
	}
	return nil
}

func (s *screen) View() tea.View {
	if !s.polled {
		return tea.NewView("")
	}
	hint := "q or Ctrl-C stops"
	if s.stops > 0 {
		hint = "once more leaves at once"
	}
	picture := draw(s.status, s.history, s.width, s.height-1, colourPalette, hint)
	if s.ended {
		picture += "\n" // the renderer clears the last line when it leaves: let that be an empty one
	}
	return tea.NewView(picture)
}
