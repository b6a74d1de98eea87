package decode

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
	"github.com/hamba/avro/v2"
)

var errLarge = errors.New("it is larger than a record may be")

// json writes a value as JSON: records and maps as objects, the value of a union without its type, bytes in base64, and
// decimals as numbers. What is written is bounded like a record: arrays of nulls have no bytes, and may have any length.
func (w *avroWalk) json(out *jx.Writer, t *avroType, depth int) error {
	if depth > maxDepth {
		return errDamaged
	}
	if len(out.Buf) > schema.MaxRecordBytes {
		return errLarge
	}
	switch t.kind {
	case avro.Null:
		out.Null()
	case avro.Boolean:
		b, err := w.take(1)
		if err != nil {
			return err
		}
		out.Bool(b[0] != 0)
	case avro.Int, avro.Long:
		n, err := w.long()
		if err != nil {
			return err
		}
		out.Int64(n)
	case avro.Float:
		b, err := w.take(4)
		if err != nil {
			return err
		}
		out.Float32(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case avro.Double:
		b, err := w.take(8)
		if err != nil {
			return err
		}
		out.Float64(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case avro.Enum:
		s, err := w.symbol(t.symbols)
		if err != nil {
			return err
		}
		out.Str(s)
	case avro.String:
		b, err := w.bytes()
		if err != nil {
			return err
		}
		s, err := text(b)
		if err != nil {
			return err
		}
		out.Str(s)
	case avro.Bytes, avro.Fixed:
		b, err := w.fixedOrBytes(t)
		if err != nil {
			return err
		}
		if t.logical == "decimal" {
			out.Float64(decimal(b, t.scale))
		} else {
			out.Str(base64.StdEncoding.EncodeToString(b))
		}
	case avro.Union:
		i, err := w.branch(t)
		if err != nil {
			return err
		}
		return w.json(out, t.parts[i], depth+1)
	case avro.Record:
		open := byte('{')
		for i, part := range t.parts {
			out.Buf = append(out.Buf, open)
			open = ','
			out.Str(t.names[i])
			out.Buf = append(out.Buf, ':')
			if err := w.json(out, part, depth+1); err != nil {
				return err
			}
		}
		closeJSON(out, open, '{', '}')
	case avro.Array, avro.Map:
		return w.jsonBlocks(out, t, depth)
	default:
		return errDamaged
	}
	return nil
}

func (w *avroWalk) jsonBlocks(out *jx.Writer, t *avroType, depth int) error {
	first, last := byte('['), byte(']')
	if t.kind == avro.Map {
		first, last = '{', '}'
	}
	open := first
	for {
		items, _, err := w.block()
		if err != nil {
			return err
		}
		if items == 0 {
			closeJSON(out, open, first, last)
			return nil
		}
		for range items {
			out.Buf = append(out.Buf, open)
			open = ','
			if t.kind == avro.Map {
				key, err := w.bytes()
				if err != nil {
					return err
				}
				name, err := text(key)
				if err != nil {
					return err
				}
				out.Str(name)
				out.Buf = append(out.Buf, ':')
			}
			if err := w.json(out, t.items, depth+1); err != nil {
				return err
			}
		}
	}
}

// closeJSON ends an object or an array, which has not been opened if nothing is in it.
func closeJSON(out *jx.Writer, open, first, last byte) {
	if open == first {
		out.Buf = append(out.Buf, first)
	}
	out.Buf = append(out.Buf, last)
}
