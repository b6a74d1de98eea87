package config

import "time"

// Ingest says how long the log of sessions is kept, and what must stay free on its disk.
type Ingest struct {
	Keep      time.Duration `koanf:"keep" doc:"event time that the log goes back; histories reach as far, and no further; 0s keeps it whole"`
	KeepBytes int64         `koanf:"keep_bytes" doc:"bytes that the log may have; what a reader still needs is kept beyond them; 0 is no bound"`
	MinFree   int64         `koanf:"min_free" doc:"bytes that must stay free on the disk: below them reading waits"`
}

func (c *checker) ingest(i Ingest) {
	c.duration("ingest.keep", i.Keep, 0)
	if i.Keep%time.Millisecond != 0 {
		c.fault("ingest.keep", "it is not whole milliseconds", "write 720h, for example")
	}
	between(c, "ingest.keep_bytes", i.KeepBytes, 0, 1<<60)
	between(c, "ingest.min_free", i.MinFree, 1, 1<<60)
}
