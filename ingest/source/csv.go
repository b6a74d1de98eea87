package source

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
)

// column is a column of a CSV file that is read.
type column int

const (
	columnUser column = iota
	columnItem
	columnTime
	columnSession
	columnAction
	columnEvent
	columnScene
	columnCategory
	columnSeller
	columnPrice
	columnRating // stars; kept in the context
	columnDay    // the time is in milliseconds since its beginning
	columnCount
	columnNone column = -1 // it is there and not read
)

// csvNames are the columns that a plain CSV file may have.
var csvNames = map[string]column{
	"user": columnUser, "user_id": columnUser,
	"item": columnItem, "item_id": columnItem,
	"ts": columnTime, "timestamp": columnTime,
	"session": columnSession, "session_id": columnSession,
	"action": columnAction, "event_id": columnEvent, "scene": columnScene,
	"category": columnCategory, "seller": columnSeller, "price": columnPrice,
}

// csvActions are what the actions of well-known public files are called here.
var csvActions = map[string]schema.Action{
	"pv": schema.ActionClick, "view": schema.ActionClick,
	"buy": schema.ActionPurchase, "transaction": schema.ActionPurchase,
	"addtocart": schema.ActionCart,
}

// csvStream turns the rows of a file with separated columns into clicks in JSON.
type csvStream struct {
	*lines
	layout
	width  int              // fields in a row
	at     [columnCount]int // which field is which column, -1 for none
	head   []byte           // the header; nil without one
	first  []byte           // read at open, to be given by the first Next; nil afterwards
	fields []string
	value  []byte
	key    []byte
	rating []byte
	last   schema.EventTime
}

// openCSV opens a file with a header. fields are the columns whose names are not their own.
func openCSV(l *lines, fields map[string]string) (Stream, error) {
	header, err := l.firstLine("a header such as user,item,ts and a row for each click")
	if err != nil {
		return nil, err
	}
	s := newCSV(l, layout{separator: ",", header: true, action: schema.ActionClick, actions: csvActions})
	s.head = bytes.Clone(header)
	for _, separator := range []string{",", ";", "\t"} {
		if bytes.Contains(header, []byte(separator)) {
			s.separator = separator
			break
		}
	}
	columns := names(string(header), s.separator)
	if columns == nil {
		return nil, fmt.Errorf("%s: the header has a quote that does not end: %.80q", l.name, header)
	}
	s.width = len(columns)
	known, err := csvColumns(fields)
	if err != nil {
		return nil, err
	}
	for i, name := range columns {
		c, ok := known[name]
		if !ok {
			continue
		}
		if s.at[c] >= 0 {
			return nil, fmt.Errorf("%s: the header has both %q and %q: rename one of them", l.name, columns[s.at[c]], name)
		}
		s.at[c] = i
	}
	var missing []string
	for c, names := range map[column]string{columnUser: "user (or user_id)", columnItem: "item (or item_id)", columnTime: "ts (or timestamp)"} {
		if s.at[c] < 0 {
			missing = append(missing, names)
		}
	}
	if len(missing) > 0 {
		next := "rename its columns, or say in source.fields how they are called, or give the right --format"
		if set := looksLike(string(header)); set != "" {
			next = "it is a file of " + set + ": give --format " + set
		}
		slices.Sort(missing)
		return nil, fmt.Errorf("%s: its header %.80q has no column %s: %s", l.name, header, strings.Join(missing, ", "), next)
	}
	return s, nil
}

// csvColumns returns what the names of columns mean, in lower case.
func csvColumns(fields map[string]string) (map[string]column, error) {
	known := make(map[string]column, len(csvNames)+len(fields))
	for name, c := range csvNames {
		known[name] = c
	}
	for name, from := range fields {
		c, ok := csvNames[name]
		if !ok || name == "user" || name == "item" || name == "ts" || name == "session" {
			return nil, fmt.Errorf("fields: %q is no field of a click that a CSV file may have: they are user_id, item_id, timestamp, session_id, action, event_id, scene, category, seller, price", name)
		}
		for other, o := range csvNames { // its own names mean nothing any more
			if o == c {
				delete(known, other)
			}
		}
		defer func() { // after all have lost their own names, which may be those of others
			if from != decode.NotRead {
				known[strings.ToLower(from)] = c
			}
		}()
	}
	return known, nil
}

