package source_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// A file of clicks becomes the records of the click topic, and each record a click again.
func Example() {
	dir, err := os.MkdirTemp("", "clicks")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "clicks.csv")
	if err := os.WriteFile(path, []byte("user,item,action,ts\nu1,i9,pv,1700000000\nu1,i9,buy,soon\n"), 0o600); err != nil {
		panic(err)
	}
	stream, err := source.OpenFile(path, "csv", source.Options{})
	if err != nil {
		panic(err)
	}
	defer stream.Close()
	for {
		out, err := stream.Next()
		if err != nil {
			break
		}
		var click schema.Click
		if err := decode.JSON().Decode(out.Value, &click); err != nil {
			fmt.Printf("aside: %s: %v\n", out.Value, err)
			continue
		}
		fmt.Println(click.UserID, click.Action, click.ItemID, click.EventTime.Time())
	}
	// Output:
	// u1 click i9 2023-11-14 22:13:20 +0000 UTC
	// aside: u1,i9,buy,soon: not a JSON object
}
