package decode_test

import (
	"testing"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// FuzzSchema: a schema of any text is refused, or reads a record or refuses that. Files of schemas and registries give them.
func FuzzSchema(t *testing.F) {
	f := fuzz.Of(t)
	record := marshal(f, clickAvro, fullOfAvro)
	f.Add("click.avsc", clickAvro, record)
	f.Add("click.proto", clickProto, wire(f, message(f, clickProto, "shop.Click"), fullOfProto))
	f.Add("click.avsc", `{"type":"record","name":"a","fields":[{"name":"user_id","type":["null","a",{"type":"fixed","name":"b","size":3}]}]}`, record)
	f.Add("click.proto", `syntax = "proto2"; message M { optional group G = 1 { repeated M m = 2; } extensions 100 to max; }`, []byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, name, text string, record []byte) {
		if name != "click.avsc" {
			name = "click.proto"
		}
		d, err := schemaFile(t, name, text, decode.Config{})
		if err != nil {
			return
		}
		var c schema.Click
		if err := d.Decode(record, &c); err == nil && len(c.Context) > schema.MaxRecordBytes+4096 {
			t.Fatalf("a context of %d bytes out of %d", len(c.Context), len(record))
		}
	})
}
