package decode

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/twmb/franz-go/pkg/sr"
)

// Format is what the bytes of a record are.
type Format string

// The formats. Auto is Avro or Protobuf where a schema file says so, else JSON; with a registry it is what the registry
// says of records in Confluent's framing, and JSON otherwise.
const (
	FormatAuto     Format = "auto"
	FormatJSON     Format = "json"
	FormatAvro     Format = "avro"
	FormatProtobuf Format = "protobuf"
)

// Framing says whether records begin with a header that names their schema.
type Framing string

// The framings. Auto is Confluent's with a registry, else none.
const (
	FramingAuto      Framing = "auto"
	FramingNone      Framing = "none"
	FramingConfluent Framing = "confluent"
)

// Config says what the records of a topic look like. The zero Config is JSON under the names of a click.
type Config struct {
	Format  Format  // default FormatAuto
	Framing Framing // default FramingAuto
	// Fields names what fields of a click are read from where that is not their own name: {"user_id": "visitor.id"}. A dot
	// steps into an object; NotRead leaves an optional field out.
	Fields map[string]string
	// Actions names what actions of the producer mean: {"addtocart": "cart"}. Others are kept under their own name.
	Actions map[string]string
	// Registry is where the schemas of records are, if they are in one.
	Registry RegistryConfig
	// SchemaFile is the schema of every record where there is no registry: a path that ends in .avsc or .proto.
	SchemaFile string
	// SchemaMessage names the message of a .proto file that the records are. It may be left out if the file has one.
	SchemaMessage string
}

// Decoder makes clicks of record values. It is safe for concurrent use.
type Decoder struct {
	reader  reader
	schemas *schemas // nil without a registry
	actions map[schema.Action]schema.Action
	time    string // what the time of a click is called, for the error where there is none
}

// reader reads the fields of one format. It sets the fields that it finds, says which those are, and ends at the first
// error.
type reader interface {
	read(value []byte, c *schema.Click) (seen, error)
}

// New returns a decoder for c, or what is wrong with c. It does not ask the registry.
func New(c Config) (*Decoder, error) {
	root, err := newTree(c.Fields)
	if err != nil {
		return nil, err
	}
	d := &Decoder{time: source{fieldTime, []string{"timestamp"}, false}.label()}
	if from, ok := c.Fields["timestamp"]; ok {
		d.time = source{fieldTime, []string{from}, true}.label()
	}
	for from, to := range c.Actions {
		if from == "" || to == "" {
			return nil, fmt.Errorf("actions: %q means %q: write the producer's name and the click's, such as addtocart: cart", from, to)
		}
		if d.actions == nil {
			d.actions = make(map[schema.Action]schema.Action, len(c.Actions))
		}
		d.actions[schema.Action(from)] = schema.Action(to)
	}
	return d, d.open(c, root)
}

// open finds the reader for c.
func (d *Decoder) open(c Config, root *node) (err error) {
	registry := len(c.Registry.URLs) > 0
	format, framed := c.Format, c.Framing == FramingConfluent
	if c.SchemaFile != "" {
		ending := strings.ToLower(filepath.Ext(c.SchemaFile))
		of, known := map[string]Format{".avsc": FormatAvro, ".proto": FormatProtobuf}[ending]
		switch {
		case !known:
			return fmt.Errorf("schema file %s: its ending says neither .avsc (Avro) nor .proto (Protobuf)", c.SchemaFile)
		case registry:
			return errors.New("both a schema file and a schema registry are given: keep the one that has the schemas")
		case format == "" || format == FormatAuto:
			format = of
		case format != of:
			return fmt.Errorf("schema file %s is for %s, and the format is %s", c.SchemaFile, of, format)
		}
	}
	if registry && c.Framing == FramingNone {
		return errors.New("a schema registry is given, and records without the framing that names their schema: give the schema in source.schema_file instead, or leave source.framing out")
	}
	switch format {
	case "", FormatAuto, FormatJSON:
		reader := &jsonReader{root}
		if registry && format != FormatJSON {
			d.schemas, err = newSchemas(c.Registry, root)
			if err == nil {
				d.schemas.all = true
			}
			d.reader = &registered{schemas: d.schemas, json: reader}
			return err
		}
		d.reader = &unframed{reader: reader, always: framed} // a JSON object does not begin with 0x00
		return nil
	case FormatAvro, FormatProtobuf:
	default:
		return fmt.Errorf("format %q is not known: use auto, json, avro or protobuf", format)
	}
	if registry {
		if d.schemas, err = newSchemas(c.Registry, root); err != nil {
			return err
		}
		if d.schemas.only = sr.TypeAvro; format == FormatProtobuf {
			d.schemas.only = sr.TypeProtobuf
		}
		d.reader = &registered{schemas: d.schemas}
		return nil
	}
	switch {
	case c.SchemaFile == "":
		return fmt.Errorf("format %s needs a schema: give source.schema_registry.url or source.schema_file", format)
	case format == FormatAvro:
		d.reader, err = openAvroFile(c.SchemaFile, root)
	default:
		d.reader, err = openProtoFile(c.SchemaFile, c.SchemaMessage, root)
	}
	if err != nil {
		return fmt.Errorf("schema file %s: %w", c.SchemaFile, err)
	}
	if framed {
		d.reader = &unframed{reader: d.reader, messages: format == FormatProtobuf, always: true}
	}
	return nil
}

// Check asks the registry, if there is one, whether it can be asked. What it returns is worth a warning: the registry may
// come later.
func (d *Decoder) Check(ctx context.Context) error {
	if d.schemas == nil {
		return nil
	}
	return d.schemas.check(ctx)
}

// JSON returns the decoder of the zero Config.
func JSON() *Decoder {
	d, err := New(Config{})
	if err != nil {
		panic("decode: the zero Config has a fault: " + err.Error())
	}
	return d
}

// Decode sets c to the click in value, but for its arrival. After an error c has what was readable before it.
//
// An Unavailable is no fault of value: decode it again later. With a registry, Decode may wait for it as long as
// RegistryConfig.Timeout says.
//
// The strings and the context of c are part of value: they are valid as long as the bytes of value stay as they are.
// Whoever keeps them longer copies them.
func (d *Decoder) Decode(value []byte, c *schema.Click) error {
	*c = schema.Click{}
	s, err := d.reader.read(value, c)
	if err != nil {
		return err
	}
	if s&fieldTime.bit() == 0 {
		return errors.New(d.time + " is missing")
	}
	if c.Action == "" {
		c.Action = schema.ActionClick
	}
	if d.actions != nil {
		if meant, ok := d.actions[c.Action]; ok {
			c.Action = meant
		}
	}
	return nil
}
