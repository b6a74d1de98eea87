package decode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/parser"
	"github.com/bufbuild/protocompile/reporter"
	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxSchemaBytes bounds a schema file. Real ones are a few KiB.
const maxSchemaBytes = 1 << 20

// compileAvro reads a schema, and the ones that it refers to by name, which come in an order in which each refers to
// earlier ones only.
func compileAvro(text string, references []string, root *node) (reader, error) {
	cache := &avro.SchemaCache{}
	for _, r := range references {
		if _, err := avro.ParseWithCache(r, "", cache); err != nil {
			return nil, fmt.Errorf("a schema that it refers to: %w", err)
		}
	}
	s, err := avro.ParseWithCache(text, "", cache)
	if err != nil {
		return nil, err
	}
	return newAvroReader(s, root)
}

// compileProto reads the file called name. open returns the text of a file by the name by which others import it.
//
// Options of one's own making, such as confluent.field_meta, are left out, and with them imports that cannot be found:
// they do not change how a message is written, and what defines them is often not beside the schema.
func compileProto(name string, open func(name string) (string, error)) (protoreflect.FileDescriptor, error) {
	standard := protocompile.WithStandardImports(protocompile.ResolverFunc(func(string) (protocompile.SearchResult, error) {
		return protocompile.SearchResult{}, protoregistry.NotFound
	}))
	found := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		text, err := open(path)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		handler := reporter.NewHandler(nil)
		tree, err := parser.Parse(path, strings.NewReader(text), handler)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		parsed, err := parser.ResultFromAST(tree, true, handler)
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		file := parsed.FileDescriptorProto()
		dropOptions(file.ProtoReflect())
		dropImports(file, func(path string) bool {
			if _, err := standard.FindFileByPath(path); err == nil {
				return true
			}
			_, err := open(path)
			return err == nil
		})
		return protocompile.SearchResult{Proto: file}, nil
	})
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(found), MaxParallelism: 1}
	files, err := c.Compile(context.Background(), name)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// dropOptions removes the options whose names are extensions, here and in all that m holds.
func dropOptions(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == "uninterpreted_option":
			kept := m.NewField(fd).List()
			for i := range v.List().Len() {
				option := v.List().Get(i)
				name := option.Message().Interface().(*descriptorpb.UninterpretedOption).GetName()
				if !slices.ContainsFunc(name, (*descriptorpb.UninterpretedOption_NamePart).GetIsExtension) {
					kept.Append(option)
				}
			}
			if m.Clear(fd); kept.Len() > 0 {
				m.Set(fd, protoreflect.ValueOfList(kept))
			}
		case fd.Message() != nil && fd.IsList():
			for i := range v.List().Len() {
				dropOptions(v.List().Get(i).Message())
			}
		case fd.Message() != nil && !fd.IsMap():
			dropOptions(v.Message())
		}
		return true
	})
}

// dropImports removes the imports that are not there.
func dropImports(file *descriptorpb.FileDescriptorProto, there func(string) bool) {
	var kept []string
	var public []int32
	for i, path := range file.Dependency {
		if !there(path) {
			continue
		}
		if slices.Contains(file.PublicDependency, int32(i)) {
			public = append(public, int32(len(kept)))
		}
		kept = append(kept, path)
	}
	file.Dependency, file.PublicDependency, file.WeakDependency = kept, public, nil
}

// protoMessages are the readers of the messages of a file, by the message-index list that stands before a record in
// Confluent's framing: how many steps, and the number of the message in each, from the file's messages inwards.
type protoMessages map[string]reader

func newProtoMessages(file protoreflect.FileDescriptor, root *node) protoMessages {
	all := protoMessages{}
	var add func(messages protoreflect.MessageDescriptors, path []int64)
	add = func(messages protoreflect.MessageDescriptors, path []int64) {
		for i := range messages.Len() {
			m, at := messages.Get(i), append(slices.Clone(path), int64(i))
			index := binary.AppendVarint(nil, int64(len(at)))
			for _, step := range at {
				index = binary.AppendVarint(index, step)
			}
			var r reader
			r, err := newProtoReader(m, root)
			if err != nil {
				r = unreadable{err}
			}
			all[string(index)] = r
			if len(at) == 1 && i == 0 {
				all["\x00"] = r // the short form of the first message
			}
			add(m.Messages(), at)
		}
	}
	add(file.Messages(), nil)
	return all
}

// unreadable gives the same error for every record.
type unreadable struct{ err error }

func readSchemaFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSchemaBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSchemaBytes {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxSchemaBytes)
	}
	return string(text), nil
}

// openAvroFile returns the reader of records with the schema in a file.
func openAvroFile(path string, root *node) (reader, error) {
	text, err := readSchemaFile(path)
	if err != nil {
		return nil, err
	}
	return compileAvro(text, nil, root)
}

// openProtoFile returns the reader of records that are messages of the type called name in a file. What the file imports
// is looked for in its folder and in the ones above it. The name may be left out where the file has one message.
func openProtoFile(path, name string, root *node) (reader, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	file, err := compileProto(filepath.Base(path), func(name string) (string, error) {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			text, err := readSchemaFile(filepath.Join(dir, filepath.FromSlash(name)))
			if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
				return text, err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var names []string
	var found []protoreflect.MessageDescriptor
	var look func(messages protoreflect.MessageDescriptors)
	look = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			m := messages.Get(i)
			names = append(names, string(m.FullName()))
			if string(m.FullName()) == name || string(m.Name()) == name || name == "" && messages.Len() == 1 && m.Parent() == file {
				found = append(found, m)
			}
			look(m.Messages())
		}
	}
	look(file.Messages())
	if len(found) != 1 {
		return nil, fmt.Errorf("name one of its messages in source.schema_message: %s", strings.Join(names, ", "))
	}
	return newProtoReader(found[0], root)
}
