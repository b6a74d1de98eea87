package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-faster/jx"
)

// The readers of JSON values that follow take a field's null for an absent value, refuse other types by the field's name, and return jx's errors of text that is
// not JSON. An element of a list has no name, and may not be null.

// object reads an object whose known fields are at most 64, each by a call of field. Unknown fields are passed over; one that comes twice is refused, since JSON's
// readers do not agree on which of them counts.
func object(j *jx.Decoder, name string, known []string, field func(name string) error) error {
	if absent, err := expect(j, name, jx.Object, "an object"); absent || err != nil {
		return err
	}
	fields, err := j.ObjIter()
	if err != nil {
		return err
	}
	var seen uint64
	for fields.Next() {
		key := fields.Key()
		at := slices.IndexFunc(known, func(name string) bool { return name == string(key) })
		if at < 0 {
			if err := j.Skip(); err != nil {
				return err
			}
			continue
		}
		if seen&(1<<at) != 0 {
			return inside(name, twice(known[at]))
		}
		seen |= 1 << at
		if err := field(known[at]); err != nil {
			return inside(name, err)
		}
	}
	return fields.Err()
}

// inside puts the name of what holds a faulty field before the field's.
func inside(name string, err error) error {
	f := new(fault)
	if !errors.As(err, &f) || name == "" {
		return err
	}
	if f.field != "" {
		name += "." + f.field
	}
	f.field = name
	return f
}

// array reads a list of at most most elements, each by a call of element.
func array(j *jx.Decoder, name string, most int, element func(i int) error) error {
	if absent, err := expect(j, name, jx.Array, "a list"); absent || err != nil {
		return err
	}
	elements, err := j.ArrIter()
	if err != nil {
		return err
	}
	for i := 0; elements.Next(); i++ {
		if i == most {
			return invalid(name, "%s has more than %d elements", name, most)
		}
		if err := element(i); err != nil {
			if f := new(fault); !errors.As(err, &f) {
				return err
			}
			return inside(fmt.Sprintf("%s[%d]", name, i), err)
		}
	}
	return elements.Err()
}

func texts(j *jx.Decoder, name string, most int) (out []string, err error) {
	err = array(j, name, most, func(int) error {
		s, err := text(j, "")
		out = append(out, s)
		return err
	})
	return out, err
}

func text(j *jx.Decoder, name string) (string, error) {
	if absent, err := expect(j, name, jx.String, "a string"); absent || err != nil {
		return "", err
	}
	return j.Str()
}

// whole reads a whole number into i, which an absent one leaves as it is.
func whole(j *jx.Decoder, name string, i *int) error {
	if absent, err := expect(j, name, jx.Number, "a whole number"); absent || err != nil {
		return err
	}
	n, err := number(j)
	if err != nil {
		return err
	}
	if *i, err = strconv.Atoi(n); err != nil { // too large, or with a fraction
		return invalid(name, "%s must be a whole number, not %.40s", name, n)
	}
	return nil
}

// number returns a number as it is written. jx reads back over the space before it.
func number(j *jx.Decoder) (string, error) {
	raw, err := j.Raw()
	return strings.TrimLeft(string(raw), " \t\r\n"), err
}

func truth(j *jx.Decoder, name string) (bool, error) {
	if absent, err := expect(j, name, jx.Bool, "a boolean"); absent || err != nil {
		return false, err
	}
	return j.Bool()
}

// expect looks at the next value's type. It takes a field's null and reports it as absent. What is not JSON is left to the reader, whose error says more.
func expect(j *jx.Decoder, name string, want jx.Type, words string) (absent bool, err error) {
	got := j.Next()
	switch {
	case got == want, got == jx.Invalid:
		return false, nil
	case got == jx.Null && name != "":
		return true, j.Null()
	}
	return false, invalid(name, "%s must be %s, not a JSON %s", cmp.Or(name, "it"), words, got)
}
