package source

import (
	"io"
	"strings"
	"time"
)

func init() {
	metadataTTL, backoffMin, backoffMax, groupBackoff, heartbeatMax, tlsTimeout = 200*time.Millisecond, 10*time.Millisecond, 500*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond, time.Second
}

// WithFetchBytes has each fetch ask for n bytes: with 1, a broker answers with one batch at a time.
func (c KafkaConfig) WithFetchBytes(n int) KafkaConfig {
	c.fetchBytes = n
	return c
}

// OpenText opens a text as OpenFile does a file of it.
func OpenText(text, format string) (Stream, error) {
	return openLines("text", format, io.NopCloser(strings.NewReader(text)), int64(len(text)), nil)
}
