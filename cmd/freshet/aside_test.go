package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/ingest/aside"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// send produces values to a topic, each to the partition of its number.
func send(t *testing.T, address string, partitions int, values ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("clicks"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for i, v := range values {
		records = append(records, &kgo.Record{Partition: int32(i % partitions), Key: fmt.Append(nil, "key-", i), Value: []byte(v)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// topicOf reads the first n records of the topic.
func topicOf(t *testing.T, address string, n int) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("clicks"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// asideIn returns the records that "aside list --json" printed.
func asideIn(t *testing.T, out string) (records []aside.Record) {
	t.Helper()
	for in := json.NewDecoder(strings.NewReader(out)); ; {
		var r aside.Record
		err := in.Decode(&r)
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		records = append(records, r)
	}
}

// TestRedriveAfterAFix is what the verbs are for: clicks go aside because a field has another name; the configuration is put
// right; they are sent again, and taken. What was never a click stays aside.
func TestRedriveAfterAFix(t *testing.T) {
	t.Parallel()
	kafka, err := embed.StartKafka(embed.KafkaConfig{Topic: "clicks", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	const good = 60
	var values []string
	for i := range good {
		values = append(values, fmt.Sprintf(`{"visitorid":"u%d","item_id":"i%d","timestamp":%d}`, i%7, i, 1_767_254_400_000+i*1000))
	}
	values = append(values, "not json", "\x00\xff binary", `{"visitorid":"u1"}`)
	send(t, kafka.Address(), 2, values...)

	dir := t.TempDir()
	secret := "FRESHET_SERVE_TOKEN=s3cret"
	ingest := func(env ...string) *child {
		c := spawn{env: append(env, secret), args: []string{"ingest", "--brokers", kafka.Address(), "--data-dir", dir, "--listen", "127.0.0.1:0", "--flight-listen", "none"}}.start(t)
		c.awaitAPI(t)
		return c
	}
	awaitAside := func(c *child, clicks, putAside int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d records are read, %d of them went aside", clicks, putAside), func() error {
			s, err := statusOf(c.api())
			if err == nil && (s.Clicks != clicks || s.Aside.Total() != putAside) {
				err = fmt.Errorf("%d read, %d aside", s.Clicks, s.Aside.Total())
			}
			return err
		})
	}
	stop := func(c *child) {
		t.Helper()
		c.cmd.Process.Signal(syscall.SIGTERM)
		if code := c.wait(t); code != 0 {
			t.Fatalf("%s: exit code %d", c.name, code)
		}
	}
	refuse := func(says string, args ...string) {
		t.Helper()
		refused(t, spawn{env: []string{secret}, args: args}.start(t), says)
	}
	verb := func(env []string, args ...string) string {
		t.Helper()
		c := spawn{env: append(env, secret), args: args}.start(t)
		if code := c.wait(t); code != 0 {
			t.Fatalf("%s: exit code %d", c.name, code)
		}
		return c.stdout.String()
	}

	before := ingest()
	api := before.api()
	awaitAside(before, good+3, good+3)

	// The directory is in use: the verbs say how to ask the process that has it.
	refuse("add --server http://127.0.0.1:8080", "aside", "list", "--data-dir", dir)
	refuse("stop it", "export", "sessions", "--data-dir", dir)
	refused(t, spawn{args: []string{"aside", "list", "--server", api}}.start(t), "FRESHET_SERVE_TOKEN")
	refuse("nothing listens", "aside", "list", "--server", "http://127.0.0.1:1")
	if code, _, body, err := fetch(api+"/v1/aside", ""); code != http.StatusUnauthorized || err != nil {
		t.Errorf("without a token: %d %s %v", code, body, err)
	}

	listed := asideIn(t, verb(nil, "aside", "list", "--server", api, "--json", "--limit", "0"))
	if len(listed) != good+3 {
		t.Fatalf("%d records listed", len(listed))
	}
	for _, r := range listed {
		if i := slices.Index(values, string(r.Value)); i < 0 || string(r.Key) != fmt.Sprint("key-", i) || int(r.Partition) != i%2 || r.Topic != "clicks" {
			t.Errorf("a record that was never sent: %+v", r)
		}
	}
	table := verb(nil, "aside", "list", "--server", api, "--limit", "5", "--partition", "1")
	if lines := strings.Split(table, "\n"); len(lines) != 10 || !strings.HasPrefix(lines[0], "reason") || !strings.Contains(table, "31 aside") || !strings.Contains(table, "26 more") {
		t.Errorf("the table is:\n%s", table)
	}

	// Redrive sends nothing that was not asked for, and nothing that would only come back.
	refuse("--all takes all", "aside", "redrive", "--server", api)
	refuse("not both", "aside", "redrive", "--server", api, "--all", "0:1")
	refuse("no record is aside", "aside", "redrive", "--server", api, "0:999")
	if out := verb(nil, "aside", "redrive", "--server", api, "--all"); !strings.HasPrefix(out, "0 records sent again\n") || !strings.Contains(out, "--unchecked") {
		t.Errorf("before the fix: %s", out)
	}
	stop(before)

	// Put right. The node's own brokers are asked for, since none are given.
	fix := "FRESHET_SOURCE_FIELDS=user_id=visitorid"
	after := ingest(fix)
	api = after.api()
	if out := verb([]string{fix}, "aside", "redrive", "--server", api, "--all", "--dry-run", "--json"); !strings.Contains(out, `"sent":60,`) || !strings.Contains(out, `"dry_run":true`) {
		t.Errorf("a dry run: %s", out)
	}
	one := listed[0]
	if out := verb([]string{fix}, "aside", "redrive", "--server", api, fmt.Sprintf("%d:%d", one.Partition, one.Offset)); !strings.HasPrefix(out, "1 records sent again: 1 ") {
		t.Errorf("one record: %s", out)
	}
	if out := verb([]string{fix}, "aside", "redrive", "--server", api, "--all", "--brokers", kafka.Address()); !strings.HasPrefix(out, "59 records sent again: 59 ") || !strings.Contains(out, "3 left aside") && !strings.Contains(out, "2 left aside") {
		t.Errorf("all: %s", out)
	}
	awaitAside(after, good+3+good, good+3) // all of them taken
	if out := verb([]string{fix}, "aside", "redrive", "--server", api, "--all"); !strings.HasPrefix(out, "0 records sent again\n") {
		t.Errorf("again: %s", out)
	}

	// Records that come back while they are sent are not sent again and again.
	if out := verb([]string{fix}, "aside", "redrive", "--server", api, "--all", "--unchecked"); !strings.HasPrefix(out, "3 records sent again") {
		t.Errorf("unchecked: %s", out)
	}
	awaitAside(after, good+3+good+3, good+3+3)
	if _, _, metrics, err := fetch(api+"/metrics", ""); err != nil || !strings.Contains(metrics, fmt.Sprintf("\nfreshet_aside_resent_total %d\n", good+3)) {
		t.Errorf("the metrics do not say that %d records were sent again: %v\n%s", good+3, err, metrics)
	}
	stop(after)

	// Key, value and partition are those of before; the header says where it was.
	was := map[string]aside.Record{}
	for _, r := range listed {
		was[fmt.Sprintf("%d:%d", r.Partition, r.Offset)] = r
	}
	redriven := 0
	for _, r := range topicOf(t, kafka.Address(), good+3+good+3) {
		if len(r.Headers) == 0 {
			continue
		}
		redriven++
		old, ok := was[string(r.Headers[0].Value)]
		if !ok || r.Headers[0].Key != source.RedrivenHeader || !bytes.Equal(r.Key, old.Key) || !bytes.Equal(r.Value, old.Value) || schema.Partition(r.Partition) != old.Partition {
			t.Errorf("redriven: partition %d, %q=%q, headers %q", r.Partition, r.Key, r.Value, r.Headers)
		}
	}
	if redriven != good+3 {
		t.Errorf("%d records were redriven", redriven)
	}

	// Nobody has the directory now: the verbs open it.
	rest := asideIn(t, verb(nil, "aside", "list", "--data-dir", dir, "--json"))
	if len(rest) != 3 {
		t.Fatalf("%d records are left aside", len(rest))
	}
	for _, r := range rest {
		at := fmt.Sprintf("%d:%d", r.Partition, r.Offset)
		if raw := verb(nil, "aside", "show", at, "--data-dir", dir, "--raw"); raw != string(r.Value) {
			t.Errorf("the bytes of %s are %q, want %q", at, raw, r.Value)
		}
		shown := verb(nil, "aside", "show", at, "--data-dir", dir)
		want := string(r.Value)
		if strings.HasPrefix(want, "\x00") {
			want = "00000000  00 ff 20 62 69 6e 61 72  79"
		}
		if !strings.Contains(shown, want) || !strings.Contains(shown, r.Detail) {
			t.Errorf("%s is shown as:\n%s", at, shown)
		}
	}
	refuse("freshet aside list", "aside", "show", "0:999", "--data-dir", dir)
	if out := verb(nil, "aside", "list", "--data-dir", dir, "--since", "1h", "--reason", "oversize"); out != "nothing is aside\n" {
		t.Errorf("nothing: %q", out)
	}
	out := verb(nil, "export", "aside", "--format", "csv", "--out", "-", "--data-dir", dir)
	if n := strings.Count(out, "\n"); n != 4 || !strings.HasPrefix(out, "topic,partition,offset,arrived_at,reason,detail,key_base64,value_base64\n") {
		t.Errorf("exported:\n%s", out)
	}
}

// memoryBook is a book of records in memory, whose Remove may fail.
type memoryBook struct {
	aside.Book
	records   []schema.Rejected
	watermark schema.EventTime
	broken    error
}

func (b *memoryBook) Page(_ context.Context, f aside.Filter, after aside.Place, limit int) (aside.Page, error) {
	var page aside.Page
	for _, r := range b.records {
		at := aside.Place{Partition: r.Partition, Offset: r.Offset}
		if !f.Matches(&r) || at.Partition < after.Partition || at.Partition == after.Partition && at.Offset <= after.Offset {
			continue
		}
		if len(page.Records) == limit {
			page.More = true
			break
		}
		page.Records, page.Next = append(page.Records, r), at
	}
	return page, nil
}

func (b *memoryBook) Summary(_ context.Context, f aside.Filter) (aside.Summary, error) {
	s := aside.Summary{Partitions: map[schema.Partition]aside.Reading{}}
	for _, r := range b.records {
		if f.Matches(&r) {
			s.Records++
		}
		s.Partitions[r.Partition] = aside.Reading{Next: 1000, Watermark: b.watermark}
	}
	return s, nil
}

func (b *memoryBook) Remove(_ context.Context, places []aside.Place) (int, error) {
	if b.broken != nil {
		return 0, b.broken
	}
	before := len(b.records)
	b.records = slices.DeleteFunc(b.records, func(r schema.Rejected) bool {
		return slices.Contains(places, aside.Place{Partition: r.Partition, Offset: r.Offset})
	})
	return before - len(b.records), nil
}

// redriveOf makes a run of the verb on book, and returns what it prints.
func redriveOf(t *testing.T, book aside.Book, address string, flags AsideRedriveCmd) (*redrive, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	a := &app{cfg: settingsOf(t, t.TempDir(), nil), stdout: &out, stderr: io.Discard, now: time.Now, log: slog.New(slog.DiscardHandler)}
	d := &redrive{app: a, book: book, brokers: []string{address}, flags: &flags, left: map[schema.Reason]int64{}, sentBy: map[schema.Reason]int64{}, kafka: map[string]*source.Redriver{}}
	t.Cleanup(func() { d.close() })
	var err error
	if d.decide, err = d.rules(); err != nil {
		t.Fatal(err)
	}
	return d, &out
}

func clickAside(p, o int, at int64, reason schema.Reason) schema.Rejected {
	return schema.Rejected{Topic: "clicks", Partition: schema.Partition(p), Offset: schema.Offset(o), Reason: reason,
		Key: []byte("u1"), Value: fmt.Appendf(nil, `{"user_id":"u1","item_id":"i%d","timestamp":%d}`, o, at)}
}

// TestRedriveLeavesLateRecords: what came too late, and what would by now, is not sent unless it is asked for.
func TestRedriveLeavesLateRecords(t *testing.T) {
	kafka, err := embed.StartKafka(embed.KafkaConfig{Topic: "clicks", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	const watermark = 1_767_254_400_000
	records := func() []schema.Rejected {
		return []schema.Rejected{
			clickAside(0, 0, watermark-1, schema.ReasonLate),
			clickAside(0, 1, watermark-1, schema.ReasonInvalid), // was invalid for another configuration
			clickAside(0, 2, watermark, schema.ReasonInvalid),
		}
	}
	for _, tc := range []struct {
		flags AsideRedriveCmd
		sent  string
		left  int
	}{
		{AsideRedriveCmd{}, "1 records sent again: 1 invalid\n2 left aside, late", 2},
		{AsideRedriveCmd{Unchecked: true}, "2 records sent again: 2 invalid\n1 left aside, late", 1},
		{AsideRedriveCmd{IncludeLate: true}, "3 records sent again: 1 late, 2 invalid\n", 0},
		{AsideRedriveCmd{IncludeLate: true, DryRun: true}, "3 records would be sent again: 1 late, 2 invalid\n", 3},
	} {
		book := &memoryBook{records: records(), watermark: watermark}
		d, out := redriveOf(t, book, kafka.Address(), tc.flags)
		if err := d.run(t.Context(), aside.Filter{}); err != nil || !strings.HasPrefix(out.String(), tc.sent) || len(book.records) != tc.left {
			t.Errorf("%+v: %v, %d left:\n%s", tc.flags, err, len(book.records), out)
		}
	}
}

// TestRedriveSaysWhatItDid: when the brokers or the store fail in the middle.
func TestRedriveSaysWhatItDid(t *testing.T) {
	kafka, err := embed.StartKafka(embed.KafkaConfig{Topic: "clicks", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	const at = 1_767_254_400_000
	broken := &memoryBook{records: []schema.Rejected{clickAside(0, 0, at, schema.ReasonInvalid)}, broken: errors.New("the disk is gone")}
	d, out := redriveOf(t, broken, kafka.Address(), AsideRedriveCmd{})
	if err := d.run(t.Context(), aside.Filter{}); err == nil || !strings.Contains(err.Error(), "still aside") || !strings.HasPrefix(out.String(), "1 records sent again") {
		t.Errorf("%v\n%s", err, out)
	}
	elsewhere := &memoryBook{records: []schema.Rejected{clickAside(0, 0, at, schema.ReasonInvalid), clickAside(5, 0, at, schema.ReasonInvalid)}}
	d, out = redriveOf(t, elsewhere, kafka.Address(), AsideRedriveCmd{JSON: true})
	if err := d.run(t.Context(), aside.Filter{}); err == nil || !strings.Contains(err.Error(), "has 1 partitions") || !strings.Contains(err.Error(), "--to") ||
		!strings.Contains(out.String(), `"sent":1,`) || !strings.Contains(out.String(), `"complete":false`) || len(elsewhere.records) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	d, _ = redriveOf(t, elsewhere, kafka.Address(), AsideRedriveCmd{To: "elsewhere"})
	if err := d.run(t.Context(), aside.Filter{}); !errors.Is(err, source.ErrUnknownTopic) {
		t.Errorf("%v", err)
	}
}

func TestReadable(t *testing.T) {
	for text, want := range map[string]string{
		"":            "0 bytes\n",
		"{\"a\":\n1}": "8 bytes:\n{\"a\":\n1}\n",
		"ünï":         "5 bytes:\nünï\n",
		"\x1b[2J":     "4 bytes, not text:\n00000000  1b 5b 32 4a                                       |.[2J|\n",
		"\xff":        "1 bytes, not text:\n00000000  ff                                                |.|\n",
	} {
		if got := readable([]byte(text)); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
	if got := shorten("a\x1b[2J\n" + strings.Repeat("ü", 100)); len([]rune(got)) != detailWidth || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
	}
}

// A tool that only looks must not make a data directory where somebody mistyped its name.
func TestVerbsMakeNoDirectory(t *testing.T) {
	dir := t.TempDir() + "/none"
	for _, args := range [][]string{{"aside", "list"}, {"aside", "show", "0:1"}, {"aside", "redrive", "--all", "--brokers", "127.0.0.1:1"}, {"export", "clicks", "--out", "-"}} {
		refused(t, spawn{args: append(args, "--data-dir", dir)}.start(t), "there is no data directory", dir)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made")
	}
}