// openPreset opens a file of the data set called name.
func openPreset(l *lines, name string) (Stream, error) {
	first, err := l.firstLine("a file of " + name)
	if err != nil {
		return nil, err
	}
	var fault error
	nearest := math.MaxInt
	for _, lay := range presets[name] {
		s := newCSV(l, lay)
		take := s.takeFirst
		if lay.header {
			take = s.takeHeader
		}
		distance, err := take(first)
		if err == nil {
			return s, nil
		}
		if distance < nearest {
			nearest, fault = distance, err
		}
	}
	return nil, fmt.Errorf("%s is no file of %s: %w: its first line is %.120q", l.name, name, fault, first)
}

func newCSV(l *lines, lay layout) *csvStream {
	s := &csvStream{lines: l, layout: lay}
	for c := range s.at {
		s.at[c] = -1
	}
	return s
}

// takeHeader finds the columns in the header. With an error it says how many are not there.
func (s *csvStream) takeHeader(header []byte) (distance int, err error) {
	columns := names(string(header), s.separator)
	if missing := s.lacks(columns); missing != nil {
		return len(missing), fmt.Errorf("it has no column %s", strings.Join(missing, ", "))
	}
	for i, c := range s.roles {
		if c != columnNone {
			s.at[c] = slices.Index(columns, strings.ToLower(s.columns[i]))
		}
	}
	s.width, s.head = len(columns), bytes.Clone(header)
	return 0, nil
}

// takeFirst tries the columns on the first row. With an error it says how far that is from having them.
func (s *csvStream) takeFirst(first []byte) (distance int, err error) {
	s.width = len(s.columns)
	for i, c := range s.roles {
		if c != columnNone {
			s.at[c] = i
		}
	}
	row, ok := split(nil, string(first), s.separator)
	if !ok || len(row) != s.width {
		return 1 + max(len(row)-s.width, s.width-len(row)), fmt.Errorf("it has %d columns, want %d: %s", len(row), s.width, strings.Join(s.columns, s.separator))
	}
	var c schema.Click
	if wrong := s.click(row, &c); wrong != columnNone {
		return 1, fmt.Errorf("column %d (%s) is %.40q", s.at[wrong]+1, s.columns[s.at[wrong]], row[s.at[wrong]])
	}
	s.first = bytes.Clone(first)
	return 0, nil
}

// Next returns the next row as a click, or, if the row is malformed, as it stands: the ingester then puts it aside with
// its bytes instead of it being lost here (I7).
func (s *csvStream) Next() (Outgoing, error) {
	line := s.first
	s.first = nil
	for line == nil {
		var err error
		if line, err = s.next(); err != nil {
			return Outgoing{}, err
		}
		if s.head != nil && bytes.Equal(line, s.head) {
			line = nil // here another file of the same layout was put behind the one before
		}
	}
	row := string(line) // the fields below are parts of it: one allocation a row
	var ok bool
	var c schema.Click
	if s.fields, ok = split(s.fields[:0], row, s.separator); !ok || len(s.fields) != s.width || !utf8.ValidString(row) || s.click(s.fields, &c) != columnNone {
		return Outgoing{Value: line, EventTime: s.last}, nil
	}
	s.last = c.EventTime
	s.key = append(s.key[:0], c.UserID...)
	s.value = EncodeJSON(s.value[:0], &c)
	return Outgoing{Key: s.key, Value: s.value, EventTime: c.EventTime}, nil
}

