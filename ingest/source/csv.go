package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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
	columnCount
)

var columnNames = map[string]column{
	"user": columnUser, "user_id": columnUser,
	"item": columnItem, "item_id": columnItem,
	"ts": columnTime, "timestamp": columnTime,
	"session": columnSession, "session_id": columnSession,
	"action": columnAction, "event_id": columnEvent,
}

var csvActions = map[string]schema.Action{
	"pv": schema.ActionClick, "view": schema.ActionClick,
	"buy": schema.ActionPurchase, "transaction": schema.ActionPurchase,
	"addtocart": schema.ActionCart,
}

// csvStream turns the rows of a CSV file into clicks in JSON.
type csvStream struct {
	*lines
	separator byte
	width     int              // fields in a row
	at        [columnCount]int // which field is which column, -1 for none
	fields    []string
	value     []byte
	key       []byte
	last      schema.EventTime
}

func openCSV(l *lines) (Stream, error) {
	header, err := l.next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is empty: want a header such as user,item,ts and a row for each click", l.name)
	}
	if err != nil {
		return nil, err
	}
	header = bytes.TrimPrefix(header, []byte("\xef\xbb\xbf"))
	s := &csvStream{lines: l, separator: ','}
	for _, separator := range []byte(",;\t") {
		if bytes.IndexByte(header, separator) >= 0 {
			s.separator = separator
			break
		}
	}
	names, ok := split(nil, string(header), s.separator)
	if !ok {
		return nil, fmt.Errorf("%s: the header has a quote that does not end: %.80q", l.name, header)
	}
	s.width = len(names)
	for c := range s.at {
		s.at[c] = -1
	}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		c, known := columnNames[name]
		if !known {
			continue
		}
		if s.at[c] >= 0 {
			return nil, fmt.Errorf("%s: the header has both %q and %q: rename one of them", l.name, names[s.at[c]], names[i])
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
		slices.Sort(missing)
		return nil, fmt.Errorf("%s: its header %.80q has no column %s: rename its columns, or give the right --format",
			l.name, header, strings.Join(missing, ", "))
	}
	return s, nil
}

// Next returns the next row as a click, or, if the row is malformed, as it stands: the ingester then puts it aside with
// its bytes instead of it being lost here (I7).
func (s *csvStream) Next() (Outgoing, error) {
	line, err := s.next()
	if err != nil {
		return Outgoing{}, err
	}
	row := string(line) // the fields below are parts of it: one allocation a row
	var ok bool
	if s.fields, ok = split(s.fields[:0], row, s.separator); !ok || len(s.fields) != s.width || !utf8.ValidString(row) {
		return Outgoing{Value: line, EventTime: s.last}, nil
	}
	at, ok := parseTime(s.fields[s.at[columnTime]])
	if !ok {
		return Outgoing{Value: line, EventTime: s.last}, nil
	}
	c := schema.Click{
		UserID: s.fields[s.at[columnUser]], ItemID: s.fields[s.at[columnItem]], EventTime: at,
		Action:    schema.ActionClick,
		SessionID: s.optional(columnSession), EventID: s.optional(columnEvent),
	}
	if action := s.optional(columnAction); action != "" {
		if known, ok := csvActions[action]; ok {
			c.Action = known
		} else {
			c.Action = schema.Action(action)
		}
	}
	s.last = at
	s.key = append(s.key[:0], c.UserID...)
	s.value = EncodeJSON(s.value[:0], &c)
	return Outgoing{Key: s.key, Value: s.value, EventTime: at}, nil
}

func (s *csvStream) optional(c column) string {
	if i := s.at[c]; i >= 0 {
		return s.fields[i]
	}
	return ""
}

// split appends the fields of a row to dst. It reports false if a quote does not end or something follows its end.
func split(dst []string, row string, separator byte) ([]string, bool) {
	for {
		var f string
		if strings.HasPrefix(row, `"`) {
			var ok bool
			if f, row, ok = unquote(row[1:]); !ok || (row != "" && row[0] != separator) {
				return dst, false
			}
			dst = append(dst, f)
			if row == "" {
				return dst, true
			}
			row = row[1:]
			continue
		}
		end := strings.IndexByte(row, separator)
		if end < 0 {
			return append(dst, row), true
		}
		dst = append(dst, row[:end])
		row = row[end+1:]
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
