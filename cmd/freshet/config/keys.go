package config

import (
	"reflect"
	"strings"
)

// Key is one setting of the tree.
type Key struct {
	Path    string // "window.gap"
	Env     string // "FRESHET_WINDOW_GAP"
	Doc     string
	Section bool // it holds other keys

	secret string
	enum   []string
	typ    reflect.Type
	index  []int // for reflect.Value.FieldByIndex
}

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "FRESHET_"

// elsewhere holds the fields of a part's own config that are no keys, each with the setting that sets it: two settings of one
// thing could contradict each other. Train.ModelConfig puts them into their fields.
var elsewhere = map[string]string{
	"train.model.seed":         "train.seed",
	"train.model.max_sessions": "train.history_parts",
}

// instead returns what to write in place of a name that no setting has. as writes a key as it is written where the name was
// found.
func instead(name string, known []string, as func(key string) string, fallback string) string {
	for key, other := range elsewhere {
		if as(key) == name {
			return "set " + as(other) + " instead"
		}
	}
	return nearest(name, known, fallback)
}

func asKey(key string) string { return key }

func asEnv(key string) string { return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

// Keys lists every setting and section in the order of the tree.
func Keys() []Key { return keysOf(reflect.TypeFor[Config](), "", nil) }

func keysOf(t reflect.Type, prefix string, index []int) (keys []Key) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("koanf") == ",squash" { // its keys stand among ours
			keys = append(keys, keysOf(f.Type, prefix, append(append([]int{}, index...), i))...)
			continue
		}
		path := prefix + f.Tag.Get("koanf")
		if elsewhere[path] != "" {
			continue
		}
		k := Key{
			Path: path, Env: asEnv(path), Doc: f.Tag.Get("doc"),
			secret: f.Tag.Get("secret"), typ: f.Type, index: append(append([]int{}, index...), i),
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			k.enum = strings.Split(enum, ",")
		}
		if f.Type.Kind() == reflect.Struct {
			k.Section = true
			keys = append(keys, k)
			keys = append(keys, keysOf(f.Type, path+".", k.index)...)
			continue
		}
		keys = append(keys, k)
	}
	return keys
}

// settings maps the path of every setting to it, sections left out.
func settings() (byPath map[string]Key, paths []string) {
	byPath = map[string]Key{}
	for _, k := range Keys() {
		if !k.Section {
			byPath[k.Path] = k
			paths = append(paths, k.Path)
		}
	}
	return byPath, paths
}
