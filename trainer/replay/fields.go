package replay

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields are the settable fields of structs, by the names of their koanf tags; those of a struct within go as outer.inner. A struct that gains a field
// gains a key.
type fields map[string]reflect.Value

// fieldsOf finds the fields of the structs that the pointers point to. It panics where two have one name.
func fieldsOf(pointers ...any) fields {
	f := fields{}
	for _, p := range pointers {
		f.add("", reflect.ValueOf(p).Elem())
	}
	return f
}

func (f fields) add(prefix string, s reflect.Value) {
	for i := range s.NumField() {
		name, options, _ := strings.Cut(s.Type().Field(i).Tag.Get("koanf"), ",")
		v := s.Field(i)
		switch {
		case !v.CanSet() || name == "-":
			continue
		case v.Kind() == reflect.Struct && options == "squash":
			f.add(prefix, v)
			continue
		case name == "":
			continue
		case v.Kind() == reflect.Struct:
			f.add(prefix+name+".", v)
			continue
		}
		if _, twice := f[prefix+name]; twice {
			panic("replay: two fields are called " + prefix + name)
		}
		f[prefix+name] = v
	}
}

// names returns the keys in their order.
func (f fields) names() []string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// String writes all of them as KEY=VALUE,… in the order of the keys.
func (f fields) String() string {
	names := f.names()
	for i, name := range names {
		names[i] = name + "=" + f.text(name)
	}
	return strings.Join(names, ",")
}

// set sets a field to what text says, or says what is wrong with it.
func (f fields) set(name, text string) error {
	v, ok := f[name]
	if !ok {
		return unknown("key", name, f.names())
	}
	bad := func(what string) error { return fmt.Errorf("%s=%s: want %s", name, text, what) }
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return bad("a duration such as 30m")
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.Bool:
		x, err := strconv.ParseBool(text)
		if err != nil {
			return bad("true or false")
		}
		v.SetBool(x)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		x, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return bad("a whole number")
		}
		v.SetInt(x)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		x, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return bad("a whole number, not below 0")
		}
		v.SetUint(x)
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return bad("a number")
		}
		v.SetFloat(x)
	case reflect.String:
		v.SetString(text)
	default:
		return fmt.Errorf("%s: a %v cannot be set here", name, v.Type())
	}
	return nil
}

// text writes a field as set reads it.
func (f fields) text(name string) string {
	v := f[name]
	if v.Kind() == reflect.Float32 || v.Kind() == reflect.Float64 {
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	}
	return fmt.Sprint(v.Interface())
}

// unknown says that there is no such name, and which is meant or which there are.
func unknown(what, name string, names []string) error {
	best, distance := "", len(name)/3+2 // farther off is another word
	for _, n := range names {
		if d := edits(name, n); d < distance {
			best, distance = n, d
		}
	}
	if best != "" {
		return fmt.Errorf("there is no %s %q: did you mean %s?", what, name, best)
	}
	return fmt.Errorf("there is no %s %q: they are %s", what, name, strings.Join(names, ", "))
}

// edits is the number of letters to insert, remove or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1)
			if a[i] == b[j] {
				next = min(next, corner)
			} else {
				next = min(next, corner+1)
			}
			corner, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
