package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/freshet-ml/freshet"

// street says which rooms of this module a room may import; a room stands for its sub-rooms that have no line of their own.
// "*" is any room. Tests are held to it as well: what a room needs to be tested, it needs.
var street = []struct {
	room string
	may  []string
}{
	{"schema", nil},
	{"ingest", []string{"schema", "ingest"}},
	{"trainer/nn/simd", nil},
	{"trainer/nn", []string{"trainer/nn/simd"}},
	{"trainer/model", []string{"schema", "trainer/nn"}},
	{"trainer/evaluate", []string{"schema"}},
	{"trainer", []string{"schema", "trainer"}},
	{"publisher/replica", []string{"schema", "publisher", "publisher/objects", "trainer/model", "trainer/baseline"}},
	{"publisher/objects", nil},
	{"publisher/natstest", nil},
	{"publisher/snapshots", []string{"schema", "publisher", "publisher/objects"}},
	{"publisher", []string{"schema", "publisher/objects"}},
	{"cmd", []string{"*"}},
	{"deploy", nil},
}

// besides says what the tests of a room may import beyond that: replica's run the NATS configuration with the rights of all roles, and ingest is one.
var besides = map[string]string{"publisher/replica": "publisher/snapshots"}

// forTests are the rooms that tests alone may import, of whatever room they are.
var forTests = []string{"publisher/natstest", "schema/fuzz"}

// doors says which rooms may import a third party. Tests may open any: they stand on both sides.
var doors = []struct {
	party string
	rooms []string
}{
	{"github.com/segmentio/kafka-go", []string{"ingest/source"}},
	{"github.com/cockroachdb/pebble", []string{"ingest/buffer"}},
	{"gorgonia.org/", []string{"trainer/nn"}},
	{"go4.org/unsafe/assume-no-moving-gc", []string{"trainer/nn"}},
	{"github.com/mmcloughlin/avo", []string{"trainer/nn/simd/gen"}},
	{"golang.org/x/sys", []string{"trainer/nn/simd"}},
	{"github.com/ebitengine/purego", []string{"trainer/nn"}},
	{"gonum.org/v1/gonum/blas", []string{"trainer/nn"}},
	{"gonum.org/v1/gonum/mathext", []string{"trainer/evaluate"}},
	{"github.com/nats-io/nats.go", []string{"publisher", "publisher/natstest", "publisher/objects", "publisher/replica", "publisher/snapshots", "cmd/freshet"}},
	{"github.com/apache/arrow/go/v17", []string{"schema", "ingest/export", "ingest/flight"}},
	{"google.golang.org/grpc", []string{"ingest/flight"}},
	{"github.com/nats-io/nats-server/v2", []string{"cmd/freshet/embed", "publisher/natstest"}},
	{"github.com/twmb/franz-go", []string{"cmd/freshet/embed", "ingest/decode"}},
	{"github.com/hamba/avro/v2", []string{"ingest/decode"}},
	{"github.com/bufbuild/protocompile", []string{"ingest/decode"}},
	{"github.com/klauspost/compress", []string{"ingest/source"}},
	{"github.com/knadh/koanf", []string{"cmd/freshet/config"}},
	{"github.com/alecthomas/kong", []string{"cmd/freshet"}},
	{"charm.land/", []string{"cmd/freshet/view"}},
	{"go.opentelemetry.io/otel", []string{"publisher/replica", "cmd/freshet"}},
	{"github.com/schollz/progressbar", []string{"cmd/freshet/view"}},
}

// imported is one import of one file.
type imported struct {
	file string // slash-separated, from the root of the repository
	room string // its folder
	path string
	test bool
}

