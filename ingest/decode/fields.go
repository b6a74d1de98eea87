package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// field is a field of a click that is read from a record.
type field uint8

const (
	fieldNone field = iota
	fieldUser
	fieldItem
	fieldTime
	fieldAction
	fieldEvent
	fieldSession
	fieldScene
	fieldCategory
	fieldSeller
	fieldPrice
	fieldContext
	fieldCount
)

// fieldNames are the names of a click's fields, in the order of the constants.
var fieldNames = [fieldCount]string{
	fieldUser: "user_id", fieldItem: "item_id", fieldTime: "timestamp", fieldAction: "action", fieldEvent: "event_id",
	fieldSession: "session_id", fieldScene: "scene", fieldCategory: "category", fieldSeller: "seller", fieldPrice: "price",
	fieldContext: "context",
}

// Fields lists the fields of a click that Config.Fields may map.
func Fields() []string { return slices.Clone(fieldNames[fieldUser:]) }

func (f field) String() string { return fieldNames[f] }

func (f field) bit() seen { return 1 << f }

// required says that there is no click without f.
func (f field) required() bool { return f == fieldUser || f == fieldItem || f == fieldTime }

// seen is the set of fields, and of objects that hold fields, that a record has had so far.
type seen uint64

// NotRead as the name of a field in Config.Fields says that the field is not to be read at all.
const NotRead = "-"

// maxSteps bounds the length of a path to a field.
const maxSteps = 5

// node is a place in a record where something of a click is found: a field, or what holds fields, or (context) both. The
// root is the record itself.
type node struct {
	name     string
	label    string // names it in errors: "user_id", "item: price", "user_id (visitor.id)"
	field    field  // fieldNone if it only holds fields
	bit      seen
	children []*node
}

// find returns where key is among the children, or -1. It looks at from first: records of one producer have their fields in
// one order, so that the next one wanted is nearly always the one behind the last.
func (n *node) find(key []byte, from int) int {
	for i := range n.children {
		at := from + i
		if at >= len(n.children) {
			at -= len(n.children)
		}
		if n.children[at].name == string(key) {
			return at
		}
	}
	return -1
}

// child returns the child called name, or nil.
func (n *node) child(name string) *node {
	if at := n.find([]byte(name), 0); at >= 0 {
		return n.children[at]
	}
	return nil
}

// within returns the fields that are below n.
func (n *node) within() (fields seen) {
	for _, c := range n.children {
		fields |= c.bit | c.within()
	}
	return fields
}

// source is where a field is read from.
type source struct {
	field  field
	path   []string
	mapped bool // Config.Fields says so
}

func (s source) name() string { return strings.Join(s.path, ".") }

func (s source) label() string {
	if s.mapped {
		return fmt.Sprintf("%s (%s)", s.field, s.name())
	}
	return strings.Join(s.path, ": ")
}

// defaultPath is where a field is when nobody says otherwise.
func defaultPath(f field) []string {
	switch f {
	case fieldCategory, fieldSeller, fieldPrice:
		return []string{"item", f.String()}
	}
	return []string{f.String()}
}

// newTree returns the root of the places in which the fields of a click are, where fields are the ones that are not in
// their default places: the path to each, in which a dot steps into an object.
func newTree(fields map[string]string) (*node, error) {
	var faults []error
	for name, from := range fields {
		switch {
		case !slices.Contains(fieldNames[fieldUser:], name):
			faults = append(faults, fmt.Errorf("fields: %q is no field of a click: the fields are %s", name, strings.Join(Fields(), ", ")))
		case slices.Contains(strings.Split(from, "."), ""):
			faults = append(faults, fmt.Errorf("fields: %q is read from a field without a name", name))
		case strings.Count(from, ".") >= maxSteps:
			faults = append(faults, fmt.Errorf("fields: %q is read from %s, which is more than %d steps deep", name, from, maxSteps))
		}
	}
	var sources []source
	for f := fieldUser; f < fieldCount; f++ {
		from, mapped := fields[f.String()]
		switch {
		case !mapped:
			sources = append(sources, source{field: f, path: defaultPath(f)})
		case from == NotRead && f.required():
			faults = append(faults, fmt.Errorf("fields: %q must be read from somewhere", f))
		case from != NotRead:
			sources = append(sources, source{field: f, path: strings.Split(from, "."), mapped: true})
		}
	}
	sources = slices.DeleteFunc(sources, func(s source) bool {
		return !s.mapped && slices.ContainsFunc(sources, func(o source) bool { return o.mapped && within(s, o) })
	})
	taken := map[string]bool{}
	for _, s := range sources {
		if taken[s.name()] {
			faults = append(faults, fmt.Errorf("fields: two fields are read from %q: map the other one too, or leave it out with %q", s.name(), NotRead))
		}
		taken[s.name()] = true
		for _, o := range sources {
			if o.field != fieldContext && within(s, o) {
				faults = append(faults, fmt.Errorf("fields: %s is read from %q, which is in the value of %s", s.field, s.name(), o.field))
			}
		}
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(faults...)
	}
	return grow(sources), nil
}

// within says that s is read from inside of what o is read from: where item_id is mapped to "item", the item has no
// category in it.
func within(s, o source) bool {
	return len(s.path) > len(o.path) && slices.Equal(s.path[:len(o.path)], o.path)
}

func grow(sources []source) *node {
	root := &node{}
	holders := seen(1) << fieldCount // the bits of what only holds fields come after those of the fields
	for _, s := range sources {
		at := root
		for i, step := range s.path {
			next := at.child(step)
			if next == nil {
				next = &node{name: step, label: strings.Join(s.path[:i+1], ": ")}
				at.children = append(at.children, next)
			}
			at = next
		}
		at.field, at.label, at.bit = s.field, s.label(), s.field.bit()
	}
	// A field may also be called by the whole path: many event trackers write flat objects with dots in the names.
	for _, s := range sources {
		if s.mapped && len(s.path) > 1 {
			root.children = append(root.children, &node{name: s.name(), label: s.label(), field: s.field, bit: s.field.bit()})
		}
	}
	var mark func(n *node)
	mark = func(n *node) {
		for _, c := range n.children {
			if c.bit == 0 {
				c.bit = holders
				holders <<= 1
			}
			mark(c)
		}
	}
	mark(root)
	return root
}
