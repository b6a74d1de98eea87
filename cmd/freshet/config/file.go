package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxFileBytes = 1 << 20 // a configuration is a page or two; anything larger is another file by mistake

// readFile reads the YAML file by its nodes rather than into a map, because a fault is worth its line number, and a map
// forgets it.
func (l *loader) readFile(path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		l.fault("", path, cause(err), "give --config a file that can be read, or leave it out")
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		l.fault("", path, cause(err), "give --config a file that can be read, or leave it out")
		return
	}
	if len(text) > maxFileBytes {
		l.fault("", path, fmt.Sprintf("it is larger than %d bytes", maxFileBytes), "give --config a configuration")
		return
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		l.fault("", path, strings.TrimPrefix(err.Error(), "yaml: "), "correct the YAML")
		return
	}
	if len(doc.Content) == 0 {
		return // an empty file sets nothing
	}
	w := walker{l: l, file: filepath.Base(path), seen: map[string]int{}, sections: map[string]bool{"": true}}
	for _, k := range Keys() {
		if k.Section {
			w.sections[k.Path] = true
			w.known = append(w.known, k.Path)
		}
	}
	w.known = append(w.known, l.paths...)
	w.section("", doc.Content[0])
}

func cause(err error) string {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

type walker struct {
	l        *loader
	file     string
	seen     map[string]int // key → line
	sections map[string]bool
	known    []string
}

func (w *walker) at(n *yaml.Node) string { return fmt.Sprintf("%s line %d", w.file, n.Line) }

func (w *walker) section(prefix string, n *yaml.Node) {
	if n.Tag == "!!null" {
		return // "window:" with nothing below
	}
	if n.Kind != yaml.MappingNode {
		w.l.fault(prefix, w.at(n), "it is a section, not a value", "write its settings below it, indented")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, child := n.Content[i], n.Content[i+1]
		path := name.Value
		if prefix != "" {
			path = prefix + "." + path
		}
		if line, twice := w.seen[path]; twice {
			w.l.fault(path, w.at(name), fmt.Sprintf("it is set twice, first in line %d", line), "keep one of them")
			continue
		}
		w.seen[path] = name.Line
		switch _, setting := w.l.keys[path]; {
		case w.sections[path]:
			w.section(path, child)
		case !setting:
			w.l.fault(path, w.at(name), "there is no such setting", instead(path, w.known, asKey, "freshet config lists them all"))
		default:
			if v, ok := w.value(path, child); ok {
				w.l.set(path, w.at(name), v)
			}
		}
	}
}

// value reads a setting's value; null counts as not given.
func (w *walker) value(path string, n *yaml.Node) (value, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return value{text: n.Value}, n.Tag != "!!null"
	case yaml.SequenceNode:
		v := value{sort: isList, list: []string{}}
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				w.l.fault(path, w.at(c), "the list holds something that is not a single value", "write [a, b]")
				return value{}, false
			}
			v.list = append(v.list, c.Value)
		}
		return v, true
	case yaml.MappingNode:
		v := value{sort: isDict, dict: map[string]string{}}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i+1].Kind != yaml.ScalarNode {
				w.l.fault(path, w.at(n.Content[i+1]), fmt.Sprintf("%s is not a single value", n.Content[i].Value), "write name: value")
				return value{}, false
			}
			v.dict[n.Content[i].Value] = n.Content[i+1].Value
		}
		return v, true
	}
	return value{}, false
}
