package source_test

import (
	"context"
	"errors"
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
	"github.com/klauspost/compress/zstd"
)

// The files in testdata/presets are made up, in the layouts in which the data sets are published. What becomes of each is
// beside it.
func TestPresets(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "presets", "*.want"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	seen := map[string]bool{}
	for _, want := range files {
		path := strings.TrimSuffix(want, ".want")
		format, _, _ := strings.Cut(filepath.Base(path), "-")
		seen[format] = true
		s, err := source.OpenFile(path, format, source.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if source.InOrder(format) {
			t.Errorf("%s: its rows are taken to be in order", format)
		}
		sorted := source.Sort(s, t.TempDir())
		if err := source.Prepare(context.Background(), sorted); err != nil {
			t.Error(err)
		}
		var got []string
		for {
			out, err := sorted.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(out.Key)+"|"+string(out.Value))
			var c schema.Click
			if err := decode.JSON().Decode(out.Value, &c); err == nil && (string(out.Key) != c.UserID || out.EventTime != c.EventTime) {
				t.Errorf("%s: record %s at %d of %s", path, out.Key, out.EventTime, out.Value)
			}
		}
		if err := sorted.Close(); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(text)), "\n"), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, format := range source.Formats {
		if !seen[format] && !source.InOrder(format) {
			t.Errorf("%s has no file in testdata/presets", format)
		}
	}
}

func TestPresetsSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ format, in, want string }{
		{"retailrocket", "timestamp,visitor,event,itemid\n", `is no file of retailrocket: it has no column visitorid: its first line is "timestamp,visitor,event,itemid"`},
		{"retailrocket", "", "is empty: want a file of retailrocket"},
		{"yoochoose", "1,2014-04-07,9001,0\n", `column 2 (timestamp) is "2014-04-07": its first line is "1,2014-04-07,9001,0"`},
		{"yoochoose", "1,2014-04-06T18:44:58.314Z,9003,dear,1\n", `column 4 (price) is "dear"`},
		{"yoochoose", "1,2\n", "it has 2 columns, want 4: session,timestamp,item,category"},
		{"diginetica", "sessionId;userId;itemId;eventdate\n", "it has no column timeframe"},
		{"diginetica", "sessionId;userId;timeframe;eventdate;ordernumber\n", "it has no column itemId"},
		{"movielens", "userId,movieId,tag,timestamp\n", "it has no column rating"},
		{"movielens", "1::1193::978300760\n", "it has 3 columns, want 4: user::item::rating::timestamp"},
		{"taobao", "1,700,41,pv\n", "it has 4 columns, want 5"},
		{"taobao", "user,item,category,behavior,ts\n", `column 5 (timestamp) is "ts"`},
		{"globo", "user_id,session_id,click_timestamp\n", "it has no column click_article_id"},
		{"otto", "[]\n", "is no file of otto: it is no JSON object: its first line is"},
		{"otto", `{"session":1}`, `it has no "events"`},
		{"otto", `{"events":[]}`, `it has no "session"`},
		{"otto", `{"session":"x","events":[]}`, "is no file of otto"},
		{"otto", `{"session":1,"events":[]} {}`, "there is more after the object"},
		{"csv", "timestamp,visitorid,event,itemid,transactionid\n", "it is a file of retailrocket: give --format retailrocket"},
		{"csv", "sessionId;userId;itemId;timeframe;eventdate\n", "it is a file of diginetica"},
		{"csv", "userId,movieId,rating,timestamp\n", "it is a file of movielens"},
		{"jsonl", `{"session":1,"events":[]}`, "it is a file of otto: give --format otto"},
		{"csv", "visitor,item,ts\n", "say in source.fields how they are called"},
	} {
		_, err := source.OpenFile(write(t, c.in), c.format, source.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q: error %v, want it to say %q", c.format, c.in, err, c.want)
		}
	}
}

