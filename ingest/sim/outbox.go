package sim

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// kind is what a parcel is, for the counts.
type kind uint8

const (
	kindExposure kind = iota
	kindClick
	kindCart
	kindPurchase
	kindDuplicate
	kindTruncated // the first of the damaged
	kindNotJSON
	kindNoUser
	kindSeconds
	kindTooOld
	kindLongID
	kindOversize
)

var kindOf = map[schema.Action]kind{
	schema.ActionExposure: kindExposure, schema.ActionClick: kindClick,
	schema.ActionCart: kindCart, schema.ActionPurchase: kindPurchase,
}

// parcel is a record on its way out of the shop.
type parcel struct {
	kind       kind
	late       bool
	user       int32
	eventTime  int64
	key, value []byte
}

// outbox delivers the records, and makes a few of them come late, twice or broken.
type outbox struct {
	config    Config
	rng       *rand.Rand
	queue     timeline[*parcel]
	spare     []*parcel // for reuse; at most spareMax
	current   *parcel   // what the last deliver returned; its bytes are in use until the next call
	newest    int64     // the latest event time of a delivered clean record
	delayMax  int64     // ms
	lateAfter int64     // ms
	counts    Counts
}

const spareMax = 1024

func newOutbox(c Config, rng *rand.Rand) outbox {
	return outbox{config: c, rng: rng, delayMax: c.inTimeMillis(), lateAfter: c.lateMillis()}
}

// send takes a clean record of u.
func (o *outbox) send(u *user, c *schema.Click) {
	p := o.parcel(u, c, kindOf[c.Action])
	at := int64(c.EventTime)
	arrives := at
	late, delayed, twice := o.hit(o.config.Late), o.hit(o.config.OutOfOrder), o.hit(o.config.Duplicate)
	undecodable, invalid, oversize := o.hit(o.config.Undecodable), o.hit(o.config.Invalid), o.hit(o.config.Oversize)
	switch {
	case late && u.held == nil:
		// It waits for a record of the same user that is younger by lateAfter. They have one key, so they share a
		// partition whatever their number, and that record has moved the partition's watermark past this one.
		p.late = true
		u.held = p
	case delayed:
		arrives += 1 + o.rng.Int64N(o.delayMax)
		o.queue.push(arrives, p)
	default:
		o.queue.push(at, p)
	}
	if twice && !p.late {
		again := o.parcel(u, c, kindDuplicate)
		o.queue.push(arrives+o.rng.Int64N(at+o.delayMax-arrives+1), again)
	}
	if undecodable {
		o.damage(u, c, kindTruncated+kind(o.rng.IntN(2)))
	}
	if invalid {
		o.damage(u, c, kindNoUser+kind(o.rng.IntN(4)))
	}
	if oversize {
		o.damage(u, c, kindOversize)
	}
}

func (o *outbox) hit(share float64) bool { return o.rng.Float64() < share }

// damage sends a broken copy of c after c.
func (o *outbox) damage(u *user, c *schema.Click, s kind) {
	broken := *c
	broken.EventID += "x"
	switch s {
	case kindNoUser:
		broken.UserID = ""
	case kindSeconds:
		broken.EventTime /= 1000
	case kindTooOld:
		broken.EventTime = schema.EarliestEventTime.Add(-time.Duration(1+o.rng.IntN(1000)) * time.Second)
	case kindLongID:
		broken.ItemID += strings.Repeat("0", 300-len(broken.ItemID))
	case kindOversize:
		broken.Context = append(append([]byte(`{"pad":"`), bytes.Repeat([]byte("x"), schema.MaxRecordBytes)...), `"}`...)
	}
	p := o.parcel(u, &broken, s)
	switch s {
	case kindTruncated:
		p.value = p.value[:len(p.value)/2]
	case kindNotJSON:
		p.value = append(append(p.value[:0], "GET /collect?item="...), c.ItemID...)
	}
	o.queue.push(int64(c.EventTime)+o.rng.Int64N(o.delayMax+1), p)
}

func (o *outbox) parcel(u *user, c *schema.Click, s kind) *parcel {
	p := &parcel{}
	if last := len(o.spare) - 1; last >= 0 {
		p = o.spare[last]
		o.spare = o.spare[:last]
	}
	p.kind, p.late, p.user, p.eventTime = s, false, u.id, int64(c.EventTime)
	p.key = strconv.AppendInt(append(p.key[:0], 'u'), int64(u.id), 10) // also where user_id is missing
	p.value = source.EncodeJSON(p.value[:0], c)
	return p
}

// ready says whether there is a record to deliver before anything happens that the time next stands for.
func (o *outbox) ready(next int64) bool { return len(o.queue.heap) > 0 && o.queue.heap[0].at <= next }

// recycle takes back the bytes of the record that the last deliver returned.
func (o *outbox) recycle() {
	if p := o.current; p != nil && len(o.spare) < spareMax && cap(p.value) <= 4096 {
		o.spare = append(o.spare, p)
	}
	o.current = nil
}

// deliver returns the next record and counts it. There must be one.
func (o *outbox) deliver(users []user) source.Outgoing {
	at, p := o.queue.pop()
	o.current = p
	o.count(p)
	if p.kind <= kindPurchase && !p.late {
		o.newest = max(o.newest, p.eventTime)
		u := &users[p.user]
		u.deliveredMax = max(u.deliveredMax, p.eventTime)
		if h := u.held; h != nil && h.eventTime+o.lateAfter <= u.deliveredMax {
			u.held = nil
			o.queue.push(at, h)
		}
	}
	return source.Outgoing{Key: p.key, Value: p.value, EventTime: schema.EventTime(at)}
}

func (o *outbox) count(p *parcel) {
	c := &o.counts
	c.Records++
	switch p.kind {
	case kindExposure:
		c.Exposures++
	case kindClick:
		c.Clicks++
	case kindCart:
		c.Carts++
	case kindPurchase:
		c.Purchases++
	case kindDuplicate:
		c.Duplicates++
	case kindTruncated:
		c.Truncated++
	case kindNotJSON:
		c.NotJSON++
	case kindNoUser:
		c.NoUser++
	case kindSeconds:
		c.Seconds++
	case kindTooOld:
		c.TooOld++
	case kindLongID:
		c.LongID++
	case kindOversize:
		c.Oversize++
	}
	if p.kind <= kindPurchase {
		switch {
		case p.late:
			c.Late++
		case p.eventTime < o.newest:
			c.OutOfOrder++
		}
	}
}
