package aside

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
)

// Record is a record aside as JSON. Key and value are base64; where they are UTF-8 they are there as text too.
type Record struct {
	Topic     string             `json:"topic"`
	Partition schema.Partition   `json:"partition"`
	Offset    schema.Offset      `json:"offset"`
	ArrivedAt schema.ArrivalTime `json:"arrived_at"` // ms
	Reason    schema.Reason      `json:"reason"`
	Detail    string             `json:"detail"`
	Bytes     int                `json:"bytes"` // of key and value
	Key       []byte             `json:"key"`
	Value     []byte             `json:"value"`
	KeyText   *string            `json:"key_text,omitempty"`
	ValueText *string            `json:"value_text,omitempty"`
}

// RecordOf returns r as JSON has it.
func RecordOf(r *schema.Rejected) Record {
	return Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, ArrivedAt: r.ArrivedAt, Reason: r.Reason, Detail: r.Detail,
		Bytes: len(r.Key) + len(r.Value), Key: notNil(r.Key), Value: notNil(r.Value), KeyText: textOf(r.Key), ValueText: textOf(r.Value),
	}
}

// Rejected returns the record that r was made of. The texts and the size are not looked at: the bytes say both.
func (r *Record) Rejected() schema.Rejected {
	return schema.Rejected{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, ArrivedAt: r.ArrivedAt, Reason: r.Reason, Detail: r.Detail,
		Key: notNil(r.Key), Value: notNil(r.Value),
	}
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func textOf(b []byte) *string {
	if !utf8.Valid(b) {
		return nil
	}
	text := string(b)
	return &text
}

// AppendLine appends r as one line of JSON.
func AppendLine(b []byte, r *schema.Rejected) []byte {
	text, err := json.Marshal(RecordOf(r))
	if err != nil {
		panic("aside: record: " + err.Error()) // strings, numbers and bytes always are JSON
	}
	return append(append(b, text...), '\n')
}
