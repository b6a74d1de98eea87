package decode

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// Confluent's framing of a record, which most registries' serializers write:
//
//	0x00 | schema id, 4 bytes, big end first | message-index list (Protobuf only) | the record
//
// The message-index list says which message of the schema's file it is: a count and so many numbers, each in Protobuf's
// zigzag encoding. A single 0 stands for the first message.
const (
	magic       = 0x00
	headerBytes = 5
)

var errNoHeader = errors.New("it does not begin with 0x00 and a schema id: is its producer one that uses the schema registry?")

func header(value []byte) (id uint32, rest []byte, err error) {
	if len(value) < headerBytes || value[0] != magic {
		return 0, nil, errNoHeader
	}
	return binary.BigEndian.Uint32(value[1:]), value[headerBytes:], nil
}

// messageIndex returns the bytes of the message-index list.
func messageIndex(b []byte) (index, rest []byte, err error) {
	count, at := binary.Varint(b)
	if at <= 0 || count < 0 || count > maxDepth {
		return nil, nil, errDamaged
	}
	for range count {
		_, n := binary.Varint(b[at:])
		if n <= 0 {
			return nil, nil, errDamaged
		}
		at += n
	}
	return b[:at], b[at:], nil
}

// registered reads records in the framing, each by the schema that it names.
type registered struct {
	schemas *schemas
	json    *jsonReader // of records that are not framed; nil if every record has to be
}

func (r *registered) read(value []byte, c *schema.Click) (seen, error) {
	id, record, err := header(value)
	if err != nil {
		if r.json != nil && (len(value) == 0 || value[0] != magic) {
			return r.json.read(value, c)
		}
		return 0, err
	}
	s, err := r.schemas.get(id)
	if err != nil {
		return 0, err
	}
	if s.messages != nil {
		index, message, err := messageIndex(record)
		if err != nil {
			return 0, fmt.Errorf("message-index list: %w", err)
		}
		m := s.messages[string(index)]
		if m == nil {
			return 0, fmt.Errorf("schema %d has no message at its index %v", id, index)
		}
		return named(m, message, id, c)
	}
	return named(s.reader, record, id, c)
}

// named reads a record, and names its schema if that fails.
func named(r reader, record []byte, id uint32, c *schema.Click) (seen, error) {
	s, err := r.read(record, c)
	if err != nil {
		err = fmt.Errorf("schema %d: %w", id, err)
	}
	return s, err
}

// unframed takes the framing off, where the schema is known without it.
type unframed struct {
	reader   reader
	messages bool // there is a message-index list
	always   bool // a record without the framing is an error
}

func (r *unframed) read(value []byte, c *schema.Click) (seen, error) {
	_, record, err := header(value)
	switch {
	case err != nil && r.always:
		return 0, err
	case err != nil:
		record = value
	case r.messages:
		if _, record, err = messageIndex(record); err != nil {
			return 0, fmt.Errorf("message-index list: %w", err)
		}
	}
	return r.reader.read(record, c)
}

func (r unreadable) read([]byte, *schema.Click) (seen, error) { return 0, r.err }