func TestCSVColumnsByOtherNames(t *testing.T) {
	in := "Visitor;item;user;when;cost;category\n1;2;3;5;12.5;c\n1;2;3;5;;c\n1;2;3;5;dear;c\n"
	s, err := source.OpenFile(write(t, in), "csv", source.Options{Fields: map[string]string{
		"user_id": "visitor", "timestamp": "when", "price": "Cost", "seller": "user", "category": "-"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`1|5000|{"user_id":"1","item_id":"2","timestamp":5000,"action":"click","item":{"seller":"3","price":12.5}}`,
		`1|5000|{"user_id":"1","item_id":"2","timestamp":5000,"action":"click","item":{"seller":"3"}}`,
		"|5000|1;2;3;5;dear;c",
	}
	if diff := cmp.Diff(want, read(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, fields := range map[string]map[string]string{"context": {"context": "x"}, "user": {"user": "x"}} {
		if _, err := source.OpenFile(write(t, in), "csv", source.Options{Fields: fields}); err == nil || !strings.Contains(err.Error(), `"`+name+`" is no field`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestZstandard(t *testing.T) {
	text := "user,item,ts\n" + strings.Repeat("1,2,3\n", 50_000)
	var b strings.Builder
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, open(t, b.String(), "csv")); len(got) != 50_000 {
		t.Errorf("got %d records, want 50000", len(got))
	}
	for name, text := range map[string]string{"cut": b.String()[:b.Len()-9], "damaged": b.String()[:20] + "xxxxxxxx" + b.String()[28:]} {
		s, err := source.OpenFile(write(t, text), "csv", source.Options{})
		for err == nil {
			_, err = s.Next()
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: it was read to its end", name)
		}
	}
}

// Whatever is in a row, it becomes clicks that decode, or stands there as it is.
func FuzzPresets(t *testing.F) {
	f := fuzz.Of(t)
	files, err := filepath.Glob(filepath.Join("testdata", "presets", "*.want"))
	if err != nil {
		f.Fatal(err)
	}
	type preset struct {
		format, head string
		records      int // of the first line, which is a header in some formats
	}
	var presets []preset
	for i, want := range files {
		path := strings.TrimSuffix(want, ".want")
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		head, rest, _ := strings.Cut(string(text), "\n")
		format, _, _ := strings.Cut(filepath.Base(path), "-")
		presets = append(presets, preset{format, head, len(read(f, openText(f, head+"\n", format)))})
		for row := range strings.SplitSeq(rest, "\n") {
			f.Add(uint8(i), row)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, row string) {
		p := presets[int(which)%len(presets)]
		if strings.ContainsAny(row, "\r\n") || row == "" || row == p.head || len(row) > 1<<16 {
			f.Leave()
			return
		}
		s := openText(t, p.head+"\n"+row+"\n", p.format)
		defer s.Close()
		records := 0
		for ; ; records++ {
			out, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %q: %v", p.format, row, err)
			}
			var c schema.Click
			if err := decode.JSON().Decode(out.Value, &c); err != nil && !strings.Contains(row, string(out.Value)) {
				t.Fatalf("%s: %q became %q, which neither decodes (%v) nor is of the row", p.format, row, out.Value, err)
			}
		}
		if p.format != "otto" && records != 1+p.records {
			t.Fatalf("%s: %q became %d records", p.format, row, records)
		}
	})
}

func BenchmarkPresets(b *testing.B) {
	const rows = 100_000
	for name, text := range map[string]string{
		"taobao": strings.Repeat("1,2268318,2520377,pv,1511544070\n", rows),
		"otto":   strings.Repeat(`{"session":42,"events":[`+strings.TrimSuffix(strings.Repeat(`{"aid":59625,"ts":1661724000278,"type":"clicks"},`, 10), ",")+"]}\n", rows/10),
	} {
		path := write(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s, err := source.OpenFile(path, name, source.Options{})
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
		})
	}
}
