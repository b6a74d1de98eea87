package decode

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoPlan says what is wanted of the fields of a message.
type protoPlan struct {
	low  [32]*protoStep // fields 1 to 31, which are nearly all
	high map[protowire.Number]*protoStep
}

func (p *protoPlan) find(n protowire.Number) *protoStep {
	if n > 0 && int(n) < len(p.low) {
		return p.low[n]
	}
	return p.high[n]
}

func (p *protoPlan) set(n protowire.Number, s *protoStep) {
	if int(n) < len(p.low) {
		p.low[n] = s
		return
	}
	if p.high == nil {
		p.high = map[protowire.Number]*protoStep{}
	}
	p.high[n] = s
}

// protoStep is what is done with one field of a message.
type protoStep struct {
	node    *node // nil if only the others of its oneof are wanted
	desc    protoreflect.FieldDescriptor
	wire    protowire.Type
	act     protoAct
	inner   *protoPlan            // of a message that is stepped into
	entries map[string]*protoStep // of a map: its wanted values by their key
	enum    map[int32]string
	within  seen // the fields that are read from here
	clears  seen // the fields that the others of its oneof have set
}

// protoAct is what is read from a value of the right wire type.
type protoAct uint8

const (
	protoSkip    protoAct = iota
	protoScalar           // as its kind says
	protoSeconds          // the first field of a google.protobuf.Timestamp
	protoNanos            // the second
	protoInto             // a message, field by field
	protoTime             // a google.protobuf.Timestamp
	protoEntry            // an entry of a map
	protoJSON             // the context: kept as JSON at the end; also stepped into if inner or entries is there
)

// newProtoReader returns a reader of messages of type m.
func newProtoReader(m protoreflect.MessageDescriptor, root *node) (*protoReader, error) {
	r := &protoReader{}
	var found seen
	var err error
	if r.plan, found, err = r.message(m, root); err != nil {
		return nil, fmt.Errorf("message %s: %w", m.FullName(), err)
	}
	if err := lacks(found, root); err != nil {
		var fields []string
		for i := range m.Fields().Len() {
			fields = append(fields, string(m.Fields().Get(i).Name()))
		}
		return nil, fmt.Errorf("message %s: %w: its fields are %s", m.FullName(), err, strings.Join(fields, ", "))
	}
	return r, nil
}

// message says how to read what is wanted below n from a message of type m.
func (r *protoReader) message(m protoreflect.MessageDescriptor, n *node) (p *protoPlan, found seen, err error) {
	p = &protoPlan{}
	for _, c := range n.children {
		fd := m.Fields().ByName(protoreflect.Name(c.name))
		if fd == nil {
			continue
		}
		s, err := r.step(fd, c)
		if err != nil {
			return nil, 0, err
		}
		p.set(fd.Number(), s)
		found |= s.within
	}
	for i := range m.Oneofs().Len() {
		exclude(p, m.Oneofs().Get(i))
	}
	return p, found, nil
}

// exclude makes each field of a oneof clear what the others of it have set: the last one on the wire holds.
func exclude(p *protoPlan, one protoreflect.OneofDescriptor) {
	all := seen(0)
	for i := range one.Fields().Len() {
		if s := p.find(one.Fields().Get(i).Number()); s != nil {
			all |= s.within
		}
	}
	if all == 0 {
		return
	}
	for i := range one.Fields().Len() {
		fd := one.Fields().Get(i)
		s := p.find(fd.Number())
		if s == nil {
			s = &protoStep{desc: fd, wire: wireOf(fd)}
			p.set(fd.Number(), s)
		}
		s.clears = all &^ s.within
	}
}

