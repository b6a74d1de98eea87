package export_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/schema"
)

// TestStories runs testdata: what goes into a store, and the tables that come out of it, in every format and as an Arrow
// and a Parquet reader see them. Commands:
//
//	new                           an empty store of two partitions
//	take partition=0              one record a line; a key may stand before " => "
//	end                           the input has ended
//	export what=sessions format=csv [since=MS] [until=MS] [open] [held=BYTES]
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var h *house
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				h = newStory(t)
				t.Cleanup(h.close)
			case "take":
				var p int
				d.ScanArgs(t, "partition", &p)
				h.take(schema.Partition(p), strings.Split(strings.ReplaceAll(d.Input, " => ", "\t"), "\n")...)
			case "end":
				h.end()
			case "export":
				var what, format string
				o := export.Options{Open: d.HasArg("open")}
				d.ScanArgs(t, "what", &what)
				d.ScanArgs(t, "format", &format)
				d.MaybeScanArgs(t, "since", &o.Since)
				d.MaybeScanArgs(t, "until", &o.Until)
				d.MaybeScanArgs(t, "held", &o.HeldBytes)
				o.What = export.What(what)
				b, sum, err := h.export(export.Format(format), o)
				if err != nil {
					return err.Error() + "\n"
				}
				return dump(t, export.Format(format), b) + fmt.Sprintf("%+v\n", sum)
			default:
				d.Fatalf(t, "there is no command %q", d.Cmd)
			}
			return ""
		})
	})
}
