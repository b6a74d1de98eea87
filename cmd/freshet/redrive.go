package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// Run sends records that were put aside to their topic again, and takes them away from aside once they are acknowledged.
func (c *AsideRedriveCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	filter, err := c.filter(a.now())
	if err != nil {
		return err
	}
	chosen := len(filter.Reasons)+len(filter.Partitions)+len(c.Places) > 0 || filter.Since != 0 || filter.Until != 0
	switch {
	case !chosen && !c.All:
		return errors.New("say which records to send again: --reason, --partition, --since, --until or PARTITION:OFFSET choose some, --all takes all")
	case len(c.Places) > 0 && (c.All || len(filter.Reasons)+len(filter.Partitions) > 0 || filter.Since != 0 || filter.Until != 0):
		return errors.New("records are named one by one, or chosen by --reason, --partition, --since, --until or --all: not both")
	}
	book, err := c.book(a, &closers)
	if err != nil {
		return err
	}
	brokers := a.cfg.Kafka.Brokers
	if len(brokers) == 0 && !c.DryRun {
		if brokers, err = c.brokersOf(ctx); err != nil {
			return err
		}
	}
	d := &redrive{app: a, book: book, brokers: brokers, flags: c, left: map[schema.Reason]int64{}, sentBy: map[schema.Reason]int64{}, kafka: map[string]*source.Redriver{}}
	closers.add(d.close)
	if d.decide, err = d.rules(); err != nil {
		return err
	}
	return d.run(ctx, filter)
}

// brokersOf asks the node for the brokers that it reads from.
func (c *AsideRedriveCmd) brokersOf(ctx context.Context) ([]string, error) {
	missing := errors.New("no Kafka to send to: give --brokers HOST:PORT")
	if c.Server == "" {
		return nil, missing
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.Server, "/")+"/v1/status", nil)
	if err != nil {
		return nil, fmt.Errorf("redrive: %w", err)
	}
	client, err := c.client()
	if err != nil {
		return nil, fmt.Errorf("redrive: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("redrive: %w", untrusted(err))
	}
	defer resp.Body.Close()
	var s view.Status
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s); err != nil || s.Kafka == "" {
		return nil, missing
	}
	return []string{s.Kafka}, nil
}

// redrive is one run of the verb.
type redrive struct {
	*app
	book    aside.Book
	brokers []string
	flags   *AsideRedriveCmd
	kafka   map[string]*source.Redriver // by topic
	// decide says why a record is left where it is, or "".
	decide    func(r *schema.Rejected) schema.Reason
	watermark map[schema.Partition]aside.Reading

	done   atomic.Int64
	sent   int64
	sentBy map[schema.Reason]int64
	left   map[schema.Reason]int64
}

