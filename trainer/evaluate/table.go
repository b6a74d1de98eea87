package evaluate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// The state of an Evaluation is a table of one column, the numbers of all its parts one after the other, those of no fixed number behind their
// number; the names of classes stand in the metadata. One method of each part, state, says which and in what order, for writing and for reading.
//
//	values  float64
const tableFormat = 1

// tape is written by, or read into, what goes along it.
type tape struct {
	reading bool
	values  []float64
	names   []string
	err     error
}

func (t *tape) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("%w: evaluation: %s", schema.ErrCorrupt, fmt.Sprintf(format, args...))
	}
}

// fixed is for numbers of which there are always as many.
func (t *tape) fixed(v []float64) {
	switch {
	case !t.reading:
		t.values = append(t.values, v...)
	case t.err != nil:
	case len(t.values) < len(v):
		t.fail("it ends early")
	default:
		copy(v, t.values)
		t.values = t.values[len(v):]
	}
}

// number is a whole number from low to high; high is at most 2^52.
func (t *tape) number(n *int64, low, high int64) {
	v := [1]float64{float64(*n)}
	t.fixed(v[:])
	if !t.reading || t.err != nil {
		return
	}
	if x := v[0]; !(x >= float64(low) && x <= float64(high)) || x != float64(int64(x)) {
		t.fail("%v is not a whole number between %d and %d", x, low, high)
		return
	}
	*n = int64(v[0])
}

// rows is for up to most rows of w numbers each.
func (t *tape) rows(v *[]float64, w, most int) {
	n := int64(len(*v) / w)
	t.number(&n, 0, int64(most))
	if !t.reading {
		t.fixed(*v)
		return
	}
	if t.err == nil && n > int64(len(t.values)/w) {
		t.fail("%d rows of %d numbers, but it ends early", n, w)
	}
	if t.err == nil {
		*v = slices.Clone(t.values[:n*int64(w)])
		t.values = t.values[n*int64(w):]
	}
}

// whole is for up to most whole numbers.
func (t *tape) whole(v *[]int64, most int, low, high int64) {
	n := int64(len(*v))
	t.number(&n, 0, int64(most))
	if t.reading && t.err == nil {
		if n > int64(len(t.values)) {
			t.fail("%d numbers, but it ends early", n)
			return
		}
		*v = make([]int64, n)
	}
	for i := range *v {
		t.number(&(*v)[i], low, high)
	}
}

// strings is for n names.
func (t *tape) strings(v *[]string, n int) {
	switch {
	case !t.reading:
		t.names = append(t.names, *v...)
	case t.err != nil:
	case n > len(t.names):
		t.fail("names are missing")
	default:
		*v, t.names = slices.Clone(t.names[:n]), t.names[n:]
	}
}

const most = int64(maxExact) // of a number on a tape

func (c *curve) state(t *tape, w int) {
	t.number(&c.width, 0, most)
	t.rows(&c.points, w, maxPoints)
}

func (p *periods) state(t *tape, w int) {
	t.number(&p.lengthMs, 1, most)
	latest := most/max(1, p.lengthMs) + 1
	t.whole(&p.numbers, maxPoints, -latest, latest)
	t.rows(&p.points, w, maxPoints)
	if t.err == nil && (len(p.points) != len(p.numbers)*w || !slices.IsSorted(p.numbers)) {
		t.fail("%d periods with %d points, or not in order", len(p.numbers), len(p.points)/w)
	}
}

func (s *slicing) state(t *tape, w int) {
	if s.limit == 0 {
		t.fixed(s.sums)
		return
	}
	t.rows(&s.sums, w, s.limit+1)
	t.strings(&s.names, len(s.sums)/w)
}

func (c *coverage) state(t *tape) {
	begun := int64(0)
	if c.begun {
		begun = 1
	}
	t.number(&begun, 0, 1)
	c.begun = begun == 1
	t.number(&c.number, -most, most)
	t.number(&c.joined, 1, most)
	t.fixed(c.open)
	t.rows(&c.points, len(c.open), maxPoints)
	for arm := range c.bits {
		rows := rowsOf(c.bits[arm], nil)
		t.rows(&rows, 1, maxRow)
		if !t.reading || t.err != nil {
			continue
		}
		for i, row := range rows {
			if !(row >= 0 && row < maxRow) || row != float64(int(row)) || i > 0 && row <= rows[i-1] {
				t.fail("rows are not in order")
				return
			}
		}
		for _, row := range rows {
			c.set(arm, int(row))
		}
	}
}

func (b *board) state(t *tape, w int) {
	t.number(&b.untested, 0, most)
	t.fixed(b.whole)
	t.fixed(b.faded)
	b.curve.state(t, w)
	b.periods.state(t, w)
	for by := range b.slices {
		b.slices[by].state(t, w)
	}
	t.fixed(b.pairs.alone)
}

func (e *Evaluation) state(t *tape) {
	for k := range e.boards {
		e.boards[k].state(t, len(e.test))
	}
	e.coverage.state(t)
}

// settings is what must be the same where a state is read as where it was written.
func (e *Evaluation) settings() string {
	arms, err := json.Marshal(e.cfg.Arms)
	if err != nil {
		panic(fmt.Sprintf("evaluate: %v", err)) // strings always have a JSON form
	}
	return fmt.Sprintf("arms=%s fading=%s period=%v coverage_period=%v", arms, strconv.FormatFloat(e.cfg.Fading, 'g', -1, 64), e.cfg.Period, e.cfg.CoveragePeriod)
}

// Table returns the state, for a checkpoint.
func (e *Evaluation) Table() schema.Table {
	t := &tape{}
	e.state(t)
	names, err := json.Marshal(t.names)
	if err != nil {
		panic(fmt.Sprintf("evaluate: %v", err))
	}
	return schema.Table{
		Columns: []schema.Column{{Name: "values", Data: t.values}},
		Meta:    [][2]string{{"format", strconv.Itoa(tableFormat)}, {"settings", e.settings()}, {"names", string(names)}},
	}
}

// Restore returns an Evaluation that goes on from a table of the same Config. Any fault is a schema.ErrCorrupt, also another Config.
func Restore(cfg Config, table schema.Table) (*Evaluation, error) {
	e := New(cfg)
	if format := table.MetaValue("format"); format != strconv.Itoa(tableFormat) {
		return nil, fmt.Errorf("%w: evaluation: format %q, want %d", schema.ErrCorrupt, format, tableFormat)
	}
	if there, here := table.MetaValue("settings"), e.settings(); there != here {
		return nil, fmt.Errorf("%w: evaluation: it has %s, want %s", schema.ErrCorrupt, strings.ToValidUTF8(there, "?"), here)
	}
	t := &tape{reading: true}
	var err error
	if t.values, err = schema.Col[[]float64](table, "values"); err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	if err := json.Unmarshal([]byte(table.MetaValue("names")), &t.names); err != nil {
		return nil, fmt.Errorf("%w: evaluation: names: %w", schema.ErrCorrupt, err)
	}
	if e.state(t); t.err == nil && len(t.values)+len(t.names) > 0 {
		t.fail("%d numbers and %d names too many", len(t.values), len(t.names))
	}
	if t.err != nil {
		return nil, t.err
	}
	return e, nil
}
