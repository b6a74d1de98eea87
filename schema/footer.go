package schema

import (
	"encoding/binary"
	"fmt"
)

// The Arrow reader makes room for as many columns, and for as many pairs of metadata, as a file says that it has, and goes as deep as it says that lists are nested. So
// that no file of some bytes takes all memory, or all of the stack, what a file says is looked at before.

// maxColumns is more than any table has.
const maxColumns = 1024

// The types of columns, as numbered by Arrow's format: those that Column lists.
const (
	typeInt       = 2
	typeFloat     = 3
	typeText      = 5
	typeList      = 12
	typeFixedList = 16
)

// checkFooter returns an error, or panics, unless the footer of an Arrow file is one that may be parsed: of columns that a Table can have, without dictionaries, and with
// texts that have no more bytes than it.
//
//	file    … footer, its length (4), "ARROW1"
//	footer  a flatbuffer: 1 schema, 2 dictionaries, 3 record batches
//	schema  1 fields, 2 metadata
//	field   0 name, 2 type, 5 children, 6 metadata
func checkFooter(file []byte) error {
	end := len(file) - 10
	if end < 0 {
		return fmt.Errorf("%w: it ends before its footer", ErrCorrupt)
	}
	b := flat(file[end-int(binary.LittleEndian.Uint32(file[end:])) : end])
	footer := b.follow(0)
	schema := b.field(footer, 1)
	if schema == 0 {
		return fmt.Errorf("%w: it has no schema", ErrCorrupt)
	}
	schema = b.follow(schema)
	if _, n := b.list(footer, 2, 24); n > 0 {
		return fmt.Errorf("%w: it has dictionaries", ErrCorrupt)
	}
	first, n := b.list(schema, 1, 4)
	if n > maxColumns {
		return fmt.Errorf("%w: it has %d columns", ErrCorrupt, n)
	}
	texts := b.metadata(schema, 2)
	for i := range n {
		column := b.follow(first + 4*i)
		texts += b.text(column, 0) + b.metadata(column, 6)
		child, children := b.list(column, 5, 4)
		switch kind := b.kind(column); {
		case children == 0 && (kind == typeInt || kind == typeFloat || kind == typeText):
		case children == 1 && (kind == typeList || kind == typeFixedList):
			child = b.follow(child)
			texts += b.text(child, 0) + b.metadata(child, 6)
			_, deeper := b.list(child, 5, 4)
			if kind := b.kind(child); deeper > 0 || kind != typeInt && kind != typeFloat {
				return fmt.Errorf("%w: column %d has lists of type %d", ErrCorrupt, i, kind)
			}
		default:
			return fmt.Errorf("%w: column %d has type %d with %d children", ErrCorrupt, i, kind, children)
		}
		if texts > len(b) {
			return fmt.Errorf("%w: its texts have more bytes than it", ErrCorrupt)
		}
	}
	return nil
}

// flat is a flatbuffer. Its methods panic where something is beyond its end.
//
//	table  4 bytes back to its vtable, then its fields
//	vtable 2 bytes its length, 2 the table's, then 2 for each field: where in the table that is, or 0
//	list   4 bytes its length, then its elements; of tables, 4 bytes each that say how far ahead that is
type flat []byte

func (b flat) number(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }

// follow returns the place that the place at names, which is ahead of it.
func (b flat) follow(at int) int { return at + b.number(at) }

// field returns the place of a field of a table, or 0 where it has none.
func (b flat) field(table, number int) int {
	vtable := table - int(int32(b.number(table)))
	if 4+2*number >= int(binary.LittleEndian.Uint16(b[vtable:])) {
		return 0
	}
	at := int(binary.LittleEndian.Uint16(b[vtable+4+2*number:]))
	if at == 0 {
		return 0
	}
	return table + at
}

// list returns the place of the first element of a list in a field, and how many there are, each of width bytes.
func (b flat) list(table, number, width int) (first, n int) {
	at := b.field(table, number)
	if at == 0 {
		return 0, 0
	}
	at = b.follow(at)
	n = b.number(at)
	_ = b[at+4:][:n*width]
	return at + 4, n
}

// text returns how many bytes a text in a field has.
func (b flat) text(table, number int) int {
	_, n := b.list(table, number, 1)
	return n
}

// kind returns the type of a column.
func (b flat) kind(column int) byte {
	if at := b.field(column, 2); at > 0 {
		return b[at]
	}
	return 0
}

// metadata returns how many bytes the keys and values of a list of pairs have.
func (b flat) metadata(table, number int) (texts int) {
	first, n := b.list(table, number, 4)
	for i := range n {
		pair := b.follow(first + 4*i)
		if texts += b.text(pair, 0) + b.text(pair, 1); texts > len(b) {
			break
		}
	}
	return texts
}
