package page

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func everything() *Page {
	series := []Series{
		{Name: "fresh & <quick>", X: []float64{0, 10, 600, 3600}, Y: []float64{.5, .48, math.NaN(), .3}, Low: []float64{.4, .4, .3, .2}, High: []float64{.6, .6, .5, .4}},
		{Name: "late", Arm: 9, X: []float64{0, 10, 600, 3600}, Y: []float64{.5, .47, .4, .3}},
		{Name: "nothing at all", Arm: 2},
	}
	return &Page{Title: "What <recency> is worth", Subtitle: "a & b", Figures: []Figure{{"73.4 %", "recall@20", "of \"fresh\""}}, Foot: "the end",
		Sections: []Section{{Title: "All", Text: []string{"1 < 2"}, Blocks: []Block{
			Lines{Title: "over time", X: Axis{Kind: Time, Label: "UTC"}, Y: Axis{Percent: true}, Series: []Series{{Name: "x", X: []float64{1.7e12, 1.7e12 + 36e6}, Y: []float64{1, 2}}}},
			Lines{Title: "late", X: Axis{Kind: Delay}, Y: Axis{Percent: true, Zero: true}, Series: series, Markers: true},
			Grid{Points{Title: "cost", X: Axis{Kind: Log}, Points: []Point{{"a", 0, 10, 1}, {"b", 1, 10.1, 1}, {"c", 2, 1e6, 2}, {"not there", 3, math.Inf(1), 1}}, Half: true},
				Dots{Title: "slices", Arms: series, Groups: []Group{{"1–4", "12", []float64{.1, .1, math.NaN()}}, {"none", "", []float64{math.NaN(), math.NaN(), math.NaN()}}}}},
			Intervals{Title: "differences", Rows: []Interval{{"a", 1, -1, -2, 0.5, "−1.00", "p = 0.2"}, {"b", 2, math.NaN(), 0, 0, "–", ""}}},
			Table{Caption: "table", Head: []string{"arm", "x"}, Rows: [][]string{{"a<b", "1"}, {"c", "2"}}, Strong: [][]int{{1}}, Arms: []int{0, -1}},
			Fold{Title: "more", Blocks: []Block{Code{"command", "freshet replay --arm 'a:x=1' > /dev/null"}}},
		}}}}
}

func written(t *testing.T, p *Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A page is well formed, asks for nothing from elsewhere, escapes what it is given, draws no number that is none, and is the same twice.
func TestPage(t *testing.T) {
	text := written(t, everything())
	if text != written(t, everything()) {
		t.Error("the same page has other bytes")
	}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if token == nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			break
		}
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Local == "src" || a.Name.Local == "href" || e.Name.Local == "script" {
					t.Errorf("<%s %s=%q> asks for something else", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	for _, never := range []string{"NaN", "Inf", "<recency>", "a<b", "%!", "<quick>"} {
		if strings.Contains(text, never) {
			t.Errorf("it has %q", never)
		}
	}
	for _, want := range []string{"What &lt;recency&gt; is worth", "<strong>1</strong>", "prefers-color-scheme:dark", "@media print", "10 min", "nothing at all", "c1 d1"} {
		if !strings.Contains(text, want) {
			t.Errorf("it has no %q", want)
		}
	}
}

func TestTicks(t *testing.T) {
	labels := func(a Axis, n int, values ...float64) (s string) {
		for _, tick := range newScale(a, values, 0, 100).ticks(n) {
			s += tick.label + "|"
		}
		return s
	}
	at := float64(time.Date(2026, 5, 1, 22, 0, 0, 0, time.UTC).UnixMilli())
	for _, tc := range []struct {
		axis   Axis
		n      int
		values []float64
		want   string
	}{
		{Axis{}, 5, []float64{0, 10}, "0|2|4|6|8|10|"},
		{Axis{}, 5, []float64{1000, 9000}, "2 000|4 000|6 000|8 000|"},
		{Axis{Percent: true}, 4, []float64{.701, .742}, "70 %|71 %|72 %|73 %|74 %|"},
		{Axis{Percent: true}, 4, []float64{.7011, .7019}, "70.12 %|70.14 %|70.16 %|70.18 %|"},
		{Axis{Kind: Log}, 6, []float64{10, 1000}, "10|20|50|100|200|500|1 k|"},
		{Axis{Kind: Log}, 6, []float64{100, 200}, "100|120|150|200|"},
		{Axis{Kind: Log}, 3, []float64{1, 1e9}, "1|10|100|1 k|10 k|100 k|1 M|10 M|100 M|1 G|"},
		{Axis{Kind: Delay}, 6, []float64{0, 86400}, "none|10 s|1 min|10 min|1 h|6 h|1 d|"},
		{Axis{Kind: Time}, 4, []float64{at, at + 4*3600e3}, "22:00|23:00|2 May|01:00|02:00|"},
		{Axis{Kind: Time}, 6, []float64{at, at + 6*86400e3}, "2 May|3 May|4 May|5 May|6 May|7 May|"},
	} {
		if got := labels(tc.axis, tc.n, tc.values...); got != tc.want {
			t.Errorf("%+v %v: %q, want %q", tc.axis, tc.values, got, tc.want)
		}
	}
	for x, want := range map[float64]string{0: "0", 999: "999", 1234567: "1 234 567", -1234: "−1 234", -0.2: "0"} {
		if got := Count(x, 0); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}

// Labels are moved apart, keep their order, stay within the frame, and move no farther than they must.
func TestSpread(t *testing.T) {
	if got := spread([]float64{50, 52, 90}, 10, 0, 100); fmt.Sprint(got) != "[46 56 90]" {
		t.Errorf("%v", got)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		want := make([]float64, 1+rng.IntN(12))
		for i := range want {
			want[i] = 20 + rng.Float64()*60
		}
		got := spread(want, 8, 0, 100)
		order := slices.Clone(got)
		slices.Sort(order)
		for i, y := range order {
			if y < -1e-9 || y > 100+1e-9 || i > 0 && y-order[i-1] < 8-1e-9 {
				t.Fatalf("%v of %v", got, want)
			}
		}
		for i := range want {
			for j := range want {
				if want[i] < want[j] && got[i] > got[j] {
					t.Fatalf("%v of %v: the order is lost", got, want)
				}
			}
		}
	}
}

// Names of points that lie together do not cover one another.
func TestNamesOfPoints(t *testing.T) {
	var points []Point
	for i := range 8 {
		points = append(points, Point{fmt.Sprintf("arm number %d", i), i, 100 + float64(i%3), .5 + .001*float64(i)})
	}
	text := written(t, &Page{Sections: []Section{{Blocks: []Block{Points{X: Axis{Kind: Log}, Points: points}}}}})
	found := regexp.MustCompile(`<text class="tint[^"]*" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)<`).FindAllStringSubmatch(text, -1)
	if len(found) != 8 {
		t.Fatalf("%d names", len(found))
	}
	var boxes []box
	for _, f := range found {
		var x, y float64
		fmt.Sscan(f[1], &x)
		fmt.Sscan(f[2], &y)
		w := textWidth(f[4])
		b := box{x, y - 12, x + w, y + 2}
		if f[3] == "end" {
			b.x0, b.x1 = x-w, x
		}
		for i, o := range boxes {
			if b.meets(o) {
				t.Errorf("%s covers %s", f[4], found[i][4])
			}
		}
		boxes = append(boxes, b)
	}
}
