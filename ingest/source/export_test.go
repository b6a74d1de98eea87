package source

// WithFetchBytes has each fetch ask for n bytes: with 1, a broker answers with one batch at a time.
func (c KafkaConfig) WithFetchBytes(n int) KafkaConfig {
	c.fetchBytes = n
	return c
}