// step says how to read what is wanted at n from field fd.
func (r *protoReader) step(fd protoreflect.FieldDescriptor, n *node) (*protoStep, error) {
	s := &protoStep{node: n, desc: fd, wire: wireOf(fd), within: n.bit}
	var err error
	switch m := fd.Message(); {
	case fd.IsMap() && (n.field == fieldNone || n.field == fieldContext) && (len(n.children) == 0 || fd.MapKey().Kind() == protoreflect.StringKind):
		s.act = protoEntry
		for _, c := range n.children {
			if s.entries == nil {
				s.entries = map[string]*protoStep{}
			}
			if s.entries[c.name], err = r.step(fd.MapValue(), c); err != nil {
				return nil, err
			}
			s.within |= s.entries[c.name].within
		}
	case fd.IsMap() || fd.IsList() || fd.Kind() == protoreflect.GroupKind:
		return nil, fmt.Errorf("%s: it is a %s, want %s", n.label, typeName(fd), wantedTypes(n.field))
	case m == nil:
		if n.field == fieldNone || !readsProto(fd.Kind(), n.field) {
			return nil, fmt.Errorf("%s: it is a %s, want %s", n.label, typeName(fd), wantedTypes(n.field))
		}
		s.act = protoScalar
		if n.field == fieldContext {
			s.within |= n.within() // whether they are in its JSON, only a record says
		}
		if fd.Enum() != nil {
			s.enum = enumNames(fd.Enum(), n.field == fieldAction)
		}
		if fd.HasDefault() && n.field != fieldTime && n.field != fieldContext {
			r.defaults = append(r.defaults, protoDefault{n.field, defaultText(fd, s.enum)})
		}
	case n.field == fieldTime && m.FullName() == "google.protobuf.Timestamp":
		s.act, s.inner = protoTime, &protoPlan{}
		s.inner.set(1, &protoStep{node: n, desc: m.Fields().ByNumber(1), wire: protowire.VarintType, act: protoSeconds})
		s.inner.set(2, &protoStep{node: n, desc: m.Fields().ByNumber(2), wire: protowire.VarintType, act: protoNanos})
	case n.field != fieldNone && n.field != fieldContext:
		value := m.Fields().ByNumber(1)
		if !strings.HasPrefix(string(m.FullName()), "google.protobuf.") || !strings.HasSuffix(string(m.Name()), "Value") ||
			m.Fields().Len() != 1 || value.Name() != "value" {
			return nil, fmt.Errorf("%s: it is a %s, want %s", n.label, typeName(fd), wantedTypes(n.field))
		}
		s.act, s.inner = protoInto, &protoPlan{} // a google.protobuf.StringValue, Int64Value and so on
		inner, err := r.step(value, n)
		if err != nil {
			return nil, err
		}
		s.inner.set(1, inner)
	default:
		s.act = protoInto
		if len(n.children) > 0 {
			var found seen
			if s.inner, found, err = r.message(m, n); err != nil {
				return nil, err
			}
			s.within |= found
		}
	}
	if n.field == fieldContext && s.act != protoScalar {
		s.act = protoJSON
	}
	return s, nil
}

func typeName(fd protoreflect.FieldDescriptor) string {
	name := fd.Kind().String()
	switch {
	case fd.IsMap():
		return fmt.Sprintf("map<%s, %s>", typeName(fd.MapKey()), typeName(fd.MapValue()))
	case fd.Message() != nil:
		name = string(fd.Message().FullName())
	case fd.Enum() != nil:
		name = string(fd.Enum().FullName())
	}
	if fd.IsList() {
		return "repeated " + name
	}
	return name
}

// readsProto says whether field f can be read from a scalar of kind k.
func readsProto(k protoreflect.Kind, f field) bool {
	switch k {
	case protoreflect.StringKind:
		return f != fieldPrice
	case protoreflect.BytesKind:
		return f != fieldPrice && f != fieldTime && f != fieldAction
	case protoreflect.EnumKind:
		return f != fieldPrice && f != fieldTime && f != fieldContext
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return f == fieldPrice
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return f != fieldAction && f != fieldContext
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return f != fieldAction && f != fieldContext && f != fieldTime // 32 bits hold no milliseconds since 1970
	}
	return false
}

func wireOf(fd protoreflect.FieldDescriptor) protowire.Type {
	if fd.IsList() && fd.IsPacked() {
		return protowire.BytesType
	}
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.Fixed32Type
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// enumNames maps the numbers of an enum to its names. Those of actions are written as actions are: ACTION_CART of an enum
// Action is cart, and ACTION_UNSPECIFIED is none.
func enumNames(e protoreflect.EnumDescriptor, actions bool) map[int32]string {
	names := map[int32]string{}
	for i := e.Values().Len() - 1; i >= 0; i-- { // of aliases the first one counts
		v := e.Values().Get(i)
		name := string(v.Name())
		if actions {
			name = strings.ToLower(strings.TrimPrefix(name, upperSnake(string(e.Name()))+"_"))
			if name == "unspecified" {
				name = ""
			}
		}
		names[int32(v.Number())] = name
	}
	return names
}

// upperSnake writes ClickAction as CLICK_ACTION.
func upperSnake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && 'A' <= r && r <= 'Z' && !('A' <= s[i-1] && s[i-1] <= 'Z') {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToUpper(string(r)))
	}
	return b.String()
}

// protoDefault is what a field is when the record does not say.
type protoDefault struct {
	field field
	text  string
}

func defaultText(fd protoreflect.FieldDescriptor, enum map[int32]string) string {
	switch v := fd.Default(); fd.Kind() {
	case protoreflect.EnumKind:
		return enum[int32(v.Enum())]
	case protoreflect.BytesKind:
		return string(v.Bytes())
	default:
		return v.String()
	}
}

func (d protoDefault) set(c *schema.Click) {
	if d.field == fieldPrice {
		if x, err := strconv.ParseFloat(d.text, 64); err == nil {
			c.Item.Price = x
		}
		return
	}
	setText(c, d.field, d.text)
}

// setText sets a field that is text.
func setText(c *schema.Click, f field, s string) {
	switch f {
	case fieldUser:
		c.UserID = s
	case fieldItem:
		c.ItemID = s
	case fieldAction:
		c.Action = schema.Action(s)
	case fieldEvent:
		c.EventID = s
	case fieldSession:
		c.SessionID = s
	case fieldScene:
		c.Scene = s
	case fieldCategory:
		c.Item.Category = s
	case fieldSeller:
		c.Item.Seller = s
	}
}
