package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// withAside answers for the records aside of a node's store, and lets h answer for all else.
func withAside(h http.Handler, in *intake, a *app) (http.Handler, error) {
	check, err := tokenCheck(a.cfg.Serve, a.log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	book := aside.Handler(aside.Local{Shelf: in.store}, check, a.log)
	mux.Handle(aside.Prefix, book)
	mux.Handle(aside.Prefix+"/", book)
	mux.Handle("/", h)
	return mux, nil
}

// book opens the records aside: those of a running freshet, or of a data directory that no process has.
func (f *BookFlags) book(a *app, c *closers) (aside.Book, error) {
	if f.Server != "" {
		return f.node(a)
	}
	store, err := visitStore(a, c, "add --server "+serverOf(a.cfg.Config))
	if err != nil {
		return nil, err
	}
	return aside.Local{Shelf: store}, nil
}

// node is the book of a running freshet. The token is one that it takes where it reads the same configuration.
func (f *BookFlags) node(a *app) (book aside.Client, err error) {
	book = aside.Client{BaseURL: f.Server, Token: a.cfg.Serve.Token}
	if book.Token == "" && a.cfg.Serve.TokenFile != "" {
		if book.Token, err = replica.FirstToken(a.cfg.Serve.TokenFile); err != nil {
			return book, fmt.Errorf("aside: %w: or give the token with --token", err)
		}
	}
	if f.CallerFlags != (CallerFlags{}) {
		if book.HTTP, err = f.client(); err != nil {
			return book, fmt.Errorf("aside: %w", err)
		}
		book.HTTP.Timeout = asideTimeout
	}
	return book, nil
}

// asideTimeout bounds one question to a node, as that of the zero aside.Client does.
const asideTimeout = time.Minute

// serverOf guesses where a freshet with this configuration serves.
func serverOf(c config.Config) string {
	if strings.HasSuffix(c.Serve.Listen, ":0") { // it has printed which port it picked
		return "http://HOST:PORT"
	}
	return scheme(c.Serve) + c.Serve.Listen
}

// filter makes the filter of the flags. A duration goes back from now.
func (f *AsideFilter) filter(now time.Time) (aside.Filter, error) {
	out := aside.Filter{Since: schema.ArrivalTime(f.Since.ms(now.UnixMilli())), Until: schema.ArrivalTime(f.Until.ms(now.UnixMilli()))}
	for _, r := range f.Reason {
		out.Reasons = append(out.Reasons, schema.Reason(r))
	}
	for _, p := range f.Partition {
		out.Partitions = append(out.Partitions, schema.Partition(p))
	}
	return out, out.Validate()
}

// Run prints the records aside as a table, or as JSON lines.
func (c *AsideListCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	filter, err := c.filter(a.now())
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: must not be negative; 0 shows all", c.Limit)
	}
	book, err := c.book(a, &closers)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	show := func(r *schema.Rejected) error {
		_, err := fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\t%s\n", r.Reason, r.Topic, r.Partition, r.Offset, utc(int64(r.ArrivedAt)), len(r.Key)+len(r.Value), shorten(r.Detail))
		return err
	}
	if c.JSON {
		var line []byte
		show = func(r *schema.Rejected) error {
			line = aside.AppendLine(line[:0], r)
			_, err := a.stdout.Write(line)
			return err
		}
	} else {
		fmt.Fprintln(table, "reason\ttopic\tpartition\toffset\tarrived\tbytes\tdetail")
	}
	shown := int64(0)
	enough := errors.New("enough")
	err = aside.Each(ctx, limited{book, c.Limit}, filter, func(r *schema.Rejected) error {
		if c.Limit > 0 && shown == int64(c.Limit) {
			return enough
		}
		shown++
		return show(r)
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	sum, err := book.Summary(ctx, filter)
	if err != nil {
		return err
	}
	notes := a.stdout
	if c.JSON {
		notes = a.stderr // standard output has records only
	} else if shown > 0 {
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	return tellSummary(notes, sum, shown)
}

// limited asks for no larger pages than will be shown.
type limited struct {
	aside.Book
	limit int
}

func (l limited) Page(ctx context.Context, f aside.Filter, after aside.Place, limit int) (aside.Page, error) {
	if l.limit > 0 {
		limit = min(limit, l.limit)
	}
	return l.Book.Page(ctx, f, after, limit)
}

// tellSummary writes how many records there are, by reason, and how many of them were not shown.
func tellSummary(w io.Writer, sum aside.Summary, shown int64) error {
	if sum.Records == 0 {
		_, err := fmt.Fprintln(w, "nothing is aside")
		return err
	}
	_, err := fmt.Fprintf(w, "%d aside, %d bytes: %s\n", sum.Records, sum.Bytes, byReason(sum.Reasons))
	if more := sum.Records - shown; more > 0 && err == nil {
		_, err = fmt.Fprintf(w, "%d more than shown: see them with --limit 0\n", more)
	}
	return err
}

func byReason(counts map[schema.Reason]int64) string {
	var parts []string
	for _, r := range schema.Reasons {
		if n := counts[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	return strings.Join(parts, ", ")
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000") }

// detailWidth is how much of a sentence the table shows.
const detailWidth = 72

// shorten makes text one line of at most detailWidth columns.
func shorten(text string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if len(runes) > detailWidth {
		return string(runes[:detailWidth-1]) + "…"
	}
	return string(runes)
}

// Run prints one record whole.
func (c *AsideShowCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	book, err := c.book(a, &closers)
	if err != nil {
		return err
	}
	r, err := book.Record(ctx, c.Place)
	if errors.Is(err, aside.ErrNone) {
		return fmt.Errorf("%w: see which there are with \"freshet aside list\"", err)
	}
	if err != nil {
		return err
	}
	switch {
	case c.Raw:
		_, err = a.stdout.Write(r.Value)
	case c.JSON:
		err = json.NewEncoder(a.stdout).Encode(aside.RecordOf(&r))
	default:
		_, err = fmt.Fprintf(a.stdout, "reason   %s\ndetail   %s\ntopic    %s, partition %d, offset %d\narrived  %s\n\nkey, %s\nvalue, %s",
			r.Reason, r.Detail, r.Topic, r.Partition, r.Offset, utc(int64(r.ArrivedAt)), readable(r.Key), readable(r.Value))
	}
	return err
}

// readable returns b with its size: as text where a terminal can show it, else as a hex dump.
func readable(b []byte) string {
	text := string(b)
	printable := utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsGraphic(r) && r != '\n' && r != '\t'
	})
	switch {
	case len(b) == 0:
		return "0 bytes\n"
	case printable:
		return fmt.Sprintf("%d bytes:\n%s\n", len(b), strings.TrimSuffix(text, "\n"))
	}
	return fmt.Sprintf("%d bytes, not text:\n%s", len(b), hex.Dump(b))
}
