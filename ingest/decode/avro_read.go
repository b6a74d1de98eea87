package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
	"github.com/hamba/avro/v2"
)

// avroReader reads clicks from records in Avro's binary encoding.
type avroReader struct{ plan avroStep }

var (
	errShort   = errors.New("it breaks off: is it of another schema?")
	errDamaged = errors.New("it is damaged: is it of another schema?")
)

// maxDepth bounds how deep values may be in one another. A schema may refer to itself, and a record of it then say how deep.
const maxDepth = 100

func (r *avroReader) read(value []byte, c *schema.Click) (seen, error) {
	w := avroWalk{b: value}
	err := w.step(&r.plan, c)
	if err == nil && len(w.b) > 0 {
		err = fmt.Errorf("there are %d bytes more than its schema says: is it of another schema?", len(w.b))
	}
	return w.seen, err
}

// avroWalk is a walk through a record.
type avroWalk struct {
	b    []byte // what is left
	seen seen
	ids  []byte // the digits of ids that are numbers
}

func (w *avroWalk) step(s *avroStep, c *schema.Click) error {
	t := s.typ
	if t.kind == avro.Union {
		i, err := w.branch(t)
		if err != nil {
			return err
		}
		if s.parts == nil {
			return w.skip(t.parts[i], 0)
		}
		return w.step(&s.parts[i], c)
	}
	if s.fault != nil {
		return s.fault
	}
	if s.node == nil {
		return w.skip(t, 0)
	}
	if s.node.field != fieldNone {
		whole := w.b
		if err := w.field(s.node.field, t, c); err != nil {
			return fmt.Errorf("%s: %w", s.node.label, err)
		}
		w.seen |= s.node.bit
		if s.inText() && c.Context != nil {
			return readInside(c.Context, s.node, &w.seen, c)
		}
		if len(s.parts) == 0 {
			return nil
		}
		w.b = whole // the context is kept as a whole, and what is wanted of its inside is read from there
	}
	if t.kind == avro.Map {
		return w.entries(s, c)
	}
	for i := range s.parts {
		if err := w.step(&s.parts[i], c); err != nil {
			return err
		}
	}
	return nil
}

