package decode

import (
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// Config says what the records of a topic look like. The zero Config is JSON under the names of a click.
type Config struct {
	// Fields names what fields of a click are read from where that is not their own name: {"user_id": "visitor.id"}. A dot
	// steps into an object; NotRead leaves an optional field out.
	Fields map[string]string
	// Actions names what actions of the producer mean: {"addtocart": "cart"}. Others are kept under their own name.
	Actions map[string]string
}

// Decoder makes clicks of record values. It is safe for concurrent use.
type Decoder struct {
	reader  reader
	actions map[schema.Action]schema.Action
	time    string // what the time of a click is called, for the error where there is none
}

// reader reads the fields of one format. It sets the fields that it finds, says which those are, and ends at the first
// error.
type reader interface {
	read(value []byte, c *schema.Click) (seen, error)
}

// New returns a decoder for c, or every fault of c.
func New(c Config) (*Decoder, error) {
	root, err := newTree(c.Fields)
	if err != nil {
		return nil, err
	}
	d := &Decoder{reader: &jsonReader{root}, time: source{fieldTime, []string{"timestamp"}, false}.label()}
	if from, ok := c.Fields["timestamp"]; ok {
		d.time = source{fieldTime, []string{from}, true}.label()
	}
	for from, to := range c.Actions {
		if from == "" || to == "" {
			return nil, fmt.Errorf("actions: %q means %q: write the producer's name and the click's, such as addtocart: cart", from, to)
		}
		if d.actions == nil {
			d.actions = make(map[schema.Action]schema.Action, len(c.Actions))
		}
		d.actions[schema.Action(from)] = schema.Action(to)
	}
	return d, nil
}

// JSON returns the decoder of the zero Config.
func JSON() *Decoder {
	d, err := New(Config{})
	if err != nil {
		panic("decode: the zero Config has a fault: " + err.Error())
	}
	return d
}

// Decode sets c to the click in value, but for its arrival. After an error c has what was readable before it.
//
// The strings and the context of c are part of value: they are valid as long as the bytes of value stay as they are.
// Whoever keeps them longer copies them.
func (d *Decoder) Decode(value []byte, c *schema.Click) error {
	*c = schema.Click{}
	s, err := d.reader.read(value, c)
	if err != nil {
		return err
	}
	if s&fieldTime.bit() == 0 {
		return errors.New(d.time + " is missing")
	}
	if c.Action == "" {
		c.Action = schema.ActionClick
	}
	if d.actions != nil {
		if meant, ok := d.actions[c.Action]; ok {
			c.Action = meant
		}
	}
	return nil
}
