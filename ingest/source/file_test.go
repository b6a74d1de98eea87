package source_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
)

const fullClick = `{"user_id":"u1","item_id":"i9","timestamp":1700000000000,"action":"cart","event_id":"e1","session_id":"s1",` +
	`"scene":"home","item":{"category":"c1","seller":"s7","price":12.5},"context":{"device":"ios"}}`

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clicks")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// read returns the records of a stream as "key|event time|value".
func read(t testing.TB, s source.Stream) []string {
	t.Helper()
	defer s.Close()
	var got []string
	for {
		out, err := s.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s|%d|%s", out.Key, out.EventTime, out.Value))
	}
}

func open(t testing.TB, text, format string) source.Stream {
	t.Helper()
	s, err := source.OpenFile(write(t, text), format, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openText is open without a file.
func openText(t testing.TB, text, format string) source.Stream {
	t.Helper()
	s, err := source.OpenText(text, format)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCSV(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"seconds": {"user,session,item,action,ts,period\n262692,5,10,click,1396321200,0\n1,6,11,buy,1396321201.25,0\n", []string{
			`262692|1396321200000|{"user_id":"262692","item_id":"10","timestamp":1396321200000,"action":"click","session_id":"5"}`,
			`1|1396321201250|{"user_id":"1","item_id":"11","timestamp":1396321201250,"action":"purchase","session_id":"6"}`}},
		"milliseconds, no end of line, carriage returns": {"User_ID,Item_ID,Timestamp\r\n59,234853,1506826800026\r\n59,2,1506826800026.9", []string{
			`59|1506826800026|{"user_id":"59","item_id":"234853","timestamp":1506826800026,"action":"click"}`,
			`59|1506826800026|{"user_id":"59","item_id":"2","timestamp":1506826800026,"action":"click"}`}},
		"mark, semicolons, RFC 3339, quotes": {"\xef\xbb\xbftimestamp;item;user;action;event_id\n2014-04-07T10:51:09.277Z;\"a;\"\"b\"\"\";\"\";fav;e1\n", []string{
			`|1396867869277|{"user_id":"","item_id":"a;\"b\"","timestamp":1396867869277,"action":"fav","event_id":"e1"}`}},
		"bad rows stay as they are": {"user\titem\tts\n1\t2\n\n1\t2\tnoon\n1\t2\t5\n1\t\"2\t6\n1\t\"2\"x\t6\n1\t2\t3\t4\n1\t2\t1e9\n1\t2\t1234567890123456789\n1\t2\t\n\xff\t2\t5\n", []string{
			"|0|1\t2", "|0|1\t2\tnoon", `1|5000|{"user_id":"1","item_id":"2","timestamp":5000,"action":"click"}`,
			"|5000|1\t\"2\t6", "|5000|1\t\"2\"x\t6", "|5000|1\t2\t3\t4", "|5000|1\t2\t1e9", "|5000|1\t2\t1234567890123456789", "|5000|1\t2\t", "|5000|\xff\t2\t5"}},
		"only a header": {"user,item,ts\n", nil},
	} {
		for kind, text := range map[string]string{"plain": c.in, "gzip": zipped(t, c.in)} {
			if diff := cmp.Diff(c.want, read(t, open(t, text, "csv"))); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, kind, diff)
			}
		}
	}
}

