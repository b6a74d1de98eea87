package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is what a place says about a key: text, a list of texts, or a map of texts. Types belong to the key, so "8080" and
// 8080 are the same number in YAML, and the environment needs no rules of its own.
type value struct {
	text string
	list []string
	dict map[string]string
	sort valueSort
}

type valueSort int

const (
	isText valueSort = iota
	isList
	isDict
)

// convert turns v into the type of k. The error says what is wrong, the text after it what to write instead.
func convert(k Key, v value) (out any, problem, next string) {
	switch {
	case k.typ == reflect.TypeFor[[]string]():
		return toList(v)
	case k.typ == reflect.TypeFor[map[string]string]():
		return toDict(v)
	case v.sort != isText:
		return nil, "it is not a single value", "write one value"
	}
	text := strings.TrimSpace(v.text)
	if len(k.enum) > 0 && !slices.Contains(k.enum, text) {
		return nil, fmt.Sprintf("%q is not known", text), "write one of " + strings.Join(k.enum, ", ")
	}
	if k.typ == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Sprintf("%q is not a duration", text), "write a number with a unit, such as 500ms, 30s, 20m or 6h"
		}
		return d, "", ""
	}
	switch k.typ.Kind() {
	case reflect.String:
		return v.text, "", ""
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Sprintf("%q is neither true nor false", text), "write true or false"
		}
		return b, "", ""
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is not a whole number", text), "write digits, such as 20000"
		}
		return reflect.ValueOf(n).Convert(k.typ).Interface(), "", ""
	case reflect.Uint64:
		n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is not a whole number of at least 0", text), "write digits, such as 1"
		}
		return n, "", ""
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Sprintf("%q is not a number", text), "write a number, such as 0.05"
		}
		return x, "", ""
	}
	panic("config: a setting has type " + k.typ.String())
}

func toList(v value) (any, string, string) {
	switch v.sort {
	case isList:
		return v.list, "", ""
	case isText:
		out := []string{}
		for s := range strings.SplitSeq(v.text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
		return out, "", ""
	}
	return nil, "it is not a list", "write [a, b], or a,b outside YAML"
}

func toDict(v value) (any, string, string) {
	if v.sort == isDict {
		return v.dict, "", ""
	}
	parts := v.list
	if v.sort == isText {
		parts = strings.Split(v.text, ",")
	}
	out := map[string]string{}
	for _, s := range parts {
		name, to, ok := strings.Cut(s, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Sprintf("%q is not a pair", s), "write name: value in YAML, or name=value,name=value outside"
		}
		out[name] = strings.TrimSpace(to)
	}
	return out, "", ""
}