func imports(t *testing.T, root string) (all []imported) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (strings.HasPrefix(e.Name(), ".") && path != root || e.Name() == "testdata") {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			all = append(all, imported{file: file, room: filepath.ToSlash(filepath.Dir(file)), path: name, test: strings.HasSuffix(file, "_test.go")})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func within(room, of string) bool { return room == of || strings.HasPrefix(room, of+"/") }

// wrong says what is wrong with i, or "".
func wrong(i imported) string {
	if other, ours := strings.CutPrefix(i.path, module+"/"); ours {
		if slices.Contains(forTests, other) {
			if i.test {
				return ""
			}
			return i.file + " imports " + other + ": it is for tests alone"
		}
		for _, s := range street {
			if !within(i.room, s.room) {
				continue
			}
			if i.room == other || i.test && besides[i.room] == other || slices.Contains(s.may, "*") || slices.ContainsFunc(s.may, func(m string) bool { return within(other, m) && !between(m, other) }) {
				return ""
			}
			return i.file + " imports " + other + ": " + s.room + " may import only " + list(s.may) + " of this module (see ARCHITECTURE.md)"
		}
		return i.file + " is in a folder that the import street does not know: give it a line in cmd/freshet/layers_test.go"
	}
	if i.test {
		return ""
	}
	for _, d := range doors {
		if (i.path == strings.TrimSuffix(d.party, "/") || strings.HasPrefix(i.path, strings.TrimSuffix(d.party, "/")+"/")) && !slices.Contains(d.rooms, i.room) {
			return i.file + " imports " + i.path + ": its door is " + list(d.rooms) + ", go through there"
		}
	}
	return ""
}

// between says that other has a line of its own below m, so that leave to import m is not leave to import other: who may
// use publisher may not therefore use publisher/replica. Rooms of trainer and of ingest see one another from their own.
func between(m, other string) bool {
	for _, s := range street {
		if s.room != m && within(other, s.room) && within(s.room, m) {
			return m != "trainer" && m != "ingest"
		}
	}
	return false
}

func list(rooms []string) string {
	if len(rooms) == 0 {
		return "nothing"
	}
	return strings.Join(rooms, ", ")
}

func TestImportsGoOneWay(t *testing.T) {
	all := imports(t, filepath.Join("..", ".."))
	ours := 0
	for _, i := range all {
		if strings.HasPrefix(i.path, module+"/") {
			ours++
		}
		if fault := wrong(i); fault != "" {
			t.Error(fault)
		}
	}
	if ours == 0 {
		t.Fatal("no file imports any of this module: the test reads the wrong folder")
	}
}

// The rule itself, on imports that must pass and imports that must not.
func TestStreetIsHeld(t *testing.T) {
	for _, tc := range []struct {
		file, path string
		ok         bool
	}{
		{"ingest/window/w.go", module + "/schema", true},
		{"ingest/feed/f.go", module + "/ingest/buffer", true},
		{"trainer/t.go", module + "/trainer/model", true},
		{"trainer/t.go", module + "/ingest/feed", false},
		{"trainer/t_test.go", module + "/ingest/feed", false},
		{"trainer/nn/x.go", module + "/schema", false},
		{"trainer/model/x.go", module + "/trainer", false},
		{"trainer/model/x.go", module + "/trainer/baseline", false},
		{"trainer/model/x.go", module + "/trainer/nn", true},
		{"trainer/evaluate/x.go", module + "/trainer/model", false},
		{"trainer/t.go", module + "/trainer/evaluate", true},
		{"schema/x.go", module + "/ingest/window", false},
		{"schema/x_test.go", module + "/schema/fuzz", true},
		{"ingest/x_test.go", module + "/schema/fuzz", true},
		{"ingest/x.go", module + "/schema/fuzz", false},
		{"publisher/p.go", module + "/publisher/replica", false},
		{"publisher/p.go", module + "/trainer/model", false},
		{"publisher/p.go", module + "/publisher/objects", true},
		{"publisher/p.go", module + "/publisher/snapshots", false},
		{"publisher/objects/o.go", module + "/schema", false},
		{"publisher/objects/o_test.go", module + "/publisher/natstest", true},
		{"publisher/p.go", module + "/publisher/natstest", false},
		{"publisher/snapshots/s.go", module + "/publisher/objects", true},
		{"publisher/snapshots/s.go", module + "/ingest", false},
		{"ingest/x.go", module + "/publisher/snapshots", false},
		{"publisher/replica/r.go", module + "/trainer/model", true},
		{"publisher/replica/r.go", module + "/trainer/baseline", true},
		{"publisher/replica/r.go", module + "/trainer", false},
		{"publisher/replica/r.go", module + "/trainer/learn", false},
		{"publisher/replica/r.go", module + "/publisher", true},
		{"publisher/replica/r.go", module + "/publisher/snapshots", false},
		{"publisher/replica/r_test.go", module + "/publisher/snapshots", true},
		{"publisher/replica/r_test.go", module + "/publisher/replica", true},
		{"ingest/x.go", module + "/cmd/freshet/config", false},
		{"cmd/freshet/up.go", module + "/publisher/replica", true},
		{"utils/x.go", module + "/schema", false},
		{"ingest/source/k.go", "github.com/segmentio/kafka-go/protocol/fetch", true},
		{"ingest/window/k.go", "github.com/segmentio/kafka-go", false},
		{"ingest/window/k_test.go", "github.com/segmentio/kafka-go", true},
		{"trainer/t.go", "gorgonia.org/tensor", false},
		{"trainer/t.go", "github.com/cockroachdb/pebble/vfs", false},
		{"trainer/t.go", "github.com/cockroachdb/pebblefs", true},
		{"cmd/freshet/up.go", "github.com/nats-io/nats.go/jetstream", true},
	} {
		dir := filepath.ToSlash(filepath.Dir(tc.file))
		fault := wrong(imported{file: tc.file, room: dir, path: tc.path, test: strings.HasSuffix(tc.file, "_test.go")})
		if (fault == "") != tc.ok {
			t.Errorf("%s importing %s: %q", tc.file, tc.path, fault)
		}
		if fault != "" && !strings.Contains(fault, tc.file) {
			t.Errorf("the message does not name the file: %q", fault)
		}
	}
}

// The top level is fixed: a new folder is a decision, not an accident.
func TestTopLevelFolders(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"cmd", "deploy", "ingest", "publisher", "schema", "trainer"}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "freshet-data" && !slices.Contains(known, e.Name()) {
			t.Errorf("folder %s is not one of %s", e.Name(), list(known))
		}
	}
}
