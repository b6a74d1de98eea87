package schema

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// PartsBatch is a record batch of the parts table, whose form has been checked. It can be read from several goroutines.
type PartsBatch struct {
	rows, clicks int

	partition, number, partitions         []int32
	emit                                  []uint64
	epoch                                 []uint32
	due, start                            []arrow.Timestamp
	offset                                []int64
	kind, user, cause                     textColumn
	final                                 *array.Boolean
	dueOf, partOf, markOf, growOf         arrow.Array // whose nulls say what a row has
	lists                                 []int32     // the clicks of row i are those from lists[i] to lists[i+1]
	item, action, eventID, session, scene textColumn
	category, seller, context             textColumn
	eventTime, arrivedAt                  []arrow.Timestamp
	price                                 []float64
}

// textColumn is a column of strings: text i is bytes[offsets[i]:offsets[i+1]].
type textColumn struct {
	offsets []int32
	bytes   []byte
	text    string // the same memory
}

func (c *textColumn) at(i int) string { return c.text[c.offsets[i]:c.offsets[i+1]] }

// OpenParts checks the form of a record with the schema of PartsSchema. The batch shares its memory. Every fault is an
// ErrCorrupt.
func OpenParts(record arrow.Record) (b *PartsBatch, err error) {
	defer func() { // Arrow's accessors panic on buffers that are too short
		if r := recover(); r != nil {
			b, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	if !record.Schema().Equal(partsSchema) {
		return nil, fmt.Errorf("%w: its columns are not those of the parts table", ErrCorrupt)
	}
	b = &PartsBatch{rows: int(record.NumRows())}
	o := opener{}
	column := func(i int) arrow.Array {
		f := partsSchema.Field(i)
		return o.column(record.Column(i), f.Name, b.rows, f.Nullable)
	}
	b.partition = column(colPartition).(*array.Int32).Int32Values()
	b.emit = column(colEmit).(*array.Uint64).Uint64Values()
	b.kind = o.texts(column(colKind))
	b.epoch = column(colEpoch).(*array.Uint32).Uint32Values()
	b.dueOf = column(colDue)
	b.due = b.dueOf.(*array.Timestamp).TimestampValues()
	b.partOf = column(colUserID)
	b.user = o.texts(b.partOf)
	b.start = column(colSessionStart).(*array.Timestamp).TimestampValues()
	b.number = column(colNumber).(*array.Int32).Int32Values()
	b.final = column(colFinal).(*array.Boolean)
	b.cause = o.texts(column(colCause))
	lists := column(colClicks).(*array.List)
	b.markOf = column(colOffset)
	b.offset = b.markOf.(*array.Int64).Int64Values()
	b.growOf = column(colPartitions)
	b.partitions = b.growOf.(*array.Int32).Int32Values()
	alike := []arrow.Array{record.Column(colSessionStart), record.Column(colNumber), b.final, record.Column(colCause)}
	for i := 0; i < b.rows && o.err == nil; i++ { // nulls go together
		part := b.partOf.IsValid(i)
		fits := b.markOf.IsValid(i) != part && (b.dueOf.IsValid(i) || !part)
		for _, c := range alike {
			fits = fits && c.IsValid(i) == part
		}
		if !fits {
			o.check(false, "row %d has columns of a part and of a mark, or of neither", i)
		}
		b.growOf.IsValid(i) // these bitmaps are there
		b.final.Value(i)
	}
	b.openClicks(&o, lists)
	return b, o.err
}

// openClicks opens the columns of the clicks.
func (b *PartsBatch) openClicks(o *opener, lists *array.List) {
	if b.rows == 0 || o.err != nil {
		return
	}
	structs := lists.ListValues().(*array.Struct)
	b.lists = o.offsets(lists.Offsets()[lists.Offset():], b.rows, structs.Len())
	if b.lists == nil {
		return
	}
	b.clicks = int(b.lists[b.rows])
	o.check(structs.NullN() == 0, "clicks are null")
	field := func(i int) arrow.Array {
		c := structs.Field(i)
		if c.Len() < b.clicks {
			o.check(false, "column %q of the clicks is too short", clickStruct.Field(i).Name)
		}
		return o.column(c, clickStruct.Field(i).Name, c.Len(), false)
	}
	b.item, b.action, b.eventID = o.texts(field(colItemID)), o.texts(field(colAction)), o.texts(field(colEventID))
	b.session, b.scene = o.texts(field(colSession)), o.texts(field(colScene))
	b.category, b.seller, b.context = o.texts(field(colCategory)), o.texts(field(colSeller)), o.texts(field(colContext))
	b.eventTime = field(colEventTime).(*array.Timestamp).TimestampValues()
	b.arrivedAt = field(colArrivedAt).(*array.Timestamp).TimestampValues()
	b.price = field(colPrice).(*array.Float64).Float64Values()
}

// opener opens columns. The first fault sticks.
type opener struct{ err error }

func (o *opener) check(ok bool, format string, args ...any) {
	if !ok && o.err == nil {
		o.err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
}

// column checks the length of c, and that it has no nulls unless it may.
func (o *opener) column(c arrow.Array, name string, rows int, nullable bool) arrow.Array {
	o.check(c.Len() == rows, "column %q has %d values, not %d", name, c.Len(), rows)
	o.check(nullable || c.NullN() == 0, "column %q has nulls", name)
	return c
}

// texts checks that the texts of c lie within its bytes, one behind the other.
func (o *opener) texts(a arrow.Array) (c textColumn) {
	n := a.Len()
	if n == 0 || o.err != nil {
		return textColumn{}
	}
	data := a.Data()
	if b := data.Buffers()[2]; b != nil {
		c.bytes = b.Bytes()
	}
	c.offsets = o.offsets(arrow.Int32Traits.CastFromBytes(data.Buffers()[1].Bytes())[data.Offset():], n, len(c.bytes))
	c.text = unsafe.String(unsafe.SliceData(c.bytes), len(c.bytes))
	return c
}

// offsets checks that n stretches, one behind the other, lie within end: else few bytes could be read many times over.
func (o *opener) offsets(all []int32, n, end int) []int32 {
	if len(all) < n+1 {
		o.check(false, "%d offsets for %d values", len(all), n)
		return nil
	}
	all = all[:n+1]
	last := int32(0)
	for _, at := range all {
		if at < last {
			o.check(false, "a value that ends before it begins")
			return nil
		}
		last = at
	}
	o.check(int(last) <= end, "a value beyond the end")
	return all
}

// Len returns the number of rows.
func (b *PartsBatch) Len() int { return b.rows }

// Row returns row i without its clicks. Its texts share the batch's memory.
func (b *PartsBatch) Row(i int) (r PartsRow, err error) {
	if r.Kind, err = kindOf(b.kind.at(i)); err != nil {
		return r, fmt.Errorf("row %d: %w", i, err)
	}
	p := &r.Part
	p.Partition, p.Emit, p.Epoch, p.Due = Partition(b.partition[i]), Emit(b.emit[i]), Epoch(b.epoch[i]), BeginningOfTime
	if b.dueOf.IsValid(i) {
		p.Due = EventTime(b.due[i])
	}
	if part := b.partOf.IsValid(i); part != (r.Kind == RowPart) || (r.Kind == RowGrow) != b.growOf.IsValid(i) {
		return r, fmt.Errorf("%w: row %d does not have the columns of a %s", ErrCorrupt, i, r.Kind)
	} else if part {
		p.UserID, p.SessionStart, p.Number = b.user.at(i), EventTime(b.start[i]), b.number[i]
		p.Final, p.Cause = b.final.Value(i), Cause(b.cause.at(i))
		return r, nil
	}
	r.Offset = Offset(b.offset[i])
	if r.Kind == RowGrow {
		r.Partitions = b.partitions[i]
	}
	return r, nil
}

var rowKinds = []RowKind{RowPart, RowTick, RowEnd, RowGrow, RowGap}

func kindOf(name string) (RowKind, error) {
	for _, k := range rowKinds {
		if string(k) == name {
			return k, nil
		}
	}
	return "", fmt.Errorf("%w: %.20q is a kind that this program does not know: run a newer freshet", ErrCorrupt, name)
}

// Clicks returns where among the clicks of the batch those of row i begin and end.
func (b *PartsBatch) Clicks(i int) (from, to int) { return int(b.lists[i]), int(b.lists[i+1]) }

// Click writes click i of the batch to c, all but its user. Its texts and context share the batch's memory.
func (b *PartsBatch) Click(i int, c *Click) {
	c.UserID = ""
	c.ItemID, c.EventTime, c.Action = b.item.at(i), EventTime(b.eventTime[i]), Action(b.action.at(i))
	c.EventID, c.SessionID, c.Scene = b.eventID.at(i), b.session.at(i), b.scene.at(i)
	c.Item.Category, c.Item.Seller, c.Item.Price = b.category.at(i), b.seller.at(i), b.price[i]
	c.ArrivedAt, c.Context = ArrivalTime(b.arrivedAt[i]), nil
	if from, to := b.context.offsets[i], b.context.offsets[i+1]; from < to {
		c.Context = b.context.bytes[from:to:to]
	}
}

// Rows returns all rows with their clicks.
func (b *PartsBatch) Rows() ([]PartsRow, error) {
	rows, clicks := make([]PartsRow, b.rows), make([]Click, b.clicks)
	for i := range rows {
		r := &rows[i]
		var err error
		if *r, err = b.Row(i); err != nil {
			return nil, err
		}
		if from, to := b.Clicks(i); r.Kind == RowPart && from < to {
			r.Part.Clicks = clicks[from:to:to]
			for j := range r.Part.Clicks {
				b.Click(from+j, &r.Part.Clicks[j])
				r.Part.Clicks[j].UserID = r.Part.UserID
			}
		}
	}
	return rows, nil
}
