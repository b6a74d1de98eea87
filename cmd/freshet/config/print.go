package config

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Effective writes the configuration as YAML that can be read again. Each setting carries its sentence; what is not a
// default also says where it came from. Secrets are masked.
func (l Loaded) Effective(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{"": root}
	tree := reflect.ValueOf(l.Config)
	for _, k := range Keys() {
		parent, name := "", k.Path
		if i := strings.LastIndexByte(k.Path, '.'); i >= 0 {
			parent, name = k.Path[:i], k.Path[i+1:]
		}
		label := &yaml.Node{Kind: yaml.ScalarNode, Value: name, HeadComment: k.Doc}
		content := &yaml.Node{Kind: yaml.MappingNode}
		if k.Section {
			sections[k.Path] = content
		} else {
			content = k.node(tree.FieldByIndex(k.index))
			if place := l.origin[k.Path]; place != "" {
				label.HeadComment += " (here from " + place + ")"
			}
			if len(k.enum) > 0 {
				label.HeadComment += ": " + strings.Join(k.enum, ", ")
			}
		}
		sections[parent].Content = append(sections[parent].Content, label, content)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err := out.WriteTo(w)
	return err
}

func (k Key) node(v reflect.Value) *yaml.Node {
	n := &yaml.Node{}
	out := v.Interface()
	switch x := out.(type) {
	case time.Duration:
		out = shortDuration(x)
	case string:
		out = k.mask(x)
	}
	if err := n.Encode(out); err != nil {
		panic("config: " + k.Path + ": " + err.Error())
	}
	n.Style |= yaml.FlowStyle // lists and maps on one line
	return n
}

const masked = "********"

func (k Key) mask(s string) string {
	switch {
	case s == "" || k.secret == "":
		return s
	case k.secret == "url":
		parts := strings.Split(s, ",")
		for i, p := range parts {
			u, err := url.Parse(strings.TrimSpace(p))
			if err != nil {
				parts[i] = masked
			} else if u.User != nil {
				// A NATS url may carry user:password, or a token in the user's place: both are secrets.
				parts[i] = u.Scheme + "://" + masked + "@" + u.Host + u.Path
			}
		}
		return strings.Join(parts, ",")
	}
	return masked
}

// shortDuration writes 30m, where Duration.String writes 30m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
