package schema

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// PartsFormat is the version of the parts table that this program writes and reads. It is in the metadata of the table's
// schema under PartsFormatKey.
const (
	PartsFormat    = "1"
	PartsFormatKey = "freshet.parts"
)

// RowKind says what a row of the parts table is.
type RowKind string

// The kinds of row. All but RowPart are marks: what besides records moved a partition's watermark, or its topic.
const (
	RowPart RowKind = "part"
	RowTick RowKind = "tick" // time passed on an idle partition
	RowEnd  RowKind = "end"  // the bounded input ended; what follows is of the next epoch
	RowGrow RowKind = "grow" // from here the topic has so many partitions
	RowGap  RowKind = "gap"  // an entry that a mirror could get from no node, and went on without
)

// PartsRow is one row of the parts table: an entry of a partition's log. Of a mark only Partition, Emit, Epoch and Due of
// Part are set, and Due is the partition's watermark after the mark.
type PartsRow struct {
	Kind       RowKind
	Part       Part
	Offset     Offset // of a mark: the next record when it happened
	Partitions int32  // of RowGrow: how many the topic has
}

// The columns of the parts table. Marks have null where "parts" is noted, parts where "marks" is noted. A text that the
// click did not say is empty, and its price is 0. Texts are what the producers sent: that they are UTF-8 is not checked.
//
//	partition      int32
//	emit           uint64               place in the partition's log
//	kind           utf8                 part, tick, end, grow, gap
//	epoch          uint32
//	due            timestamp[ms, UTC]   of a mark the watermark after it; null where that is the beginning of time
//	user_id        utf8                 parts
//	session_start  timestamp[ms, UTC]   parts
//	number         int32                parts; counts from 0 within the session
//	final          bool                 parts
//	cause          utf8                 parts; age, clicks, gap, max, end
//	clicks         list<struct>         parts
//	  item_id      utf8
//	  event_time   timestamp[ms, UTC]
//	  action       utf8
//	  event_id     utf8
//	  session_id   utf8
//	  scene        utf8
//	  category     utf8
//	  seller       utf8
//	  price        float64
//	  context      utf8                 a JSON object
//	  arrived_at   timestamp[ms, UTC]
//	offset         int64                marks
//	partitions     int32                marks of kind grow
const (
	colPartition = iota
	colEmit
	colKind
	colEpoch
	colDue
	colUserID
	colSessionStart
	colNumber
	colFinal
	colCause
	colClicks
	colOffset
	colPartitions
)

const (
	colItemID = iota
	colEventTime
	colAction
	colEventID
	colSession
	colScene
	colCategory
	colSeller
	colPrice
	colContext
	colArrivedAt
)

