package replica

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
)

// decodeQuery reads the request of a URL's query. A parameter that is given twice is refused: which one counts would be a guess.
func decodeQuery(raw string) (Request, error) {
	q := Request{K: defaultK}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, invalid("", "the query of the URL cannot be read: escape what is not a letter or a digit")
	}
	for _, p := range []struct {
		name string
		into *string
	}{{"user_id", &q.UserID}, {"scene", &q.Scene}} {
		given := values[p.name]
		switch {
		case len(given) > 1:
			return q, twice(p.name)
		case len(given) == 1 && !utf8.ValidString(given[0]):
			return q, invalid(p.name, "%s is not valid UTF-8", p.name)
		case len(given) == 1:
			*p.into = given[0]
		}
	}
	if q.UserID == "" {
		return q, invalid("user_id", "user_id is missing")
	}
	if given := values["k"]; len(given) > 1 {
		return q, twice("k")
	} else if len(given) == 1 {
		if q.K, err = strconv.Atoi(given[0]); err != nil {
			return q, invalid("k", "k must be a whole number from 1 to %d", maxK)
		}
	}
	return q, q.check()
}

func twice(field string) *fault { return invalid(field, "%s is given more than once", field) }

// decodeBody reads the one JSON object of a body with read, and refuses what is not JSON from the first byte to the last.
func decodeBody(j *jx.Decoder, body []byte, read func() error) error {
	if !utf8.Valid(body) {
		return &fault{code: codeMalformed, message: "the body is not valid UTF-8"}
	}
	j.ResetBytes(body)
	if t := j.Next(); t != jx.Object && t != jx.Invalid {
		return invalid("", "the body must be a JSON object, not a JSON %s", t)
	}
	if err := read(); err != nil {
		if f := new(fault); errors.As(err, &f) {
			return f
		}
		return malformed(err)
	}
	if err := j.Skip(); !errors.Is(err, io.EOF) {
		return &fault{code: codeMalformed, message: "the body has more after its JSON object"}
	}
	return nil
}

func malformed(err error) *fault {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault{code: codeMalformed, message: "the body is not JSON: it ends too early"}
	}
	text := err.Error()
	return &fault{code: codeMalformed, message: fmt.Sprintf("the body is not JSON: %.200s", text)}
}

// requestFields are the fields of a request and, in the bits of their places, which of them were seen: one that comes twice is refused.
var requestFields = []string{"user_id", "clicks", "k", "scene", "exclude", "exclude_seen", "filter", "interests"}

// decodeRequest reads a request. now stands in for timestamps that were left out. A null is an absent value. Errors are faults, or jx's of text that is not JSON.
func decodeRequest(j *jx.Decoder, now time.Time) (Request, error) {
	q := Request{K: defaultK}
	err := object(j, "", requestFields, func(name string) (err error) {
		switch name {
		case "user_id":
			q.UserID, err = text(j, name)
		case "clicks":
			q.Clicks, err = clicks(j, now)
		case "k":
			err = whole(j, name, &q.K)
		case "scene":
			q.Scene, err = text(j, name)
		case "exclude":
			q.Exclude, err = texts(j, name, maxExclude)
		case "exclude_seen":
			q.ExcludeSeen, err = truth(j, name)
		case "filter":
			q.Filter, err = filter(j)
		case "interests":
			err = whole(j, name, &q.Interests)
		}
		return err
	})
	if err != nil {
		return q, err
	}
	return q, q.check()
}

func filter(j *jx.Decoder) (f Filter, err error) {
	err = object(j, "filter", []string{"category", "allow"}, func(name string) (err error) {
		switch name {
		case "category":
			f.Category, err = texts(j, name, maxCategories)
		case "allow":
			f.Allow, err = texts(j, name, maxAllow)
		}
		return err
	})
	return f, err
}

// clicks reads the list of clicks into the order of their times.
func clicks(j *jx.Decoder, now time.Time) (out []RequestClick, err error) {
	err = array(j, "clicks", maxClicks, func(int) error {
		c := RequestClick{Action: schema.ActionClick, Timestamp: schema.EventTime(now.UnixMilli())}
		err := object(j, "", clickFields, func(name string) (err error) {
			switch name {
			case "item_id":
				c.ItemID, err = id(j, name)
			case "action":
				var action string
				if action, err = id(j, name); action != "" {
					c.Action = schema.Action(action)
				}
			case "timestamp":
				c.Timestamp, err = timestamp(j, now)
			}
			return err
		})
		if err == nil && c.ItemID == "" {
			err = invalid("item_id", "item_id is missing")
		}
		out = append(out, c)
		return err
	})
	slices.SortStableFunc(out, func(a, b RequestClick) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	return out, err
}

var clickFields = []string{"item_id", "action", "timestamp"}

// id reads a string that is not longer than ids are.
func id(j *jx.Decoder, name string) (string, error) {
	s, err := text(j, name)
	if err == nil {
		err = checkID(name, s)
	}
	return s, err
}

// timestamp reads epoch milliseconds or RFC 3339.
func timestamp(j *jx.Decoder, now time.Time) (schema.EventTime, error) {
	bad := func(format string, args ...any) (schema.EventTime, error) {
		return 0, invalid("timestamp", "timestamp "+format, args...)
	}
	var at schema.EventTime
	switch j.Next() {
	case jx.Null:
		return schema.EventTime(now.UnixMilli()), j.Null()
	case jx.String:
		s, err := j.StrBytes()
		if err != nil {
			return 0, err
		}
		t, err := time.Parse(time.RFC3339Nano, string(s))
		if err != nil {
			return bad("%.40q is not RFC 3339, as in 2026-01-02T15:04:05Z", s)
		}
		at = schema.EventTime(t.UnixMilli())
	case jx.Number:
		n, err := number(j)
		if err != nil {
			return 0, err
		}
		ms, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return bad("must be whole milliseconds since 1970, or RFC 3339")
		}
		if ms == 0 {
			return schema.EventTime(now.UnixMilli()), nil
		}
		at = schema.EventTime(ms)
	default:
		if err := j.Skip(); err != nil {
			return 0, err
		}
		return bad("must be whole milliseconds since 1970, or RFC 3339")
	}
	if at < schema.EarliestEventTime {
		return bad("is before 2000-01-01: send milliseconds since 1970")
	}
	if at > schema.EventTime(now.Add(maxAhead).UnixMilli()) {
		return bad("is more than %v ahead of this server's clock", maxAhead)
	}
	return at, nil
}
