package live

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// Clicks are clicks of any users, in the order in which they were taken. Once told they must not change.
//
//	n × uvarint length of the user id, user id, packed click
type Clicks struct {
	n     int
	bytes []byte
}

// Add adds a copy of c.
func (k *Clicks) Add(c *schema.Click) {
	k.bytes = append(binary.AppendUvarint(k.bytes, uint64(len(c.UserID))), c.UserID...)
	k.bytes = packed.Append(k.bytes, c)
	k.n++
}

// Len returns how many there are.
func (k Clicks) Len() int { return k.n }

// Each calls f with each of them until it returns an error. The click is valid during the call; its texts share the memory of all of k.
func (k Clicks) Each(f func(c *schema.Click) error) error {
	var c schema.Click
	for rest := k.bytes; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return errors.New("live: a user id beyond the end of the clicks")
		}
		user := rest[size : size+int(n)]
		var err error
		if rest, err = packed.Read(rest[size+int(n):], &c); err != nil {
			return err
		}
		c.UserID = unsafe.String(unsafe.SliceData(user), len(user)) // as the click's own texts are
		if err := f(&c); err != nil {
			return err
		}
	}
	return nil
}