// close releases the connections.
func (d *redrive) close() error {
	var errs []error
	for _, k := range d.kafka {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

// rules returns what decides which records are left. A record that would only go aside again is: one that came too late,
// since it has not become any younger, and one that this configuration still takes for faulty.
func (d *redrive) rules() (func(*schema.Rejected) schema.Reason, error) {
	from := d.cfg.Source
	if from.Kind() == config.KindSim {
		from.From = string(config.KindKafka) // the default; records of a topic are not the shop's
	}
	records, err := decodeConfig(from)
	if err != nil {
		return nil, err
	}
	decoder, err := decode.New(records)
	if err != nil {
		return nil, err
	}
	return func(r *schema.Rejected) schema.Reason {
		if r.Reason == schema.ReasonLate && !d.flags.IncludeLate {
			return schema.ReasonLate
		}
		if d.flags.Unchecked {
			return ""
		}
		if len(r.Key)+len(r.Value) > schema.MaxRecordBytes {
			return schema.ReasonOversize
		}
		var click schema.Click
		switch err := decoder.Decode(r.Value, &click); {
		case errors.As(err, new(decode.Unavailable)):
			return "" // its schema cannot be had now; the node waits for it
		case err != nil:
			return schema.ReasonUndecodable
		}
		click.ArrivedAt = schema.ArrivalTime(d.now().UnixMilli())
		if click.Validate(d.cfg.Window.MaxAhead) != nil {
			return schema.ReasonInvalid
		}
		if at, ok := d.watermark[r.Partition]; ok && d.flags.To == "" && click.EventTime < at.Watermark && !d.flags.IncludeLate {
			return schema.ReasonLate
		}
		return ""
	}, nil
}

func (d *redrive) run(ctx context.Context, filter aside.Filter) error {
	// What goes aside again while this runs has a higher offset than anything that was read by now: it is not taken up
	// again, or a record that is still faulty would go round for ever.
	sum, err := d.book.Summary(ctx, filter)
	if err != nil {
		return err
	}
	d.watermark = sum.Partitions
	total := sum.Records
	each := func(ctx context.Context) error { return d.pages(ctx, filter) }
	if places := d.flags.Places; len(places) > 0 {
		total = int64(len(places))
		each = func(ctx context.Context) error { return d.named(ctx, places) }
	}
	if d.terminal && !d.flags.DryRun {
		s := newStages()
		s.start("progress", func(ctx context.Context) error { return d.progress(ctx, "redrive", int(total), d.done.Load) })
		err = each(ctx)
		err = errors.Join(err, s.stop(nil))
	} else {
		err = each(ctx)
	}
	if err != nil && d.sent == 0 {
		return err // there is nothing to tell
	}
	return errors.Join(err, d.tell(err == nil))
}

// pages sends what the filter chooses, a page at a time.
func (d *redrive) pages(ctx context.Context, filter aside.Filter) error {
	for page := (aside.Page{Next: aside.Start, More: true}); page.More; {
		var err error
		if page, err = d.book.Page(ctx, filter, page.Next, aside.MaxPage); err != nil {
			return err
		}
		known := page.Records[:0]
		for _, r := range page.Records {
			if r.Offset < d.watermark[r.Partition].Next {
				known = append(known, r)
			} else { // all that follow of this partition are new as well
				page.Next, page.More = aside.Place{Partition: r.Partition, Offset: math.MaxInt64}, true
				break
			}
		}
		if err := d.send(ctx, known); err != nil {
			return err
		}
	}
	return nil
}

// named sends the records at places.
func (d *redrive) named(ctx context.Context, places []aside.Place) error {
	records := make([]schema.Rejected, 0, len(places))
	for _, at := range places {
		r, err := d.book.Record(ctx, at)
		if errors.Is(err, aside.ErrNone) {
			return fmt.Errorf("%w: it was sent again before, or is too old to be kept; nothing was sent now", err)
		}
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	slices.SortStableFunc(records, func(a, b schema.Rejected) int { return int(a.Partition) - int(b.Partition) })
	return d.send(ctx, records)
}

// send sends records, which are sorted by partition, and takes them away from aside. Between the two a crash leaves records
// that are in Kafka and still aside: they would be sent again.
func (d *redrive) send(ctx context.Context, records []schema.Rejected) error {
	wanted := records[:0]
	for _, r := range records {
		if why := d.decide(&r); why != "" {
			d.left[why]++
			d.done.Add(1)
			continue
		}
		if d.flags.To != "" {
			r.Topic = d.flags.To
		}
		wanted = append(wanted, r)
	}
	for len(wanted) > 0 {
		n := 1
		for n < len(wanted) && wanted[n].Partition == wanted[0].Partition && wanted[n].Topic == wanted[0].Topic {
			n++
		}
		run := wanted[:n]
		wanted = wanted[n:]
		sent := n
		var err error
		if !d.flags.DryRun {
			sent, err = d.deliver(ctx, run)
		}
		d.sent += int64(sent)
		d.done.Add(int64(sent))
		for _, r := range run[:sent] {
			d.sentBy[r.Reason]++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver sends records of one topic and partition, and removes those that were acknowledged.
func (d *redrive) deliver(ctx context.Context, run []schema.Rejected) (sent int, err error) {
	k, err := d.open(ctx, run[0].Topic, run[0].Partition)
	if err != nil {
		return 0, err
	}
	sent, err = k.Send(ctx, run)
	places := make([]aside.Place, sent)
	for i := range places {
		places[i] = aside.Place{Partition: run[i].Partition, Offset: run[i].Offset}
	}
	if len(places) == 0 {
		return 0, err
	}
	// They are in Kafka: whatever happens, they must go.
	kept, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if _, removeErr := d.book.Remove(kept, places); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("%d records from %s to %s were sent and are still aside, so they would be sent again: %w", sent, places[0], places[sent-1], removeErr))
	}
	return sent, err
}

// open returns the connection to a topic, which must have the partition.
func (d *redrive) open(ctx context.Context, topic string, p schema.Partition) (*source.Redriver, error) {
	k := d.kafka[topic]
	if k == nil {
		var err error
		if k, err = source.NewRedriver(d.brokers, security(d.cfg.Kafka), topic, d.now); err != nil {
			return nil, err
		}
		d.kafka[topic] = k
	}
	n, err := k.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	if int(p) >= n {
		return nil, fmt.Errorf("redrive: a record was in partition %d, and topic %q has %d partitions: give the topic that it came from with --to", p, topic, n)
	}
	return k, nil
}

// tell says what was done, also where it ended early.
func (d *redrive) tell(complete bool) error {
	if d.flags.JSON {
		return json.NewEncoder(d.stdout).Encode(struct {
			Sent   int64                   `json:"sent"`
			ByWhy  map[schema.Reason]int64 `json:"sent_by_reason"`
			Left   map[schema.Reason]int64 `json:"left"`
			DryRun bool                    `json:"dry_run"`
			Whole  bool                    `json:"complete"`
		}{d.sent, d.sentBy, d.left, d.flags.DryRun, complete})
	}
	said := "sent again"
	if d.flags.DryRun {
		said = "would be sent again"
	}
	text := fmt.Sprintf("%d records %s", d.sent, said)
	if d.sent > 0 {
		text += ": " + byReason(d.sentBy)
	}
	fmt.Fprintln(d.stdout, text)
	hints := map[schema.Reason]string{
		schema.ReasonLate:        "late: the windows that they belong to are past, so they would go aside again (--include-late sends them, for a topic that is read from its beginning)",
		schema.ReasonUndecodable: "undecodable with this configuration (--unchecked sends them all the same)",
		schema.ReasonInvalid:     "invalid with this configuration (--unchecked sends them all the same)",
		schema.ReasonOversize:    "oversize: more than a record may have (--unchecked sends them all the same)",
	}
	for _, why := range slices.Sorted(maps.Keys(d.left)) {
		if _, err := fmt.Fprintf(d.stdout, "%d left aside, %s\n", d.left[why], hints[why]); err != nil {
			return err
		}
	}
	return nil
}