func TestJSONL(t *testing.T) {
	in := fullClick + "\n\n{\"user_id\":3,\"timestamp\":\"soon\"}\nnot json\n" + `  {"timestamp":7,"item_id":"x"}` + "\n"
	want := []string{"u1|1700000000000|" + fullClick, `3|1700000000000|{"user_id":3,"timestamp":"soon"}`,
		"|1700000000000|not json", `|7|  {"timestamp":7,"item_id":"x"}`}
	if diff := cmp.Diff(want, read(t, open(t, in, "jsonl"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s, err := source.OpenFile(write(t, `{"visitorid":3,"user_id":4,"timestamp":9}`), "jsonl",
		source.Options{Fields: map[string]string{"user_id": "visitorid"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, s); !strings.HasPrefix(got[0], "3|9|") {
		t.Errorf("mapped key: got %v", got)
	}
}

func TestOpenFileSaysWhatToDo(t *testing.T) {
	cut := zipped(t, strings.Repeat("user,item,ts\n", 10000))
	for name, c := range map[string]struct{ path, format, want string }{
		"format":    {write(t, "x"), "parquet", "use one of csv, jsonl, diginetica, globo"},
		"missing":   {filepath.Join(t.TempDir(), "none.csv"), "csv", "check the path"},
		"directory": {t.TempDir(), "csv", "name a file in it"},
		"empty":     {write(t, ""), "csv", "is empty: want a header"},
		"blank":     {write(t, "\n\n"), "jsonl", "is empty: want a JSON object"},
		"columns":   {write(t, "user,time\n"), "csv", "no column item (or item_id), ts (or timestamp)"},
		"twice":     {write(t, "user,item,ts,user_id\n"), "csv", `both "user" and "user_id"`},
		"quote":     {write(t, "\"user,item,ts\n"), "csv", "a quote that does not end"},
		"no gzip":   {write(t, "\x1f\x8bnot"), "csv", "begins like gzip"},
		"cut gzip":  {write(t, cut[:len(cut)/2]), "jsonl", ""},
		"one line":  {write(t, strings.Repeat("x", 5<<20)), "jsonl", "line 1 is longer than"},
	} {
		s, err := source.OpenFile(c.path, c.format, source.Options{})
		if c.want == "" {
			if err == nil {
				for err == nil {
					_, err = s.Next()
				}
			}
			c.want = "break off"
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want it to say %q", name, err, c.want)
		}
	}
	if _, err := source.OpenFile(write(t, "x"), "csv", source.Options{Fields: map[string]string{"x": "y"}}); err == nil {
		t.Error("a mapping of an unknown field was taken")
	}
}

func TestLimitAndProgress(t *testing.T) {
	text := "user,item,ts\n" + strings.Repeat("1,2,3\n", 1000)
	s := source.Limit(open(t, text, "csv"), 10)
	if got := read(t, s); len(got) != 10 {
		t.Errorf("got %d records, want 10", len(got))
	}
	if done, total := s.(source.Progress).Progress(); done != 10 || total != 10 {
		t.Errorf("limited: %d of %d, want 10 of 10", done, total)
	}
	whole := open(t, text, "csv")
	if got := read(t, whole); len(got) != 1000 {
		t.Errorf("got %d records, want 1000", len(got))
	}
	if done, total := whole.(source.Progress).Progress(); done != total || total != int64(len(text)) {
		t.Errorf("file: %d of %d, want %d", done, total, len(text))
	}
}

func FuzzCSV(t *testing.F) {
	f := fuzz.Of(t)
	f.Add("1,2,3")
	f.Add(`"a ""b""",",",2014-04-07T10:51:09.277Z`)
	f.Add("\"\n,,")
	f.Fuzz(func(t *testing.T, row string) {
		if strings.ContainsAny(row, "\r\n") || row == "" || len(row) > 1<<16 {
			f.Leave()
			return
		}
		s := openText(t, "user,item,ts\n"+row+"\n", "csv")
		defer s.Close()
		out, err := s.Next()
		if err != nil {
			t.Fatalf("%q gave no record: %v", row, err)
		}
		var c schema.Click
		if err := decode.JSON().Decode(out.Value, &c); err != nil && string(out.Value) != row {
			t.Fatalf("%q became %q, which neither decodes (%v) nor is the row", row, out.Value, err)
		}
		if out, err := s.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("%q gave a second record %q, %v", row, out.Value, err)
		}
	})
}

// A line is passed on as it is, under the user that is in it.
func FuzzJSONL(t *testing.F) {
	f := fuzz.Of(t)
	f.Add(fullClick)
	f.Add(`{"user_id":3,"timestamp":"soon"}`)
	f.Add("not json")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || line == "" || len(line) > 1<<16 || strings.HasPrefix(line, "\x1f\x8b") || strings.HasPrefix(line, "\x28\xb5\x2f\xfd") {
			f.Leave()
			return
		}
		s := openText(t, "{}\n"+line+"\n", "jsonl")
		defer s.Close()
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
		out, err := s.Next()
		if err != nil || string(out.Value) != line {
			t.Fatalf("%q became %q, %v", line, out.Value, err)
		}
		var c schema.Click
		if err := decode.JSON().Decode([]byte(line), &c); err == nil && (string(out.Key) != c.UserID || out.EventTime != c.EventTime) {
			t.Fatalf("%q has key %q and time %d", line, out.Key, out.EventTime)
		}
	})
}

func BenchmarkCSV(b *testing.B) {
	path := write(b, zipped(b, "user,session,item,action,ts\n"+strings.Repeat("59,1506826329267796,234853,click,1506826800026\n", 100_000)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s, err := source.OpenFile(path, "csv", source.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := s.Next(); err != nil {
				break
			}
			n++
		}
		s.Close()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func TestOpenLines(t *testing.T) {
	const text = "a b\n\nc d\r\nlast"
	for name, content := range map[string]string{"plain": text, "gzip": zipped(t, text)} {
		l, err := source.OpenLines(write(t, content))
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		for {
			line, err := l.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(name, err)
			}
			got = append(got, fmt.Sprintf("%d:%s", l.Line(), line))
		}
		if diff := cmp.Diff([]string{"1:a b", "3:c d", "4:last"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if done, total := l.Progress(); done != total || total != int64(len(content)) {
			t.Errorf("%s: read %d of %d bytes", name, done, total)
		}
		if err := l.Close(); err != nil {
			t.Error(name, err)
		}
	}
	if _, err := source.OpenLines(t.TempDir()); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
}

func TestStreamsOfFilesKnowTheirLine(t *testing.T) {
	s, err := source.OpenFile(write(t, "user,item,ts\n\nu1,i1,1700000000\n"), "csv", source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	if n, ok := s.(source.Numbered); !ok || n.Line() != 3 {
		t.Errorf("the click of line 3 is taken for another's")
	}
}