var (
	millis      = &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	clickStruct = arrow.StructOf(
		arrow.Field{Name: "item_id", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "event_time", Type: millis},
		arrow.Field{Name: "action", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "event_id", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "session_id", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "scene", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "category", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "seller", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "price", Type: arrow.PrimitiveTypes.Float64},
		arrow.Field{Name: "context", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "arrived_at", Type: millis},
	)
	clickList   = arrow.ListOfNonNullable(clickStruct)
	partsFormat = arrow.NewMetadata([]string{PartsFormatKey}, []string{PartsFormat})
	partsSchema = arrow.NewSchema([]arrow.Field{
		{Name: "partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "emit", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "kind", Type: arrow.BinaryTypes.String},
		{Name: "epoch", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "due", Type: millis, Nullable: true},
		{Name: "user_id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "session_start", Type: millis, Nullable: true},
		{Name: "number", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "final", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "cause", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "clicks", Type: clickList, Nullable: true},
		{Name: "offset", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "partitions", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	}, &partsFormat)
)

// PartsSchema returns the Arrow schema of the parts table.
func PartsSchema() *arrow.Schema { return partsSchema }

// PartsBuilder collects rows of the parts table. The zero value is ready. It is for one goroutine.
type PartsBuilder struct {
	partition, number, partitions []int32
	emit                          []uint64
	epoch                         []uint32
	due, start, offset            []int64
	kind, user, cause             texts
	final                         bits
	hasDue, isPart, isGrow        bits
	marks, noDue, grows           int

	clicks                    []int32 // the clicks of row i are those from clicks[i] to clicks[i+1]
	eventTime, arrivedAt      []int64
	price                     []float64
	item, action, eventID     texts
	session, scene            texts
	category, seller, context texts

	size int
	out  *partsWriter // of Message
}

// texts is a column of strings: text i is bytes[offsets[i]:offsets[i+1]].
type texts struct {
	offsets []int32
	bytes   []byte
}

func addText[T ~string | ~[]byte](t *texts, s T) {
	if len(t.offsets) == 0 {
		t.offsets = append(t.offsets, 0)
	}
	t.bytes = append(t.bytes, s...)
	t.offsets = append(t.offsets, int32(len(t.bytes)))
}

func (t *texts) reset() { t.offsets, t.bytes = t.offsets[:0], t.bytes[:0] }

// bits is a bitmap that grows by one bit a row.
type bits struct {
	bytes []byte
	n     int
}

func (b *bits) add(is bool) {
	if b.n%8 == 0 {
		b.bytes = append(b.bytes, 0)
	}
	if is {
		b.bytes[b.n/8] |= 1 << (b.n % 8)
	}
	b.n++
}

func (b *bits) reset() { b.bytes, b.n = b.bytes[:0], 0 }

// rowBytes is about what a row and a click take besides their texts.
const (
	rowBytes   = 60
	clickBytes = 56
)

// Rows returns the number of rows so far.
func (b *PartsBuilder) Rows() int { return len(b.emit) }

// Bytes returns about how large the table is so far.
func (b *PartsBuilder) Bytes() int { return b.size }

func (b *PartsBuilder) texts() [11]*texts {
	return [...]*texts{&b.kind, &b.user, &b.cause, &b.item, &b.action, &b.eventID, &b.session, &b.scene, &b.category, &b.seller, &b.context}
}

// MaxPartsBytes bounds a table: the offsets of Arrow's strings have 31 bits.
const MaxPartsBytes = 1<<31 - 1<<20

// PartBytes returns about how much p adds to a table. What Bytes and it make together must stay below MaxPartsBytes.
func PartBytes(p *Part) int {
	n := rowBytes + len(p.UserID)
	for i := range p.Clicks {
		n += clickSize(&p.Clicks[i])
	}
	return n
}

// ClicksBytes returns about how much n clicks with so many bytes of texts add to a table.
func ClicksBytes(n, texts int) int { return n*clickBytes + texts }

func clickSize(c *Click) int {
	return clickBytes + len(c.ItemID) + len(c.Action) + len(c.EventID) + len(c.SessionID) + len(c.Scene) + len(c.Item.Category) + len(c.Item.Seller) + len(c.Context)
}

// AddPart adds p. What it took from p it has copied.
func (b *PartsBuilder) AddPart(p *Part) {
	b.AddHead(p)
	for i := range p.Clicks {
		b.AddClick(&p.Clicks[i])
	}
}

// AddHead adds p without its clicks, which AddClick adds one by one.
func (b *PartsBuilder) AddHead(p *Part) {
	b.head(RowPart, p.Partition, p.Emit, p.Epoch, p.Due)
	b.size += len(p.UserID)
	b.isPart.add(true)
	addText(&b.user, p.UserID)
	b.start = append(b.start, int64(p.SessionStart))
	b.number = append(b.number, p.Number)
	b.final.add(p.Final)
	addText(&b.cause, p.Cause)
	b.clicks = append(b.clicks, int32(len(b.eventTime)))
	b.offset = append(b.offset, 0)
	b.isGrow.add(false)
	b.partitions = append(b.partitions, 0)
}

// AddClick adds c to the part that was added last. What it took from c it has copied.
func (b *PartsBuilder) AddClick(c *Click) {
	addText(&b.item, c.ItemID)
	b.eventTime = append(b.eventTime, int64(c.EventTime))
	addText(&b.action, c.Action)
	addText(&b.eventID, c.EventID)
	addText(&b.session, c.SessionID)
	addText(&b.scene, c.Scene)
	addText(&b.category, c.Item.Category)
	addText(&b.seller, c.Item.Seller)
	b.price = append(b.price, c.Item.Price)
	addText(&b.context, c.Context)
	b.arrivedAt = append(b.arrivedAt, int64(c.ArrivedAt))
	b.clicks[len(b.clicks)-1]++
	b.size += clickSize(c)
}

// AddRow adds r.
func (b *PartsBuilder) AddRow(r *PartsRow) {
	if r.Kind == RowPart {
		b.AddPart(&r.Part)
		return
	}
	b.head(r.Kind, r.Part.Partition, r.Part.Emit, r.Part.Epoch, r.Part.Due)
	b.isPart.add(false)
	b.marks++
	addText(&b.user, "")
	b.start = append(b.start, 0)
	b.number = append(b.number, 0)
	b.final.add(false)
	addText(&b.cause, "")
	b.clicks = append(b.clicks, int32(len(b.eventTime)))
	b.offset = append(b.offset, int64(r.Offset))
	grow := r.Kind == RowGrow
	b.isGrow.add(grow)
	if grow {
		b.grows++
		b.partitions = append(b.partitions, r.Partitions)
		return
	}
	b.partitions = append(b.partitions, 0)
}

// head adds what parts and marks both have.
func (b *PartsBuilder) head(k RowKind, p Partition, e Emit, epoch Epoch, due EventTime) {
	b.size += rowBytes
	if len(b.clicks) == 0 {
		b.clicks = append(b.clicks, 0)
	}
	b.partition = append(b.partition, int32(p))
	b.emit = append(b.emit, uint64(e))
	addText(&b.kind, k)
	b.epoch = append(b.epoch, uint32(epoch))
	b.hasDue.add(due != BeginningOfTime)
	if due == BeginningOfTime {
		b.noDue++
		due = 0
	}
	b.due = append(b.due, int64(due))
}

// Reset takes all rows out and keeps their memory, which a record made before must not need any more.
func (b *PartsBuilder) Reset() {
	for _, t := range b.texts() {
		t.reset()
	}
	for _, f := range []*bits{&b.final, &b.hasDue, &b.isPart, &b.isGrow} {
		f.reset()
	}
	b.partition, b.number, b.partitions = b.partition[:0], b.number[:0], b.partitions[:0]
	b.emit, b.epoch = b.emit[:0], b.epoch[:0]
	b.due, b.start, b.offset = b.due[:0], b.start[:0], b.offset[:0]
	b.clicks, b.eventTime, b.arrivedAt, b.price = b.clicks[:0], b.eventTime[:0], b.arrivedAt[:0], b.price[:0]
	b.marks, b.noDue, b.grows, b.size = 0, 0, 0, 0
}

// Record returns the rows as an Arrow record. It shares the builder's memory: it is valid until Reset, and who keeps it
// goes on with a new builder. The same rows give the same bytes.
func (b *PartsBuilder) Record() arrow.Record {
	rows, clicks := len(b.emit), len(b.eventTime)
	click := column{n: clicks}
	fields := []arrow.ArrayData{
		colItemID:    click.texts(&b.item),
		colEventTime: click.fixed(millis, arrow.Int64Traits.CastToBytes(b.eventTime)),
		colAction:    click.texts(&b.action),
		colEventID:   click.texts(&b.eventID),
		colSession:   click.texts(&b.session),
		colScene:     click.texts(&b.scene),
		colCategory:  click.texts(&b.category),
		colSeller:    click.texts(&b.seller),
		colPrice:     click.fixed(arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(b.price)),
		colContext:   click.texts(&b.context),
		colArrivedAt: click.fixed(millis, arrow.Int64Traits.CastToBytes(b.arrivedAt)),
	}
	any, parts := column{n: rows}, column{n: rows, nulls: b.marks, valid: b.isPart.bytes}
	due := column{n: rows, nulls: b.noDue, valid: b.hasDue.bytes}
	marks := column{n: rows, nulls: rows - b.marks, valid: b.isPart.not()}
	grows := column{n: rows, nulls: rows - b.grows, valid: b.isGrow.bytes}
	columns := []arrow.ArrayData{
		colPartition:    any.fixed(arrow.PrimitiveTypes.Int32, arrow.Int32Traits.CastToBytes(b.partition)),
		colEmit:         any.fixed(arrow.PrimitiveTypes.Uint64, arrow.Uint64Traits.CastToBytes(b.emit)),
		colKind:         any.texts(&b.kind),
		colEpoch:        any.fixed(arrow.PrimitiveTypes.Uint32, arrow.Uint32Traits.CastToBytes(b.epoch)),
		colDue:          due.fixed(millis, arrow.Int64Traits.CastToBytes(b.due)),
		colUserID:       parts.texts(&b.user),
		colSessionStart: parts.fixed(millis, arrow.Int64Traits.CastToBytes(b.start)),
		colNumber:       parts.fixed(arrow.PrimitiveTypes.Int32, arrow.Int32Traits.CastToBytes(b.number)),
		colFinal:        parts.fixed(arrow.FixedWidthTypes.Boolean, b.final.bytes),
		colCause:        parts.texts(&b.cause),
		colClicks: parts.data(clickList, []arrow.ArrayData{click.data(clickStruct, fields)},
			arrow.Int32Traits.CastToBytes(b.clicks)),
		colOffset:     marks.fixed(arrow.PrimitiveTypes.Int64, arrow.Int64Traits.CastToBytes(b.offset)),
		colPartitions: grows.fixed(arrow.PrimitiveTypes.Int32, arrow.Int32Traits.CastToBytes(b.partitions)),
	}
	arrays := make([]arrow.Array, len(columns))
	for i, c := range columns {
		arrays[i] = array.MakeFromData(c)
	}
	return array.NewRecord(partsSchema, arrays, int64(rows))
}

// column makes columns of n values. Where nulls is not 0, valid has a bit for each value that is not null.
type column struct {
	n, nulls int
	valid    []byte
}

func (c column) data(t arrow.DataType, children []arrow.ArrayData, buffers ...[]byte) arrow.ArrayData {
	all := make([]*memory.Buffer, 1, 1+len(buffers))
	if c.nulls > 0 {
		all[0] = memory.NewBufferBytes(c.valid)
	}
	for _, b := range buffers {
		all = append(all, memory.NewBufferBytes(b))
	}
	return array.NewData(t, c.n, all, children, c.nulls, 0)
}

func (c column) fixed(t arrow.DataType, values []byte) arrow.ArrayData {
	return c.data(t, nil, values)
}

func (c column) texts(t *texts) arrow.ArrayData {
	return c.data(arrow.BinaryTypes.String, nil, arrow.Int32Traits.CastToBytes(t.offsets), t.bytes)
}

// not returns the other bits.
func (b *bits) not() []byte {
	other := make([]byte, len(b.bytes))
	for i, v := range b.bytes {
		other[i] = ^v
	}
	if tail := b.n % 8; tail != 0 {
		other[len(other)-1] &= 1<<tail - 1
	}
	return other
}