// entries reads the wanted entries of a map.
func (w *avroWalk) entries(s *avroStep, c *schema.Click) error {
	for {
		n, _, err := w.block()
		if err != nil || n == 0 {
			return err
		}
		for range n {
			key, err := w.bytes()
			if err != nil {
				return err
			}
			at := -1
			for i := range s.parts {
				if n := s.node.children[i]; n.name == string(key) {
					if at = i; w.seen&n.bit != 0 {
						return fmt.Errorf("%s comes twice", n.label)
					}
				}
			}
			if at < 0 {
				err = w.skip(s.typ.items, 0)
			} else {
				err = w.step(&s.parts[at], c)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (w *avroWalk) field(f field, t *avroType, c *schema.Click) (err error) {
	switch f {
	case fieldUser:
		c.UserID, err = w.id(t)
	case fieldItem:
		c.ItemID, err = w.id(t)
	case fieldTime:
		c.EventTime, err = w.time(t)
	case fieldAction:
		var s string
		if t.kind == avro.Enum {
			s, err = w.symbol(t.actions)
		} else {
			s, err = w.id(t)
		}
		c.Action = schema.Action(s)
	case fieldEvent:
		c.EventID, err = w.id(t)
	case fieldSession:
		c.SessionID, err = w.id(t)
	case fieldScene:
		c.Scene, err = w.id(t)
	case fieldCategory:
		c.Item.Category, err = w.id(t)
	case fieldSeller:
		c.Item.Seller, err = w.id(t)
	case fieldPrice:
		c.Item.Price, err = w.price(t)
	case fieldContext:
		c.Context, err = w.context(t)
	}
	return err
}

func (w *avroWalk) id(t *avroType) (string, error) {
	switch t.kind {
	case avro.Int, avro.Long:
		n, err := w.long()
		if err != nil {
			return "", err
		}
		return w.digits(n), nil
	case avro.Enum:
		return w.symbol(t.symbols)
	}
	b, err := w.bytes()
	if err != nil {
		return "", err
	}
	return text(b)
}

// digits returns n as text. All such ids of a record share one allocation; an older one keeps the bytes that it has when
// they have to move.
func (w *avroWalk) digits(n int64) string {
	if w.ids == nil {
		w.ids = make([]byte, 0, 64)
	}
	at := len(w.ids)
	w.ids = strconv.AppendInt(w.ids, n, 10)
	return alias(w.ids[at:])
}

func (w *avroWalk) time(t *avroType) (schema.EventTime, error) {
	if t.kind == avro.String {
		b, err := w.bytes()
		if err != nil {
			return 0, err
		}
		return parseTime(b)
	}
	n, err := w.long()
	if err != nil {
		return 0, err
	}
	unit := int64(1)
	switch {
	case strings.HasSuffix(t.logical, "-micros"):
		unit = 1e3
	case strings.HasSuffix(t.logical, "-nanos"):
		unit = 1e6
	}
	at := n / unit
	if n%unit < 0 {
		at-- // down, also before 1970
	}
	return schema.EventTime(at), nil
}

func (w *avroWalk) price(t *avroType) (float64, error) {
	switch t.kind {
	case avro.Int, avro.Long:
		n, err := w.long()
		return float64(n), err
	case avro.Float:
		b, err := w.take(4)
		if err != nil {
			return 0, err
		}
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), nil
	case avro.Double:
		b, err := w.take(8)
		if err != nil {
			return 0, err
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), nil
	}
	b, err := w.fixedOrBytes(t)
	if err != nil {
		return 0, err
	}
	return decimal(b, t.scale), nil
}

func (w *avroWalk) fixedOrBytes(t *avroType) ([]byte, error) {
	if t.kind == avro.Fixed {
		return w.take(t.size)
	}
	return w.bytes()
}

// decimal returns a two's complement number of any length, big end first, divided by 10 to the scale.
func decimal(b []byte, scale int) float64 {
	if len(b) > 32 {
		return math.NaN() // more than any decimal has; Click.Validate says that it is not a finite number
	}
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	x, _ := new(big.Float).SetInt(n).Float64()
	return x / math.Pow10(scale)
}

func (w *avroWalk) context(t *avroType) ([]byte, error) {
	if t.kind == avro.String || t.kind == avro.Bytes {
		b, err := w.bytes()
		if err != nil || len(b) == 0 {
			return nil, err
		}
		return b[:len(b):len(b)], object(b)
	}
	out := jx.Writer{}
	err := w.json(&out, t, 0)
	return out.Buf, err
}

// object says if b is not a JSON object.
func object(b []byte) error {
	j := jsonDecoders.Get().(*jx.Decoder)
	defer func() {
		j.ResetBytes(nil)
		jsonDecoders.Put(j)
	}()
	j.ResetBytes(b)
	if j.Next() != jx.Object || j.Validate() != nil {
		return errors.New("it is not a JSON object")
	}
	return nil
}

// branch returns which type of a union comes next.
func (w *avroWalk) branch(t *avroType) (int, error) {
	i, err := w.long()
	if err != nil {
		return 0, err
	}
	if i < 0 || i >= int64(len(t.parts)) {
		return 0, errDamaged
	}
	return int(i), nil
}

func (w *avroWalk) symbol(symbols []string) (string, error) {
	i, err := w.long()
	if err != nil {
		return "", err
	}
	if i < 0 || i >= int64(len(symbols)) {
		return "", errDamaged
	}
	return symbols[i], nil
}

// long reads an integer of up to 64 bits, seven to a byte, in which the sign is the lowest bit.
func (w *avroWalk) long() (int64, error) {
	n, size := binary.Varint(w.b)
	if size <= 0 {
		if size == 0 {
			return 0, errShort
		}
		return 0, errDamaged
	}
	w.b = w.b[size:]
	return n, nil
}

func (w *avroWalk) take(n int) ([]byte, error) {
	if n > len(w.b) {
		return nil, errShort
	}
	b := w.b[:n]
	w.b = w.b[n:]
	return b, nil
}

func (w *avroWalk) bytes() ([]byte, error) {
	n, err := w.long()
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errDamaged
	}
	if n > int64(len(w.b)) {
		return nil, errShort
	}
	return w.take(int(n))
}

// block reads the head of a block of an array or a map: how many items follow, and their bytes where the writer says so,
// else -1. No items are the end.
func (w *avroWalk) block() (items, size int64, err error) {
	if items, err = w.long(); err != nil || items >= 0 {
		return items, -1, err
	}
	if size, err = w.long(); err != nil {
		return 0, 0, err
	}
	if items == math.MinInt64 || size < 0 || size > int64(len(w.b)) {
		return 0, 0, errDamaged
	}
	return -items, size, nil
}

// skip passes over a value.
func (w *avroWalk) skip(t *avroType, depth int) (err error) {
	if depth > maxDepth {
		return errDamaged
	}
	if t.empty {
		return nil
	}
	switch t.kind {
	case avro.Boolean:
		_, err = w.take(1)
	case avro.Int, avro.Long, avro.Enum:
		_, err = w.long()
	case avro.Float:
		_, err = w.take(4)
	case avro.Double:
		_, err = w.take(8)
	case avro.Bytes, avro.String:
		_, err = w.bytes()
	case avro.Fixed:
		_, err = w.take(t.size)
	case avro.Union:
		i, err := w.branch(t)
		if err != nil {
			return err
		}
		return w.skip(t.parts[i], depth+1)
	case avro.Record:
		for _, part := range t.parts {
			if err := w.skip(part, depth+1); err != nil {
				return err
			}
		}
	case avro.Array, avro.Map:
		return w.skipBlocks(t, depth)
	default:
		return errDamaged
	}
	return err
}

func (w *avroWalk) skipBlocks(t *avroType, depth int) error {
	for {
		items, size, err := w.block()
		if err != nil || items == 0 {
			return err
		}
		if size >= 0 {
			w.b = w.b[size:]
			continue
		}
		if t.kind == avro.Array && t.items.empty {
			continue // however many there are, they have no bytes
		}
		for range items {
			if t.kind == avro.Map {
				if _, err := w.bytes(); err != nil {
					return err
				}
			}
			if err := w.skip(t.items, depth+1); err != nil {
				return err
			}
		}
	}
}
