package baseline_test

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// TestRealStream measures the arms, test then train click by click, on a stream of clicks: FRESHET_STREAM names a CSV, or CSV.gz, with the columns user, item and
// ts (milliseconds), by rising time. FRESHET_STREAM_FROM and FRESHET_STREAM_TO choose clicks to test on (those before are learned from), and
// FRESHET_STREAM_CONFIG overrides the config, in JSON. It has nothing to say without a stream, and asserts only that the arms find something.
//
// The rule: at every click that has an earlier one in its session (30 minutes), all items are ranked; and, as "session", at the first click of a session of a user
// with clicks before it, for all items of the session. Ties count against the arm; "in the order of its list" they go by the lower row.
func TestRealStream(t *testing.T) {
	name := os.Getenv("FRESHET_STREAM")
	if name == "" {
		t.Skip("FRESHET_STREAM names no stream")
	}
	number := func(key string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(key)); err == nil {
			return n
		}
		return otherwise
	}
	from, to := number("FRESHET_STREAM_FROM", 0), number("FRESHET_STREAM_TO", 100_000)
	cfg := baseline.DefaultConfig()
	cfg.Neighbours = true
	if c := os.Getenv("FRESHET_STREAM_CONFIG"); c != "" {
		if err := json.Unmarshal([]byte(c), &cfg); err != nil {
			t.Fatal(err)
		}
	}
	clicks := readStream(t, name, to)
	whole := map[uint64][]model.Row{}
	for _, c := range clicks {
		if !slices.Contains(whole[c.session], c.row) {
			whole[c.session] = append(whole[c.session], c.row)
		}
	}
	live := baseline.New(cfg)
	type sum struct{ recall, mrr float64 }
	var next, session, listed [baseline.Arms]sum
	var list []baseline.Scored
	var nextTests, sessionTests int
	var spent, marking, learning time.Duration
	history := map[int][]model.Row{}
	begins := map[int]int{}
	var marks []model.Mark
	var marked int
	start := time.Now()
	for i, c := range clicks {
		all := history[c.user]
		if c.first {
			begins[c.user] = len(all)
		}
		begin := begins[c.user]
		if cut := len(all) - 200; cut > 0 {
			all, begin = all[cut:], max(0, begin-cut)
		}
		request := baseline.Request{Clicks: all, Begin: begin, Session: c.session, Now: c.at, Kinds: baseline.AllKinds}
		if len(all) > 0 && i >= from {
			at := time.Now()
			votes := live.Votes(request)
			if c.first {
				sessionTests++
			} else {
				nextTests++
			}
			spent += time.Since(at)
			for arm := range baseline.Arm(baseline.Arms) {
				if !c.first {
					if r := votes.Rank(arm, c.row); r > 0 && r <= 20 {
						next[arm].recall++
						next[arm].mrr += 1 / float64(r)
					}
					list = votes.Top(list[:0], arm)
					if r := 1 + slices.IndexFunc(list, func(s baseline.Scored) bool { return s.Row == c.row }); r > 0 && r <= 20 {
						listed[arm].recall++
						listed[arm].mrr += 1 / float64(r)
					}
					continue
				}
				best, hits := 0, 0
				for _, row := range whole[c.session] {
					if r := votes.Rank(arm, row); r > 0 && r <= 20 {
						hits++
						if best == 0 || r < best {
							best = r
						}
					}
				}
				if hits > 0 {
					session[arm].recall += float64(hits) / float64(min(20, len(whole[c.session])))
					session[arm].mrr += 1 / float64(best)
				}
			}
			at = time.Now()
			marks = live.Marks(marks[:0], request)
			marking += time.Since(at)
			marked += len(marks)
		}
		at := time.Now()
		live.Learn(baseline.Click{Row: c.row, At: c.at, Session: c.session, First: c.first, Before: all[begin:], Earlier: all[:begin]})
		learning += time.Since(at)
		history[c.user] = append(history[c.user], c.row)
	}
	tests := float64(nextTests + sessionTests)
	fmt.Printf("%s: clicks %d to %d, %d next tests, %d session tests, %.0f clicks/s; a request: votes of all arms %.1f µs, marks %.1f µs (%.0f of them); learning a click %.1f µs\n",
		name, from, len(clicks), nextTests, sessionTests, float64(len(clicks))/time.Since(start).Seconds(),
		spent.Seconds()*1e6/tests, marking.Seconds()*1e6/tests, float64(marked)/tests, learning.Seconds()*1e6/float64(len(clicks)))
	for arm := range baseline.Arm(baseline.Arms) {
		n, l, s := next[arm], listed[arm], session[arm]
		fmt.Printf("%-14s next %.4f/%.4f  in the order of its list %.4f/%.4f  session %.4f/%.4f\n", arm, n.recall/float64(nextTests), n.mrr/float64(nextTests),
			l.recall/float64(nextTests), l.mrr/float64(nextTests), s.recall/float64(sessionTests), s.mrr/float64(sessionTests))
		if n.recall == 0 {
			t.Errorf("%s found nothing", arm)
		}
	}
}

type streamClick struct {
	user    int
	row     model.Row
	at      schema.EventTime
	session uint64
	first   bool
}

// readStream reads the first clicks of a file and cuts them into sessions.
func readStream(t *testing.T, name string, limit int) []streamClick {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var in io.Reader = f
	if z, err := gzip.NewReader(f); err == nil {
		in = z
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(in)
	header, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	user, item, ts := slices.Index(header, "user"), slices.Index(header, "item"), slices.Index(header, "ts")
	type open struct {
		session uint64
		last    schema.EventTime
	}
	users, rows, sessions, began := map[string]int{}, map[string]model.Row{}, map[int]open{}, uint64(0)
	var clicks []streamClick
	for len(clicks) < limit {
		line, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		u, ok := users[line[user]]
		if !ok {
			u = len(users)
			users[line[user]] = u
		}
		row, ok := rows[line[item]]
		if !ok {
			row = model.Row(len(rows))
			rows[line[item]] = row
		}
		ms, err := strconv.ParseInt(line[ts], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s, at := sessions[u], schema.EventTime(ms)
		first := s.session == 0 || at-s.last > 1_800_000
		if first {
			began++
			s.session = began
		}
		s.last = at
		sessions[u] = s
		clicks = append(clicks, streamClick{u, row, at, s.session, first})
	}
	return clicks
}
