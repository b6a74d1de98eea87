package evaluate

import (
	"slices"
	"strings"
	"time"
)

const (
	byClicks = iota
	byAge
	byAction
	byRepeat
	byPlace
	byScene
	slicings
)

var (
	sliceNames  = [slicings]string{"clicks", "age", "action", "repeat", "place", "scene"}
	clicksNames = []string{"0", "1-4", "5-19", "20-99", "100-999", "1000+"}
	clicksFrom  = [...]int64{1, 5, 20, 100, 1000}
	ageNames    = []string{"<10m", "<1h", "<6h", "<1d", "<7d", "older"}
	ageFrom     = [...]time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}
	repeatNames = []string{"new", "in_session", "earlier"}
	placeNames  = []string{"1", "2", "3", "4-5", "6-10", "11+"}
	placeFrom   = [...]int64{2, 3, 4, 6, 11}
)

const (
	maxActions = 8
	maxScenes  = 16
	otherName  = "other" // of the names beyond a bound
)

// slicing is one way to take the tests apart. Its classes are fixed, or they are the names that came first, up to limit, and "other".
type slicing struct {
	names []string
	limit int       // 0: the names are fixed
	sums  []float64 // (names, stride)
}

func newSlicings(w int) (all [slicings]slicing) {
	for by, names := range [slicings][]string{byClicks: clicksNames, byAge: ageNames, byRepeat: repeatNames, byPlace: placeNames} {
		all[by] = slicing{names: names, sums: make([]float64, len(names)*w)}
	}
	all[byAction].limit, all[byScene].limit = maxActions, maxScenes
	return all
}

func (s *slicing) add(class int, v []float64) { addTo(s.sums[class*len(v):][:len(v)], v) }

// addName adds to the class of a name. "Other" comes behind the names that came first, so a real name of that spelling joins it only there.
func (s *slicing) addName(name string, v []float64) {
	name = strings.ToValidUTF8(name, "\ufffd") // as JSON would make it, in which the names are kept
	class := slices.Index(s.names, name)
	switch {
	case class >= 0:
	case len(s.names) < s.limit:
		class = len(s.names)
		s.names = append(s.names, name)
		s.sums = appendZeros(s.sums, len(v))
	default:
		if len(s.names) == s.limit {
			s.names = append(s.names, otherName)
			s.sums = appendZeros(s.sums, len(v))
		}
		class = s.limit
	}
	s.add(class, v)
}

// classOf returns in which class x falls; from are where the classes behind the first begin.
func classOf[T int64 | time.Duration](from []T, x T) int {
	class := 0
	for class < len(from) && x >= from[class] {
		class++
	}
	return class
}

func repeatOf(t Target) int {
	switch {
	case t.InSession:
		return 1
	case t.Earlier:
		return 2
	}
	return 0
}

// Slice is a group of tests, or of targets as tests of their own, that have something in common.
type Slice struct {
	By    string `json:"by"`    // clicks, age, action, repeat (of a target); place, scene (of a test)
	Class string `json:"class"` // "" is a test without a scene
	Group
}
