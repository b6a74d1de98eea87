package evaluate

import (
	"fmt"
	"strconv"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// The open sessions are a table, in the order in which they were last clicked in:
//
//	user    string
//	scene   string
//	opened  int64   milliseconds
//	last    int64
//	lists   int32*  by arm: how many rows, or -1 where it does not judge; the rows
//	targets int32*  by item: hash, clicks, age of two words each; flags; the action's bytes behind their number; by arm that judges, the rank
const (
	flagUnseen = 1 << iota
	flagInSession
	flagEarlier
)

// Table returns the open sessions, for a checkpoint, beside the Table of the Evaluation.
func (s *Sessions) Table() schema.Table {
	n := len(s.byUser)
	users, scenes := make([]string, 0, n), make([]string, 0, n)
	opened, last := make([]int64, 0, n), make([]int64, 0, n)
	lists, targets := make([][]int32, 0, n), make([][]int32, 0, n)
	for h := s.root.next; h != &s.root; h = h.next {
		users, scenes = append(users, h.user), append(scenes, h.scene)
		opened, last = append(opened, int64(h.opened)), append(last, int64(h.last))
		lists, targets = append(lists, h.listWords()), append(targets, h.targetWords())
	}
	return schema.Table{
		Columns: []schema.Column{
			{Name: "user", Data: users}, {Name: "scene", Data: scenes}, {Name: "opened", Data: opened}, {Name: "last", Data: last},
			{Name: "lists", Data: lists}, {Name: "targets", Data: targets},
		},
		Meta: [][2]string{
			{"format", strconv.Itoa(tableFormat)}, {"settings", s.settings()},
			{"refused", strconv.FormatInt(s.refused, 10)}, {"cut", strconv.FormatInt(s.cut, 10)},
		},
	}
}

func (s *Sessions) settings() string {
	return fmt.Sprintf("%s limit=%d gap=%v", s.e.settings(), s.limit, s.gap)
}

func (h *held) listWords() []int32 {
	words := make([]int32, 0, len(h.lists)*(1+deepest))
	for _, list := range h.lists {
		if list == nil {
			words = append(words, -1)
			continue
		}
		words = append(append(words, int32(len(list))), list...)
	}
	return words
}

func (h *held) targetWords() []int32 {
	words := []int32{}
	for i, t := range h.targets {
		for _, x := range [...]uint64{h.items[i], uint64(t.Clicks), uint64(t.Age)} {
			words = append(words, int32(x>>32), int32(x))
		}
		words = append(words, flagIf(t.Unseen, flagUnseen)|flagIf(t.InSession, flagInSession)|flagIf(t.Earlier, flagEarlier), int32(len(t.Action)))
		for _, c := range []byte(t.Action) {
			words = append(words, int32(c))
		}
		for arm, list := range h.lists {
			if list != nil {
				words = append(words, int32(h.ranks[arm][i]))
			}
		}
	}
	return words
}

func flagIf(set bool, flag int32) int32 {
	if set {
		return flag
	}
	return 0
}

// RestoreSessions returns the holder that goes on from a table of the same settings. Any fault is a schema.ErrCorrupt.
func RestoreSessions(e *Evaluation, limit int, gap time.Duration, table schema.Table) (*Sessions, error) {
	s := NewSessions(e, limit, gap)
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("%w: held sessions: %s", schema.ErrCorrupt, fmt.Sprintf(format, args...))
	}
	if format := table.MetaValue("format"); format != strconv.Itoa(tableFormat) {
		return nil, corrupt("format %q, want %d", format, tableFormat)
	}
	if there, here := table.MetaValue("settings"), s.settings(); there != here {
		return nil, corrupt("they have %q, want %q", there, here)
	}
	var err error
	if s.refused, err = strconv.ParseInt(table.MetaValue("refused"), 10, 64); err != nil {
		return nil, corrupt("refused: %v", err)
	}
	if s.cut, err = strconv.ParseInt(table.MetaValue("cut"), 10, 64); err != nil {
		return nil, corrupt("cut: %v", err)
	}
	c := columns{table: table}
	users, scenes := columnOf[[]string](&c, "user"), columnOf[[]string](&c, "scene")
	opened, last := columnOf[[]int64](&c, "opened"), columnOf[[]int64](&c, "last")
	lists, targets := columnOf[[][]int32](&c, "lists"), columnOf[[][]int32](&c, "targets")
	if c.err != nil {
		return nil, fmt.Errorf("held sessions: %w", c.err)
	}
	for _, n := range []int{len(scenes), len(opened), len(last), len(lists), len(targets)} {
		if n != len(users) || n > limit {
			return nil, corrupt("columns of unequal length, or more than %d", limit)
		}
	}
	for i, user := range users {
		h := s.take()
		h.user, h.scene, h.opened, h.last = user, scenes[i], schema.EventTime(opened[i]), schema.EventTime(last[i])
		if s.byUser[user] != nil || !h.readLists(lists[i]) || !h.readTargets(targets[i]) {
			return nil, corrupt("session %d cannot be read", i)
		}
		s.put(h)
	}
	return s, nil
}

// columns keeps the first error, so that columns can be read one after the other.
type columns struct {
	table schema.Table
	err   error
}

func columnOf[T any](c *columns, name string) T {
	data, err := schema.Col[T](c.table, name)
	if c.err == nil {
		c.err = err
	}
	return data
}

func (h *held) readLists(words []int32) bool {
	for arm := range h.lists {
		if len(words) == 0 {
			return false
		}
		n := int(words[0])
		words = words[1:]
		if n == -1 {
			continue
		}
		if n < 0 || n > min(deepest, len(words)) {
			return false
		}
		h.lists[arm] = append(make([]int32, 0, deepest), words[:n]...)
		words = words[n:]
	}
	return len(words) == 0
}

func (h *held) readTargets(words []int32) bool {
	const fixed = 8
	for len(words) > 0 {
		if len(words) < fixed || len(h.items) == maxSessionTargets {
			return false
		}
		var wide [3]uint64
		for i := range wide {
			wide[i] = uint64(uint32(words[2*i]))<<32 | uint64(uint32(words[2*i+1]))
		}
		flags, n := words[6], int(words[7])
		words = words[fixed:]
		if n < 0 || n > len(words) {
			return false
		}
		action := make([]byte, n)
		for i := range action {
			action[i] = byte(words[i])
		}
		words = words[n:]
		h.items = append(h.items, wide[0])
		h.targets = append(h.targets, Target{
			Clicks: int64(wide[1]), Age: time.Duration(wide[2]), Action: schema.Action(action),
			Unseen: flags&flagUnseen != 0, InSession: flags&flagInSession != 0, Earlier: flags&flagEarlier != 0,
		})
		for arm, list := range h.lists {
			if list == nil {
				continue
			}
			if len(words) == 0 {
				return false
			}
			h.ranks[arm] = append(h.ranks[arm], int(words[0]))
			words = words[1:]
		}
	}
	return true
}
