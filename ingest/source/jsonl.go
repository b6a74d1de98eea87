package source

import (
	"fmt"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
)

// jsonlStream passes on the lines of a file. It reads them only to find their key and time.
type jsonlStream struct {
	*lines
	decoder *decode.Decoder
	first   []byte // read at open, to be given by the first Next; nil afterwards
	key     []byte
	last    schema.EventTime
}

func openJSONL(l *lines, fields map[string]string) (Stream, error) {
	decoder, err := decode.New(decode.Config{Fields: fields})
	if err != nil {
		return nil, err
	}
	first, err := l.firstLine(`a JSON object such as {"user_id":"u1","item_id":"i9","timestamp":1700000000000} in each line`)
	if err != nil {
		return nil, err
	}
	if (&ottoStream{}).take(first) == nil { // no line of it would be a click
		return nil, fmt.Errorf("%s: it is a file of otto: give --format otto", l.name)
	}
	return &jsonlStream{lines: l, decoder: decoder, first: first}, nil
}

func (s *jsonlStream) Next() (Outgoing, error) {
	line := s.first
	s.first = nil
	if line == nil {
		var err error
		if line, err = s.next(); err != nil {
			return Outgoing{}, err
		}
	}
	var c schema.Click
	// What is wrong with the line is for the ingester to say: it puts the line aside.
	if err := s.decoder.Decode(line, &c); err == nil {
		s.last = c.EventTime
	}
	out := Outgoing{Value: line, EventTime: s.last}
	if c.UserID != "" {
		s.key = append(s.key[:0], c.UserID...)
		out.Key = s.key
	}
	return out, nil
}
