package replica

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Limits of a request.
const (
	defaultK      = 20
	maxK          = 1000
	maxBodyBytes  = 1 << 20
	maxClicks     = 1000
	maxExclude    = 10_000
	maxCategories = 100
	maxAhead      = 10 * time.Minute // of a click's timestamp, as for clicks on Kafka
)

// Request asks for recommendations. Either a user or clicks must be given.
type Request struct {
	UserID      string         `json:"user_id,omitempty"`
	Clicks      []RequestClick `json:"clicks,omitempty"` // what the user did since, in any order
	K           int            `json:"k,omitempty"`      // items wanted, 1 to 1000; 0 = 20
	Scene       string         `json:"scene,omitempty"`
	Exclude     []string       `json:"exclude,omitempty"`      // item ids that must not be recommended
	ExcludeSeen bool           `json:"exclude_seen,omitempty"` // nor those in the clicks and the known history
	Filter      Filter         `json:"filter,omitzero"`
}

// RequestClick is a click that the replica may not know of yet.
type RequestClick struct {
	ItemID    string           `json:"item_id"`
	Action    schema.Action    `json:"action,omitempty"`    // default click
	Timestamp schema.EventTime `json:"timestamp,omitempty"` // epoch ms; 0 = now
}

// Filter restricts what is recommended.
type Filter struct {
	Category []string `json:"category,omitempty"` // one of these; empty = any
}

// wireRequest is a Request as it comes: what was left out differs from what is zero, and timestamps come in two forms.
type wireRequest struct {
	UserID string `json:"user_id"`
	Clicks []struct {
		ItemID    string          `json:"item_id"`
		Action    string          `json:"action"`
		Timestamp json.RawMessage `json:"timestamp"`
	} `json:"clicks"`
	K           *int     `json:"k"`
	Scene       string   `json:"scene"`
	Exclude     []string `json:"exclude"`
	ExcludeSeen bool     `json:"exclude_seen"`
	Filter      struct {
		Category []string `json:"category"`
	} `json:"filter"`
}

// badRequest is a fault of the caller.
type badRequest struct {
	status               int
	code, message, field string
}

func (b *badRequest) Error() string { return b.message }

func invalid(field, format string, args ...any) *badRequest {
	return &badRequest{http.StatusBadRequest, "invalid_request", fmt.Sprintf(format, args...), field}
}

// parseGet reads the request of a URL.
func parseGet(r *http.Request) (Request, error) {
	values := r.URL.Query()
	q := Request{UserID: values.Get("user_id"), Scene: values.Get("scene"), K: defaultK}
	if q.UserID == "" {
		return q, invalid("user_id", "user_id is missing")
	}
	if values.Has("k") {
		k, err := strconv.Atoi(values.Get("k"))
		if err != nil {
			return q, invalid("k", "k must be a whole number from 1 to %d", maxK)
		}
		q.K = k
	}
	return q, q.check()
}

