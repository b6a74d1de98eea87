package window_test

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// globoFile is the public log of Globo.com's news portal (2017, three million page views), with the publisher's own session
// ids. It is not part of the repository; its licence is for research.
var globoFile = filepath.Join("..", "..", "..", "shared", "data", "globo.csv.gz")

// globoClicks returns the clicks of the file, which is sorted by time, with the publisher's session in SessionID.
func globoClicks(t *testing.T, most int) []schema.Click {
	t.Helper()
	f, err := os.Open(globoFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not there: sessions are not compared with a publisher's", globoFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // one copy of each id
	name := func(s string) string {
		if n, ok := names[s]; ok {
			return n
		}
		s = strings.Clone(s)
		names[s] = s
		return s
	}
	var clicks []schema.Click
	lines := bufio.NewScanner(z)
	for lines.Scan() && len(clicks) < most {
		user, rest, _ := strings.Cut(lines.Text(), ",")
		session, rest, _ := strings.Cut(rest, ",")
		item, rest, _ := strings.Cut(rest, ",")
		_, at, _ := strings.Cut(rest, ",")
		if user == "user" {
			continue
		}
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		clicks = append(clicks, schema.Click{UserID: name(user), ItemID: name(item), SessionID: name(session), EventTime: schema.EventTime(ms), Action: schema.ActionClick})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return clicks
}

// agreement compares two ways to put the clicks of users into sessions.
type agreement struct {
	clicks, users, ours, theirs int
	equalSessions               int // sessions that have the same clicks in both
	equalUsers                  int // users all of whose sessions do
	pairs, ourPairs, theirPairs int // pairs of clicks in one session: in both, in ours, in theirs

	// Why theirs are not ours.
	apart     int // theirs that hold two neighbouring clicks more than the gap apart
	together  int // of the others, theirs that begin or end within the gap of another of the same user
	unknown   int // the rest
	splitGaps []time.Duration
	mergeGaps []time.Duration
	twined    int // users two of whose sessions overlap in theirs
}

func pairsOf(n int) int { return n * (n - 1) / 2 }

// add compares the sessions of one user.
func (a *agreement) add(gap time.Duration, ours [][]schema.Click) {
	a.users++
	a.ours += len(ours)
	type span struct {
		n           int
		first, last schema.EventTime
		widest      time.Duration
		equal       bool
	}
	theirs := map[string]*span{}
	var all []schema.Click
	for _, clicks := range ours {
		all = append(all, clicks...)
	}
	slices.SortStableFunc(all, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
	for _, c := range all {
		s := theirs[c.SessionID]
		if s == nil {
			s = &span{first: c.EventTime, last: c.EventTime}
			theirs[c.SessionID] = s
		}
		distance := time.Duration(c.EventTime-s.last) * time.Millisecond
		if distance > gap {
			a.splitGaps = append(a.splitGaps, distance)
		}
		s.n, s.last, s.widest = s.n+1, c.EventTime, max(s.widest, distance)
	}
	equal := 0
	for _, clicks := range ours {
		count := map[string]int{}
		for _, c := range clicks {
			count[c.SessionID]++
		}
		for _, n := range count {
			a.pairs += pairsOf(n)
		}
		a.ourPairs += pairsOf(len(clicks))
		if s := theirs[clicks[0].SessionID]; len(count) == 1 && s.n == len(clicks) {
			s.equal = true
			equal++
		}
	}
	a.clicks, a.theirs, a.equalSessions = a.clicks+len(all), a.theirs+len(theirs), a.equalSessions+equal
	if equal == len(theirs) && equal == len(ours) {
		a.equalUsers++
	}
	twined := false
	for _, s := range theirs {
		a.theirPairs += pairsOf(s.n)
		near := false
		for _, o := range theirs {
			if o == s {
				continue
			}
			twined = twined || o.first <= s.last && s.first <= o.last
			distance := time.Duration(max(o.first-s.last, s.first-o.last)) * time.Millisecond
			if distance <= gap {
				near = true
			}
		}
		switch {
		case s.equal:
		case s.widest > gap:
			a.apart++
		case near:
			a.together++
		default:
			a.unknown++
		}
	}
	for i := 1; i < len(all); i++ {
		if d := time.Duration(all[i].EventTime-all[i-1].EventTime) * time.Millisecond; d <= gap && all[i].SessionID != all[i-1].SessionID {
			a.mergeGaps = append(a.mergeGaps, d)
		}
	}
	if twined {
		a.twined++
	}
}

func share(n, of int) string {
	return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 2, 64) + " %"
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2].Round(time.Second)
}

// cutSessions cuts clicks, without early parts and maxima.
func cutSessions(t *testing.T, clicks []schema.Click) (users map[string][][]schema.Click, rejected int) {
	t.Helper()
	c := withoutParts(window.DefaultConfig())
	c.MaxSessionAge, c.MaxSessionClicks = 1000*time.Hour, 1_000_000
	s := newSubject(t, c)
	users = map[string][][]schema.Click{}
	take := func(parts []schema.Part) {
		for _, p := range parts {
			if !p.Final || p.Number != 0 {
				t.Fatalf("%s has more than one part", p.SessionID())
			}
			users[p.UserID] = append(users[p.UserID], p.Clicks)
		}
	}
	for i := range clicks {
		parts, reason := s.add(clicks[i])
		take(parts)
		if reason != "" {
			rejected++
		}
	}
	take(s.end())
	return users, rejected
}

// TestPublishersSessions cuts a publisher's clicks and compares the sessions with the publisher's own.
//
// What differs is in the file and not in the cut. The file has the article pages only, each of them once a session, and no
// session of a single click: what the publisher's tracker saw between two clicks that are an hour apart is not there. And a
// user with two devices has two sessions of the publisher's side by side. A rule that cuts by the gap can know of neither.
// Every session that differs must be one of these.
func TestPublishersSessions(t *testing.T) {
	most := 1 << 30
	if raceEnabled || testing.Short() {
		most = 200_000
	}
	clicks := globoClicks(t, most)
	began := time.Now()
	users, rejected := cutSessions(t, clicks)
	cutting := time.Since(began)
	var a agreement
	for _, sessions := range users {
		a.add(window.DefaultConfig().Gap, sessions)
	}
	if a.clicks != len(clicks) || rejected != 0 {
		t.Errorf("%d clicks in sessions and %d rejected, of %d: the file is sorted, and has no click twice", a.clicks, rejected, len(clicks))
	}
	t.Logf("%d clicks of %d users in %v", a.clicks, a.users, cutting.Round(time.Millisecond))
	t.Logf("sessions                                               %8d   the publisher's %d", a.ours, a.theirs)
	t.Logf("the publisher's sessions that are equal                %8s   %d", share(a.equalSessions, a.theirs), a.equalSessions)
	t.Logf("users all of whose sessions are equal                  %8s   %d", share(a.equalUsers, a.users), a.equalUsers)
	t.Logf("pairs of clicks in one session                         %8s   precision, %s recall", share(a.pairs, a.ourPairs), share(a.pairs, a.theirPairs))
	t.Logf("not equal: clicks more than the gap apart in one       %8d   median distance %v of %d", a.apart, median(a.splitGaps), len(a.splitGaps))
	t.Logf("not equal: within the gap of another of the same user  %8d   median distance %v of %d; %d users have sessions side by side",
		a.together, median(a.mergeGaps), len(a.mergeGaps), a.twined)
	t.Logf("not equal: for another reason                          %8d", a.unknown)
	if a.unknown != 0 {
		t.Errorf("%d of the publisher's sessions are not ours, and neither a distance nor a neighbour explains it", a.unknown)
	}
	if float64(a.equalSessions) < 0.94*float64(a.theirs) || float64(a.equalUsers) < 0.90*float64(a.users) {
		t.Errorf("fewer sessions are equal than once were")
	}
}
