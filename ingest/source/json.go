package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
)

// field is one of the top-level fields of a click in JSON.
type field uint16

const (
	fieldUser field = 1 << iota
	fieldItem
	fieldTimestamp
	fieldAction
	fieldEvent
	fieldSession
	fieldScene
	fieldItemInfo
	fieldContext
	fieldUnknown field = 0
)

var fieldNames = map[string]field{
	"user_id": fieldUser, "item_id": fieldItem, "timestamp": fieldTimestamp, "action": fieldAction,
	"event_id": fieldEvent, "session_id": fieldSession, "scene": fieldScene, "item": fieldItemInfo, "context": fieldContext,
}

// Decoder reads clicks from JSON objects: user_id, item_id and timestamp, optionally action, event_id, session_id, scene,
// item {category, seller, price} and context. Other fields are ignored. It is safe for concurrent use.
//
// Ids are strings or integers (the digits are kept as they are written); timestamp is an integer of milliseconds since
// 1970 or an RFC 3339 string. A field that has the wrong type, or comes twice, is an error: which of two values was meant
// cannot be known. Fields that are there but break a rule are left for schema.Click.Validate to report.
type Decoder struct {
	names map[string]field // nil means the standard names
}

var jsonDecoders = sync.Pool{New: func() any { return new(jx.Decoder) }}

// NewDecoder returns a decoder that reads each field named by a key of fields from the name in its value instead:
// {"user_id": "visitorid"}. A nil map means the names above.
func NewDecoder(fields map[string]string) (*Decoder, error) {
	if len(fields) == 0 {
		return &Decoder{}, nil
	}
	var faults []error
	for name, from := range fields {
		if _, ok := fieldNames[name]; !ok {
			faults = append(faults, fmt.Errorf("fields: %q is no field of a click: the fields are %s", name, knownFields()))
		}
		if from == "" {
			faults = append(faults, fmt.Errorf("fields: %q is read from a field without a name", name))
		}
	}
	names := make(map[string]field, len(fieldNames))
	for name, f := range fieldNames {
		from := name
		if mapped, ok := fields[name]; ok {
			from = mapped
		}
		if _, taken := names[from]; taken {
			faults = append(faults, fmt.Errorf("fields: two fields are read from %q", from))
		}
		names[from] = f
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(faults...)
	}
	return &Decoder{names: names}, nil
}