// parsePost reads the request of a JSON body. now stands in for timestamps that were left out.
func parsePost(body io.Reader, now time.Time) (Request, error) {
	b, err := io.ReadAll(body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return Request{}, &badRequest{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body has more than %d bytes", maxBodyBytes), ""}
	}
	if err != nil {
		return Request{}, &badRequest{http.StatusBadRequest, "unreadable", "the body could not be read", ""}
	}
	var w wireRequest
	if err := json.Unmarshal(b, &w); err != nil {
		if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
			if wrong.Field == "" {
				return Request{}, invalid("", "the body must be a JSON object, not a %s", wrong.Value)
			}
			return Request{}, invalid(wrong.Field, "%s must be a %s, not a %s", wrong.Field, jsonType(wrong.Type.Kind().String()), wrong.Value)
		}
		return Request{}, &badRequest{http.StatusBadRequest, "malformed_json", "the body is not JSON: " + err.Error(), ""}
	}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return Request{}, invalid("", "the body must be a JSON object, not a null")
	}
	q := Request{UserID: w.UserID, K: defaultK, Scene: w.Scene, Exclude: w.Exclude, ExcludeSeen: w.ExcludeSeen, Filter: Filter{w.Filter.Category}}
	if w.K != nil {
		q.K = *w.K
	}
	if len(w.Clicks) > maxClicks {
		return q, invalid("clicks", "there are %d clicks, at most %d are allowed: send the latest", len(w.Clicks), maxClicks)
	}
	for i, c := range w.Clicks {
		at, err := timestamp(c.Timestamp, now)
		if err != nil {
			return q, invalid(fmt.Sprintf("clicks[%d].timestamp", i), "timestamp %s", err)
		}
		action := schema.Action(c.Action)
		if action == "" {
			action = schema.ActionClick
		}
		q.Clicks = append(q.Clicks, RequestClick{c.ItemID, action, at})
	}
	slices.SortStableFunc(q.Clicks, func(a, b RequestClick) int {
		return cmp.Compare(a.Timestamp, b.Timestamp)
	})
	return q, q.check()
}

// check refuses what breaks a limit.
func (q *Request) check() error {
	if q.UserID == "" && len(q.Clicks) == 0 {
		return invalid("user_id", "user_id is missing, and there are no clicks in its place")
	}
	if q.K < 1 || q.K > maxK {
		return invalid("k", "k is %d, it must be from 1 to %d", q.K, maxK)
	}
	if len(q.Exclude) > maxExclude {
		return invalid("exclude", "there are %d excluded items, at most %d are allowed", len(q.Exclude), maxExclude)
	}
	if len(q.Filter.Category) > maxCategories {
		return invalid("filter.category", "there are %d categories, at most %d are allowed", len(q.Filter.Category), maxCategories)
	}
	tooLong := func(field, value string) error {
		if len(value) > schema.MaxIDBytes {
			return invalid(field, "%s has %d bytes, at most %d are allowed", field, len(value), schema.MaxIDBytes)
		}
		return nil
	}
	if err := tooLong("user_id", q.UserID); err != nil {
		return err
	}
	if err := tooLong("scene", q.Scene); err != nil {
		return err
	}
	for i, c := range q.Clicks {
		field := fmt.Sprintf("clicks[%d]", i)
		if c.ItemID == "" {
			return invalid(field+".item_id", "item_id is missing")
		}
		if err := tooLong(field+".item_id", c.ItemID); err != nil {
			return err
		}
		if err := tooLong(field+".action", string(c.Action)); err != nil {
			return err
		}
	}
	return nil
}

// timestamp reads epoch milliseconds or RFC 3339.
func timestamp(raw json.RawMessage, now time.Time) (schema.EventTime, error) {
	text := strings.TrimSpace(string(raw))
	var at schema.EventTime
	switch {
	case text == "" || text == "null":
		return schema.EventTime(now.UnixMilli()), nil
	case text[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return 0, errors.New("is not a string")
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not RFC 3339, as in 2026-01-02T15:04:05Z", s)
		}
		at = schema.EventTime(t.UnixMilli())
	default:
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, errors.New("must be whole milliseconds since 1970, or RFC 3339")
		}
		if ms == 0 {
			return schema.EventTime(now.UnixMilli()), nil
		}
		at = schema.EventTime(ms)
	}
	if at < schema.EarliestEventTime {
		return 0, errors.New("is before 2000-01-01: send milliseconds since 1970")
	}
	if at > schema.EventTime(now.Add(maxAhead).UnixMilli()) {
		return 0, fmt.Errorf("is more than %v ahead of this server's clock", maxAhead)
	}
	return at, nil
}

// jsonType names a Go kind as a caller who knows JSON would.
func jsonType(kind string) string {
	switch kind {
	case "int":
		return "whole number"
	case "bool":
		return "boolean"
	case "slice":
		return "list"
	case "struct":
		return "object"
	}
	return kind
}
