package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

const (
	pageItems      = 5
	sceneIsSearch  = 0.4 // of the clicks after a session's first; the others are on a detail page
	pageBeforeTime = 0.5 // a page is shown at half of the thinking
)

// Shop is the simulated shop: a stream of records that is a function of its Config alone. It is not safe for concurrent
// use.
type Shop struct {
	config Config
	k      *catalogue
	crowd  *crowd
	choice *choice
	scenes *rand.Rand // what the shop shows and where; never what the user wants
	wakes  timeline[*user]
	out    outbox
	click  schema.Click
	events int64
	closed bool

	pageChance float64
	text       []byte
	context    []byte
}

var _ source.Stream = (*Shop)(nil)

// New opens the shop of c, or returns every fault of c.
func New(c Config) (*Shop, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("simulated shop: %w", err)
	}
	random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.Seed, stream)) }
	k := newCatalogue(c, random(1))
	s := &Shop{
		config:     c,
		k:          k,
		crowd:      newCrowd(c, random(2), k.demand),
		choice:     newChoice(k),
		scenes:     random(3),
		pageChance: c.ExposureShare / (1 - c.ExposureShare) / pageItems,
	}
	s.out = newOutbox(c, random(4))
	s.open()
	return s, nil
}

// open puts everybody where a shop finds them that has been open for long: some within a session, the others at home.
func (s *Shop) open() {
	w := s.crowd
	within := w.thinkMillis * (1/w.leaves - 1)
	for i := range w.users {
		u := &w.users[i]
		wait := w.idle()
		if w.rng.Float64()*(within+w.idleMillis) < within {
			wait = int64(w.rng.Float64() * float64(w.think()))
		}
		s.expect(u, int64(s.config.Start)+wait, wait)
	}
}

// expect plans the next click of u at time at, wait after what came before it, and perhaps a page before the click.
func (s *Shop) expect(u *user, at, wait int64) {
	u.clicksAt = at
	if u.page = s.scenes.Float64() < s.pageChance; u.page {
		at -= int64(float64(min(wait, 2*int64(s.crowd.thinkMillis))) * pageBeforeTime)
	}
	s.wakes.push(at, u)
}

// Next returns the next record. Its EventTime is the moment at which it is delivered and never falls; the record's own
// timestamp is earlier where the delivery was delayed. It returns io.EOF after Config.Records records and once closed.
func (s *Shop) Next() (source.Outgoing, error) {
	if s.closed || s.config.Records > 0 && s.out.counts.Records == int64(s.config.Records) {
		return source.Outgoing{}, io.EOF
	}
	s.out.recycle()
	for !s.out.ready(s.wakes.heap[0].at) { // never empty: each user is always expected
		at, u := s.wakes.pop()
		s.wake(u, at)
	}
	return s.out.deliver(s.crowd.users), nil
}

// Len returns the number of records of the stream, or -1 when it has no end.
func (s *Shop) Len() int {
	if s.config.Records > 0 {
		return s.config.Records
	}
	return -1
}

// Close ends the stream. It may be called again.
func (s *Shop) Close() error {
	s.closed = true
	return nil
}

// Counts says what the stream has held so far. Records that are still on their way are not counted.
func (s *Shop) Counts() Counts { return s.out.counts }

// wake lets u do what u was expected to do at time at.
func (s *Shop) wake(u *user, at int64) {
	s.k.refresh(at)
	s.out.counts.ItemsBorn, s.out.counts.ItemsDied = s.k.born, s.k.died
	if !u.begun {
		u.begun = true
		s.out.counts.Sessions++
		u.session = s.out.counts.Sessions
		if s.crowd.shift(u) {
			s.out.counts.Shifts++
		}
	}
	if u.page {
		u.page = false
		s.show(u, at)
		s.wakes.push(u.clicksAt, u)
		return
	}
	s.act(u, at)
	wait := s.crowd.think()
	if s.crowd.rng.Float64() < s.crowd.leaves {
		u.begun, u.acts = false, 0
		wait = s.crowd.idle()
	}
	s.expect(u, at+wait, wait)
}

// show exposes a run of neighbours on the front page, or on a shelf of the intent. What is shown is drawn without a look
// at what u will click, so exposures say nothing about the next click that the clicks before it do not say.
func (s *Shop) show(u *user, at int64) {
	slots := s.k.front
	if u.acts > 0 {
		slots = s.k.shelves[u.intent*bandCount+s.scenes.Int32N(bandCount)].slots
	}
	n := min(pageItems, len(slots))
	from := s.scenes.IntN(min(len(slots)-n, 2*pageItems) + 1)
	s.context = s.context[:0]
	scene := s.scene(u)
	for _, t := range slots[from : from+n] {
		s.emit(u, t, at, schema.ActionExposure, scene)
	}
}

// act lets u click, or take the last item a step further.
func (s *Shop) act(u *user, at int64) {
	s.choice.of(u)
	t, stays := s.choice.draw(s.crowd.rng)
	s.context = append(s.context[:0], `{"oracle_rank":`...)
	s.context = strconv.AppendInt(s.context, int64(s.choice.rank(t)), 10)
	s.context = append(s.context, '}')

	action := schema.ActionClick
	did := didClick
	if stays {
		action, did = schema.ActionCart, didCart
		if u.did == didCart {
			action, did = schema.ActionPurchase, didPurchase
		}
	}
	s.emit(u, t, at, action, s.scene(u))
	if u.acts == 0 {
		u.intent = s.k.items[t].cluster
	}
	u.acts++
	u.did = did
	u.remember(ref{t, s.k.items[t].serial})
}

// scene says where u is. It depends on what is known before the click only.
func (s *Shop) scene(u *user) string {
	switch {
	case u.acts == 0:
		return "home"
	case s.scenes.Float64() < sceneIsSearch:
		return "search"
	}
	return "detail"
}

func (s *Shop) emit(u *user, t slot, at int64, action schema.Action, scene string) {
	it := &s.k.items[t]
	s.events++
	s.click = schema.Click{
		UserID:    s.id('u', int64(u.id)),
		ItemID:    s.id('i', it.serial),
		EventTime: schema.EventTime(at),
		Action:    action,
		EventID:   s.id('e', s.events),
		SessionID: s.id('s', u.session),
		Scene:     scene,
		Item: schema.ItemInfo{
			Category: s.id('c', int64(it.cluster)),
			Seller:   s.id('m', int64(it.seller)),
			Price:    it.price,
		},
		Context: s.context,
	}
	s.out.send(u, &s.click)
}

// id returns a letter and a number.
func (s *Shop) id(letter byte, n int64) string {
	s.text = strconv.AppendInt(append(s.text[:0], letter), n, 10)
	return string(s.text)
}