func knownFields() string {
	names := make([]string, 0, len(fieldNames))
	for name := range fieldNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// DecodeJSON decodes a record with the standard field names.
func DecodeJSON(r Record) (schema.Click, error) { return (*Decoder)(nil).Decode(r) }

// Decode returns the click in r. The click holds on to nothing of r.
func (d *Decoder) Decode(r Record) (schema.Click, error) {
	c := schema.Click{ArrivedAt: r.ArrivedAt}
	err := d.decode(r.Value, &c)
	return c, err
}

// decode fills c with what it finds up to the first error, so that a caller may still use what was readable.
func (d *Decoder) decode(value []byte, c *schema.Click) error {
	j := jsonDecoders.Get().(*jx.Decoder)
	defer func() {
		j.ResetBytes(nil)
		jsonDecoders.Put(j)
	}()
	j.ResetBytes(value)
	if t := j.Next(); t != jx.Object {
		if t == jx.Invalid {
			return errors.New("not a JSON object")
		}
		return fmt.Errorf("not a JSON object but a JSON %s", t)
	}
	fields, err := j.ObjIter()
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	var seen field
	for fields.Next() {
		f := d.field(fields.Key())
		if f == fieldUnknown {
			if err := j.Skip(); err != nil {
				return fmt.Errorf("not valid JSON: %w", err)
			}
			continue
		}
		if seen&f != 0 {
			return fmt.Errorf("%s comes twice", nameOf(f))
		}
		seen |= f
		if err := decodeField(j, f, c); err != nil {
			return fmt.Errorf("%s: %w", nameOf(f), err)
		}
	}
	if err := fields.Err(); err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	if err := j.Skip(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON object")
	}
	if seen&fieldTimestamp == 0 {
		return errors.New("timestamp is missing")
	}
	if c.Action == "" {
		c.Action = schema.ActionClick
	}
	return nil
}

func (d *Decoder) field(key []byte) field {
	if d != nil && d.names != nil {
		return d.names[string(key)]
	}
	switch string(key) { // three times as fast as the map, and on the way of every click
	case "user_id":
		return fieldUser
	case "item_id":
		return fieldItem
	case "timestamp":
		return fieldTimestamp
	case "action":
		return fieldAction
	case "event_id":
		return fieldEvent
	case "session_id":
		return fieldSession
	case "scene":
		return fieldScene
	case "item":
		return fieldItemInfo
	case "context":
		return fieldContext
	}
	return fieldUnknown
}

func nameOf(f field) string {
	for name, g := range fieldNames {
		if f == g {
			return name
		}
	}
	return "unknown"
}

func decodeField(j *jx.Decoder, f field, c *schema.Click) (err error) {
	switch f {
	case fieldUser:
		c.UserID, err = decodeID(j)
	case fieldItem:
		c.ItemID, err = decodeID(j)
	case fieldTimestamp:
		c.EventTime, err = decodeTime(j)
	case fieldAction:
		c.Action, err = decodeAction(j)
	case fieldEvent:
		c.EventID, err = decodeID(j)
	case fieldSession:
		c.SessionID, err = decodeID(j)
	case fieldScene:
		c.Scene, err = decodeID(j)
	case fieldItemInfo:
		c.Item, err = decodeItemInfo(j)
	case fieldContext:
		c.Context, err = decodeContext(j)
	}
	return err
}

// decodeID reads a string or an integer. A null is an absent id.
func decodeID(j *jx.Decoder) (string, error) {
	switch t := j.Next(); t {
	case jx.String:
		b, err := j.StrBytes()
		if err != nil {
			return "", fmt.Errorf("not valid JSON: %w", err)
		}
		// Ids become names in Arrow tables and in JSON answers, which are UTF-8 by their formats.
		if !utf8.Valid(b) {
			return "", errors.New("it is not valid UTF-8")
		}
		return string(b), nil
	case jx.Number:
		n, err := integer(j)
		return string(n), err
	case jx.Null:
		return "", j.Null()
	default:
		return "", fmt.Errorf("it is a JSON %s, want a string or an integer", t)
	}
}

// number returns a number as it is written.
func number(j *jx.Decoder) ([]byte, error) {
	raw, err := j.Raw()
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	return bytes.TrimLeft(raw, " \t\r\n"), nil // Raw reaches back over the space before a value
}

func integer(j *jx.Decoder) ([]byte, error) {
	n, err := number(j)
	if err != nil {
		return nil, err
	}
	for i, b := range n {
		if (b < '0' || b > '9') && !(i == 0 && b == '-') {
			return nil, fmt.Errorf("%.40s is not an integer", n)
		}
	}
	return n, nil
}

func decodeTime(j *jx.Decoder) (schema.EventTime, error) {
	switch t := j.Next(); t {
	case jx.Number:
		n, err := j.Int64()
		if err != nil {
			return 0, fmt.Errorf("not an integer of milliseconds since 1970: %w", err)
		}
		return schema.EventTime(n), nil
	case jx.String:
		b, err := j.StrBytes()
		if err != nil {
			return 0, fmt.Errorf("not valid JSON: %w", err)
		}
		at, err := time.Parse(time.RFC3339, string(b))
		if err != nil {
			return 0, fmt.Errorf("%.40q is not a time as in 2006-01-02T15:04:05Z (RFC 3339)", b)
		}
		return schema.EventTime(at.UnixMilli()), nil
	default:
		return 0, fmt.Errorf("it is a JSON %s, want an integer of milliseconds since 1970 or an RFC 3339 string", t)
	}
}

// decodeAction spares an allocation for the actions that nearly all clicks have.
func decodeAction(j *jx.Decoder) (schema.Action, error) {
	switch t := j.Next(); t {
	case jx.String:
		b, err := j.StrBytes()
		if err != nil {
			return "", fmt.Errorf("not valid JSON: %w", err)
		}
		switch string(b) {
		case string(schema.ActionClick):
			return schema.ActionClick, nil
		case string(schema.ActionExposure):
			return schema.ActionExposure, nil
		case string(schema.ActionCart):
			return schema.ActionCart, nil
		case string(schema.ActionPurchase):
			return schema.ActionPurchase, nil
		}
		if !utf8.Valid(b) {
			return "", errors.New("it is not valid UTF-8")
		}
		return schema.Action(b), nil
	case jx.Null:
		return "", j.Null()
	default:
		return "", fmt.Errorf("it is a JSON %s, want a string", t)
	}
}

func decodeItemInfo(j *jx.Decoder) (info schema.ItemInfo, err error) {
	switch t := j.Next(); t {
	case jx.Object:
	case jx.Null:
		return info, j.Null()
	default:
		return info, fmt.Errorf("it is a JSON %s, want an object", t)
	}
	fields, err := j.ObjIter()
	if err != nil {
		return info, fmt.Errorf("not valid JSON: %w", err)
	}
	for fields.Next() {
		var name string
		switch string(fields.Key()) {
		case "category":
			name = "category"
			info.Category, err = decodeID(j)
		case "seller":
			name = "seller"
			info.Seller, err = decodeID(j)
		case "price":
			name = "price"
			info.Price, err = decodePrice(j)
		default:
			name = "a field of it"
			err = j.Skip()
		}
		if err != nil {
			return info, fmt.Errorf("%s: %w", name, err)
		}
	}
	return info, fields.Err()
}

func decodePrice(j *jx.Decoder) (float64, error) {
	switch t := j.Next(); t {
	case jx.Number:
		n, err := number(j)
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(string(n), 64) // jx's own Float64 is off by a last bit for some numbers
	case jx.Null:
		return 0, j.Null()
	default:
		return 0, fmt.Errorf("it is a JSON %s, want a number", t)
	}
}

func decodeContext(j *jx.Decoder) ([]byte, error) {
	switch t := j.Next(); t {
	case jx.Object:
		raw, err := j.Raw()
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		return bytes.Clone(bytes.TrimLeft(raw, " \t\r\n")), nil
	case jx.Null:
		return nil, j.Null()
	default:
		return nil, fmt.Errorf("it is a JSON %s, want an object", t)
	}
}
