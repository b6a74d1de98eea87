package source

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
)

// ottoStream turns the sessions of the OTTO data set (otto/recsys-dataset on Kaggle) into one click an event. A line is
//
//	{"session":42,"events":[{"aid":59625,"ts":1661724000278,"type":"clicks"}]}
//
// aid is the article, ts in milliseconds; a type is clicks, carts or orders. A session is a user, for whom the set has
// nothing else.
type ottoStream struct {
	*lines
	json    jx.Decoder // of the line
	one     jx.Decoder // of an event
	session string
	events  []ottoEvent // of the line
	given   int         // of them
	value   []byte
	key     []byte
	last    schema.EventTime
}

// ottoEvent is an event as it stands in the line, and as a click where it is one.
type ottoEvent struct {
	raw   []byte
	click schema.Click
	ok    bool
}

var ottoActions = map[string]schema.Action{"clicks": schema.ActionClick, "carts": schema.ActionCart, "orders": schema.ActionPurchase}

func openOTTO(l *lines) (Stream, error) {
	first, err := l.firstLine(`a session such as {"session":1,"events":[{"aid":1,"ts":1661724000278,"type":"clicks"}]} in each line`)
	if err != nil {
		return nil, err
	}
	s := &ottoStream{lines: l}
	if err := s.take(first); err != nil {
		return nil, fmt.Errorf("%s is no file of otto: %w: its first line is %.120q", l.name, err, first)
	}
	return s, nil
}

// Next returns the next event as a click. A line that is no session, and an event that is no click, is passed on as it
// stands: the ingester puts it aside (I7).
func (s *ottoStream) Next() (Outgoing, error) {
	for s.given == len(s.events) {
		line, err := s.next()
		if err != nil {
			return Outgoing{}, err
		}
		if err := s.take(line); err != nil {
			s.events = s.events[:0]
			s.given = 0
			return Outgoing{Value: line, EventTime: s.last}, nil
		}
	}
	e := &s.events[s.given]
	s.given++
	if !e.ok {
		return Outgoing{Value: e.raw, EventTime: s.last}, nil
	}
	s.last = e.click.EventTime
	s.key = append(s.key[:0], s.session...)
	s.value = EncodeJSON(s.value[:0], &e.click)
	return Outgoing{Key: s.key, Value: s.value, EventTime: e.click.EventTime}, nil
}

// take reads a line. Its events are valid until the next line is.
func (s *ottoStream) take(line []byte) error {
	s.events, s.given, s.session = s.events[:0], 0, ""
	j := &s.json
	j.ResetBytes(line)
	if j.Next() != jx.Object {
		return errors.New("it is no JSON object")
	}
	fields, err := j.ObjIter()
	if err != nil {
		return err
	}
	listed := false
	for fields.Next() {
		switch string(fields.Key()) {
		case "session":
			s.session, err = ottoID(j)
		case "events":
			listed, err = true, s.list(j)
		default:
			err = j.Skip()
		}
		if err != nil {
			return err
		}
	}
	switch {
	case fields.Err() != nil:
		return fields.Err()
	case !errors.Is(j.Skip(), io.EOF):
		return errors.New("there is more after the object")
	case s.session == "":
		return errors.New(`it has no "session"`)
	case !listed:
		return errors.New(`it has no "events"`)
	}
	for i := range s.events {
		s.events[i].click.UserID = s.session
	}
	return nil
}

// list reads the events of a line.
func (s *ottoStream) list(j *jx.Decoder) error {
	events, err := j.ArrIter()
	if err != nil {
		return err
	}
	s.events = s.events[:0] // a second list replaces the first, as in JSON elsewhere
	for events.Next() {
		raw, err := j.Raw()
		if err != nil {
			return err
		}
		e := ottoEvent{raw: raw}
		e.ok = s.event(raw, &e.click)
		s.events = append(s.events, e)
	}
	return events.Err()
}

// event makes a click of an event, but for its user.
func (s *ottoStream) event(raw jx.Raw, c *schema.Click) bool {
	j := &s.one
	j.ResetBytes(raw)
	if j.Next() != jx.Object {
		return false
	}
	fields, err := j.ObjIter()
	for err == nil && fields.Next() {
		switch string(fields.Key()) {
		case "aid":
			c.ItemID, err = ottoID(j)
		case "ts":
			var n int64
			if n, err = j.Int64(); n > 0 && n < secondsBelow {
				n *= 1000 // the set has also been published in seconds
			}
			c.EventTime = schema.EventTime(n)
		case "type":
			var name []byte
			name, err = j.StrBytes()
			var known bool
			if c.Action, known = ottoActions[string(name)]; !known {
				c.Action = schema.Action(name)
			}
		default:
			err = j.Skip()
		}
	}
	return err == nil && fields.Err() == nil && c.ItemID != "" && c.EventTime > 0 && c.Action != "" && utf8.ValidString(string(c.Action))
}

// ottoID reads a number.
func ottoID(j *jx.Decoder) (string, error) {
	n, err := j.Int64()
	return strconv.FormatInt(n, 10), err
}
