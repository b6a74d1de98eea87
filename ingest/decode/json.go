package decode

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
)

// jsonReader reads clicks from JSON objects.
type jsonReader struct{ root *node }

var jsonDecoders = sync.Pool{New: func() any { return new(jx.Decoder) }}

// read fills c with what it finds up to the first error, so that a caller may still use what was readable.
func (r *jsonReader) read(value []byte, c *schema.Click) (seen, error) {
	j := jsonDecoders.Get().(*jx.Decoder)
	defer func() {
		j.ResetBytes(nil)
		jsonDecoders.Put(j)
	}()
	j.ResetBytes(value)
	if t := j.Next(); t != jx.Object {
		if t == jx.Invalid {
			return 0, errors.New("not a JSON object")
		}
		return 0, fmt.Errorf("not a JSON object but a JSON %s", t)
	}
	var s seen
	if err := readObject(j, r.root, &s, c); err != nil {
		return s, err
	}
	if err := j.Skip(); !errors.Is(err, io.EOF) {
		return s, errors.New("there is more after the JSON object")
	}
	return s, nil
}

// readObject reads the fields of the object at n. Errors of the fields in it name the whole way to them.
func readObject(j *jx.Decoder, n *node, s *seen, c *schema.Click) error {
	fields, err := j.ObjIter()
	if err != nil {
		return notValid(n, err)
	}
	next := 0
	for fields.Next() {
		at := n.find(fields.Key(), next)
		if at < 0 {
			if err := j.Skip(); err != nil {
				return notValid(n, err)
			}
			continue
		}
		child := n.children[at]
		next = at + 1
		if *s&child.bit != 0 {
			return fmt.Errorf("%s comes twice", child.label)
		}
		*s |= child.bit
		if child.field == fieldNone {
			if err := readHolder(j, child, s, c); err != nil {
				return err
			}
		} else if err := readField(j, child.field, c); err != nil {
			return fmt.Errorf("%s: %w", child.label, err)
		} else if len(child.children) > 0 && c.Context != nil {
			if err := readInside(c.Context, child, s, c); err != nil {
				return err
			}
		}
	}
	if err := fields.Err(); err != nil {
		return notValid(n, err)
	}
	return nil
}

func readHolder(j *jx.Decoder, n *node, s *seen, c *schema.Click) error {
	switch t := j.Next(); t {
	case jx.Object:
		return readObject(j, n, s, c)
	case jx.Null:
		return j.Null()
	default:
		return fmt.Errorf("%s: it is a JSON %s, want an object", n.label, t)
	}
}

// readInside reads the fields that are inside of the context, which is kept as a whole as well.
func readInside(context []byte, n *node, s *seen, c *schema.Click) error {
	j := jsonDecoders.Get().(*jx.Decoder)
	defer func() {
		j.ResetBytes(nil)
		jsonDecoders.Put(j)
	}()
	j.ResetBytes(context)
	return readObject(j, n, s, c)
}

// notValid says that the JSON of the object at n breaks off, or is none.
func notValid(n *node, err error) error {
	if n.label != "" {
		return fmt.Errorf("%s: not valid JSON: %w", n.label, err)
	}
	return fmt.Errorf("not valid JSON: %w", err)
}

func readField(j *jx.Decoder, f field, c *schema.Click) (err error) {
	switch f {
	case fieldUser:
		c.UserID, err = readID(j)
	case fieldItem:
		c.ItemID, err = readID(j)
	case fieldTime:
		c.EventTime, err = readTime(j)
	case fieldAction:
		c.Action, err = readAction(j)
	case fieldEvent:
		c.EventID, err = readID(j)
	case fieldSession:
		c.SessionID, err = readID(j)
	case fieldScene:
		c.Scene, err = readID(j)
	case fieldCategory:
		c.Item.Category, err = readID(j)
	case fieldSeller:
		c.Item.Seller, err = readID(j)
	case fieldPrice:
		c.Item.Price, err = readPrice(j)
	case fieldContext:
		c.Context, err = readContext(j)
	}
	return err
}

// readID reads a string or an integer. A null is an absent id.
func readID(j *jx.Decoder) (string, error) {
	switch t := j.Next(); t {
	case jx.String:
		b, err := j.StrBytes()
		if err != nil {
			return "", fmt.Errorf("not valid JSON: %w", err)
		}
		return text(b)
	case jx.Number:
		n, err := integer(j)
		return alias(n), err
	case jx.Null:
		return "", j.Null()
	default:
		return "", fmt.Errorf("it is a JSON %s, want a string or an integer", t)
	}
}

// text returns b as a string. Ids become names in Arrow tables and in JSON answers, which are UTF-8 by their formats.
func text(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errors.New("it is not valid UTF-8")
	}
	return alias(b), nil
}

// number returns a number as it is written.
func number(j *jx.Decoder) ([]byte, error) {
	raw, err := j.Raw()
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	return unspace(raw), nil
}

// unspace removes the space before a value: jx.Decoder.Raw reaches back over it.
func unspace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
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

func readTime(j *jx.Decoder) (schema.EventTime, error) {
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
		return parseTime(b)
	default:
		return 0, fmt.Errorf("it is a JSON %s, want an integer of milliseconds since 1970 or an RFC 3339 string", t)
	}
}

// parseTime reads RFC 3339.
func parseTime(b []byte) (schema.EventTime, error) {
	at, err := time.Parse(time.RFC3339, alias(b))
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a time as in 2006-01-02T15:04:05Z (RFC 3339)", b)
	}
	return schema.EventTime(at.UnixMilli()), nil
}

func readAction(j *jx.Decoder) (schema.Action, error) {
	switch t := j.Next(); t {
	case jx.String:
		b, err := j.StrBytes()
		if err != nil {
			return "", fmt.Errorf("not valid JSON: %w", err)
		}
		s, err := text(b)
		return schema.Action(s), err
	case jx.Null:
		return "", j.Null()
	default:
		return "", fmt.Errorf("it is a JSON %s, want a string", t)
	}
}

func readPrice(j *jx.Decoder) (float64, error) {
	switch t := j.Next(); t {
	case jx.Number:
		n, err := number(j)
		if err != nil {
			return 0, err
		}
		x, err := strconv.ParseFloat(alias(n), 64) // jx's own Float64 is off by a last bit for some numbers
		if err != nil {
			return 0, fmt.Errorf("%.40s is not a number of 64 bits", n)
		}
		return x, nil
	case jx.Null:
		return 0, j.Null()
	default:
		return 0, fmt.Errorf("it is a JSON %s, want a number", t)
	}
}

func readContext(j *jx.Decoder) ([]byte, error) {
	switch t := j.Next(); t {
	case jx.Object:
		raw, err := j.Raw()
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		raw = unspace(raw)
		return raw[:len(raw):len(raw)], nil
	case jx.Null:
		return nil, j.Null()
	default:
		return nil, fmt.Errorf("it is a JSON %s, want an object", t)
	}
}
