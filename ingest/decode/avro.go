package decode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hamba/avro/v2"
)

// avroType is a type of a schema in the shape in which values are walked.
type avroType struct {
	kind    avro.Type
	name    string // of a record, an enum or a fixed
	logical string // "timestamp-micros"
	scale   int    // of a decimal
	size    int    // of a fixed
	symbols []string
	actions []string    // the symbols in lower case, as actions are
	items   *avroType   // of an array or a map
	names   []string    // of the fields of a record
	parts   []*avroType // the fields of a record, or the branches of a union
	empty   bool        // a value may have no bytes at all
}

// String names t in errors.
func (t *avroType) String() string {
	switch {
	case t.logical != "":
		return string(t.kind) + " (" + t.logical + ")"
	case t.name != "":
		return string(t.kind) + " " + t.name
	}
	return string(t.kind)
}

// newAvroType converts a parsed schema. Types that refer to themselves become one type that does so.
func newAvroType(s avro.Schema, known map[string]*avroType) *avroType {
	if ref, ok := s.(*avro.RefSchema); ok {
		s = ref.Schema()
	}
	t := &avroType{kind: s.Type()}
	if named, ok := s.(avro.NamedSchema); ok {
		t.name = named.FullName()
		if old := known[t.name]; old != nil {
			return old
		}
		known[t.name] = t
	}
	if p, ok := s.(avro.PropertySchema); ok {
		t.logical, _ = p.Prop("logicalType").(string) // one that the library does not know
	}
	if l, ok := s.(avro.LogicalTypeSchema); ok && l.Logical() != nil {
		t.logical = string(l.Logical().Type())
		if d, ok := l.Logical().(*avro.DecimalLogicalSchema); ok {
			t.scale = d.Scale()
		}
	}
	switch s := s.(type) {
	case *avro.NullSchema:
		t.empty = true
	case *avro.FixedSchema:
		t.size, t.empty = s.Size(), s.Size() == 0
	case *avro.EnumSchema:
		t.symbols = s.Symbols()
		for _, symbol := range t.symbols {
			t.actions = append(t.actions, strings.ToLower(symbol))
		}
	case *avro.ArraySchema:
		t.items = newAvroType(s.Items(), known)
	case *avro.MapSchema:
		t.items = newAvroType(s.Values(), known)
	case *avro.UnionSchema:
		for _, b := range s.Types() {
			t.parts = append(t.parts, newAvroType(b, known))
		}
	case *avro.RecordSchema:
		empty := true
		for _, f := range s.Fields() {
			part := newAvroType(f.Type(), known)
			t.names, t.parts, empty = append(t.names, f.Name()), append(t.parts, part), empty && part.empty
		}
		t.empty = empty // only now: a record within itself has at least the bytes that say so
	}
	return t
}

// avroStep is what is done with one value of a record: skip it, read it, or step into it.
type avroStep struct {
	typ   *avroType
	node  *node      // what is wanted there; nil is nothing
	fault error      // a record that has this is of no use
	parts []avroStep // of a record's fields or a union's branches, in their order; of a map's wanted entries, by node.name
}

// planAvro says how to read what is wanted at n from a value of type t.
func planAvro(t *avroType, n *node) (avroStep, error) {
	s := avroStep{typ: t, node: n}
	if n == nil || t.kind == avro.Null {
		s.node = nil
		return s, nil
	}
	if t.kind == avro.Union {
		var fault error
		readable := false
		for _, branch := range t.parts {
			part, err := planAvro(branch, n)
			if part.fault = err; err != nil {
				fault = err // of the records that have this branch, unless no branch is of any use
			}
			readable = readable || err == nil && branch.kind != avro.Null
			s.parts = append(s.parts, part)
		}
		if !readable {
			return s, fault
		}
		return s, nil
	}
	if n.field != fieldNone && !readsAvro(t, n.field) {
		return s, fmt.Errorf("%s: it is a %s, want %s", n.label, t, wantedTypes(n.field))
	}
	if len(n.children) == 0 {
		return s, nil
	}
	switch t.kind {
	case avro.Record:
		for i, name := range t.names {
			part, err := planAvro(t.parts[i], n.child(name))
			if err != nil {
				return s, err
			}
			s.parts = append(s.parts, part)
		}
	case avro.Map:
		for _, child := range n.children {
			part, err := planAvro(t.items, child)
			if err != nil {
				return s, err
			}
			s.parts = append(s.parts, part)
		}
	default:
		if n.label == "" {
			return s, errors.New("it is no record")
		}
		if n.field == fieldNone {
			return s, fmt.Errorf("%s: it is a %s, want a record", n.label, t)
		}
	}
	return s, nil
}

// finds returns the fields that a record can have.
func (s *avroStep) finds() (found seen) {
	if s.fault != nil {
		return 0
	}
	if s.node != nil {
		found = s.node.bit
		if s.inText() {
			found |= s.node.within()
		}
	}
	for i := range s.parts {
		found |= s.parts[i].finds()
	}
	return found
}

// inText says that what is wanted of the inside of the context is in a string with JSON.
func (s *avroStep) inText() bool {
	return s.node != nil && s.node.field == fieldContext && len(s.node.children) > 0 && (s.typ.kind == avro.String || s.typ.kind == avro.Bytes)
}

// readsAvro says whether field f can be read from a value of type t.
func readsAvro(t *avroType, f field) bool {
	switch f {
	case fieldTime:
		switch t.logical {
		case "", "timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
			return t.kind == avro.Long || t.kind == avro.String
		}
		return false
	case fieldPrice:
		switch t.kind {
		case avro.Int, avro.Long:
			return t.logical == ""
		case avro.Bytes, avro.Fixed:
			return t.logical == "decimal"
		}
		return t.kind == avro.Float || t.kind == avro.Double
	case fieldContext:
		return t.kind == avro.String || t.kind == avro.Bytes && t.logical == "" || t.kind == avro.Record || t.kind == avro.Map
	case fieldAction:
		return t.kind == avro.String || t.kind == avro.Enum
	}
	switch t.kind {
	case avro.String, avro.Enum:
		return true
	case avro.Int, avro.Long, avro.Bytes:
		return t.logical == ""
	}
	return false
}

func wantedTypes(f field) string {
	switch f {
	case fieldTime:
		return "a timestamp, an integer of milliseconds since 1970, or RFC 3339 in a string"
	case fieldPrice:
		return "a number"
	case fieldContext:
		return "an object, or a string with one in JSON"
	case fieldAction:
		return "a string or an enum"
	}
	return "a string or an integer"
}

// newAvroReader returns a reader of records that were written with schema s.
func newAvroReader(s avro.Schema, root *node) (*avroReader, error) {
	t := newAvroType(s, map[string]*avroType{})
	plan, err := planAvro(t, root)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", t, err)
	}
	if err := lacks(plan.finds(), root); err != nil {
		fields := strings.Join(t.names, ", ")
		if fields == "" {
			fields = "none"
		}
		return nil, fmt.Errorf("schema %s: %w: its fields are %s", t, err, fields)
	}
	return &avroReader{plan}, nil
}

// lacks says which of the fields that every click has cannot be found.
func lacks(found seen, root *node) error {
	var missing []string
	var look func(n *node)
	look = func(n *node) {
		for _, c := range n.children {
			if c.field.required() && found&c.bit == 0 && !strings.Contains(c.name, ".") {
				missing = append(missing, c.label)
			}
			look(c)
		}
	}
	look(root)
	if missing == nil {
		return nil
	}
	return fmt.Errorf("it has no %s: say in source.fields how it is called", strings.Join(missing, " and no "))
}