// click makes a click of the fields of a row. It returns the column that is wrong, or columnNone.
func (s *csvStream) click(row []string, c *schema.Click) (wrong column) {
	get := func(of column) string {
		if i := s.at[of]; i >= 0 && (s.missing == nil || s.missing[of] != row[i]) {
			return row[i]
		}
		return ""
	}
	c.UserID, c.ItemID, c.SessionID, c.EventID, c.Scene = get(columnUser), get(columnItem), get(columnSession), get(columnEvent), get(columnScene)
	c.Item.Category, c.Item.Seller = get(columnCategory), get(columnSeller)
	var ok bool
	if s.at[columnDay] >= 0 {
		if c.EventTime, wrong = parseTimeOfDay(get(columnDay), get(columnTime)); wrong != columnNone {
			return wrong
		}
	} else if c.EventTime, ok = parseTime(get(columnTime)); !ok {
		return columnTime
	}
	c.Action = s.action
	if action := get(columnAction); action != "" {
		if c.Action, ok = s.actions[action]; !ok {
			c.Action = schema.Action(action)
		}
	}
	if price := get(columnPrice); price != "" {
		if c.Item.Price, ok = parseNumber(price); !ok {
			return columnPrice
		}
	}
	if rating := get(columnRating); rating != "" {
		stars, ok := parseNumber(rating)
		if !ok {
			return columnRating
		}
		s.rating = strconv.AppendFloat(append(s.rating[:0], `{"rating":`...), stars, 'g', -1, 64)
		s.rating = append(s.rating, '}')
		c.Context = s.rating
	}
	return columnNone
}

func parseNumber(s string) (float64, bool) {
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil && !math.IsInf(x, 0) && !math.IsNaN(x)
}

// split appends the fields of a row to dst. It reports false if a quote does not end or something follows its end.
func split(dst []string, row, separator string) ([]string, bool) {
	for {
		var f string
		if strings.HasPrefix(row, `"`) {
			var ok bool
			if f, row, ok = unquote(row[1:]); !ok || (row != "" && !strings.HasPrefix(row, separator)) {
				return dst, false
			}
			dst = append(dst, f)
			if row == "" {
				return dst, true
			}
			row = row[len(separator):]
			continue
		}
		end := strings.Index(row, separator)
		if end < 0 {
			return append(dst, row), true
		}
		dst = append(dst, row[:end])
		row = row[end+len(separator):]
	}
}

// unquote returns the text up to the closing quote, and what follows it. Two quotes stand for one.
func unquote(s string) (field, rest string, ok bool) {
	end := strings.IndexByte(s, '"')
	if end < 0 {
		return "", "", false
	}
	if end+1 == len(s) || s[end+1] != '"' {
		return s[:end], s[end+1:], true
	}
	var b strings.Builder
	for {
		b.WriteString(s[:end])
		s = s[end+1:]
		if s == "" || s[0] != '"' {
			return b.String(), s, true
		}
		b.WriteByte('"')
		s = s[1:]
		if end = strings.IndexByte(s, '"'); end < 0 {
			return "", "", false
		}
	}
}

// secondsBelow divides seconds from milliseconds: as seconds it is the year 5138, as milliseconds it is 1973.
const secondsBelow = 100_000_000_000

// parseTime reads seconds (below secondsBelow, a fraction is allowed), milliseconds, or RFC 3339. What is finer than a
// millisecond is cut off.
func parseTime(s string) (schema.EventTime, bool) {
	whole, digits := int64(0), 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		if digits == 18 { // more do not fit, and are no time
			return 0, false
		}
		whole = whole*10 + int64(s[digits]-'0')
		digits++
	}
	fraction, hasFraction := strings.CutPrefix(s[digits:], ".")
	if digits == 0 || (s[digits:] != "" && !hasFraction) {
		at, err := time.Parse(time.RFC3339, s)
		return schema.EventTime(at.UnixMilli()), err == nil
	}
	millis := int64(0)
	for i, scale := 0, int64(100); i < len(fraction); i++ {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0, false
		}
		millis += int64(fraction[i]-'0') * scale
		scale /= 10
	}
	if whole < secondsBelow {
		return schema.EventTime(whole*1000 + millis), true
	}
	return schema.EventTime(whole), true
}

// parseTimeOfDay reads a day as 2016-05-09 and milliseconds since its beginning.
func parseTimeOfDay(day, millis string) (schema.EventTime, column) {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0, columnDay
	}
	n, err := strconv.ParseInt(millis, 10, 32) // 24 days; the longest sessions have two
	if err != nil || n < 0 {
		return 0, columnTime
	}
	return schema.EventTime(at.UnixMilli() + n), columnNone
}
