package source

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// The headers of a record in the dead-letter topic: those of Kafka Connect (KIP-298), each a text in UTF-8, and freshet's own.
const (
	headerTopic      = "__connect.errors.topic"                // from which the record was read
	headerPartition  = "__connect.errors.partition"            // decimal
	headerOffset     = "__connect.errors.offset"               // decimal
	headerConnector  = "__connect.errors.connector.name"       // DeadLetterConfig.Name
	headerTask       = "__connect.errors.task.id"              // DeadLetterConfig.Task, decimal
	headerStage      = "__connect.errors.stage"                // see stageOf
	headerClass      = "__connect.errors.class.name"           // what was at work
	headerException  = "__connect.errors.exception.class.name" // freshet. and the reason
	headerMessage    = "__connect.errors.exception.message"    // what is wrong, a sentence
	headerStacktrace = "__connect.errors.exception.stacktrace" // the two before it in a line: a rejected record is no crash

	headerReason  = "freshet-reason"  // a schema.Reason
	headerOmitted = "freshet-omitted" // what was left out, and how long it was; only where the record did not fit
)

// stageOf names the stage, in Connect's words, at which records go aside for a reason.
func stageOf(r schema.Reason) string {
	switch r {
	case schema.ReasonUndecodable:
		return "VALUE_CONVERTER"
	case schema.ReasonOversize:
		return "KAFKA_CONSUME"
	case schema.ReasonInvalid:
		return "TRANSFORMATION"
	}
	return "TASK_PUT"
}

// letter makes the record: key and value as they were, and when it arrived.
func (d *DeadLetters) letter(r *schema.Rejected, without omission) kafka.Record {
	exception := "freshet." + string(r.Reason)
	headers := []kafka.Header{
		text(headerTopic, r.Topic),
		text(headerPartition, strconv.FormatInt(int64(r.Partition), 10)),
		text(headerOffset, strconv.FormatInt(int64(r.Offset), 10)),
		text(headerConnector, d.config.Name),
		text(headerTask, strconv.Itoa(d.config.Task)),
		text(headerStage, stageOf(r.Reason)),
		text(headerClass, "freshet.ingest.Node"),
		text(headerException, exception),
		text(headerMessage, r.Detail),
		text(headerStacktrace, exception+": "+r.Detail),
		text(headerReason, string(r.Reason)),
	}
	letter := kafka.Record{Time: r.ArrivedAt.Time(), Key: asBytes(r.Key), Value: asBytes(r.Value)}
	if without >= theValue {
		letter.Value = nil
		headers = append(headers, text(headerOmitted, fmt.Sprintf("value, %d bytes", len(r.Value))))
	}
	if without == keyAndValue {
		letter.Key = nil
		headers[len(headers)-1] = text(headerOmitted, fmt.Sprintf("key, %d bytes; value, %d bytes", len(r.Key), len(r.Value)))
	}
	letter.Headers = headers
	return letter
}

func text(key, value string) kafka.Header {
	return kafka.Header{Key: key, Value: []byte(strings.ToValidUTF8(value, "\uFFFD"))}
}

// asBytes makes an empty key or value none: where records are kept aside, the two are not told apart, and none is the usual.
func asBytes(b []byte) kafka.Bytes {
	if len(b) == 0 {
		return nil
	}
	return kafka.NewBytes(b)
}
