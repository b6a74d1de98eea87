package config

import (
	"fmt"
	"time"
)

// Ingest says how long the log of sessions is kept, and what must stay free on its disk.
type Ingest struct {
	Keep      time.Duration `koanf:"keep" doc:"event time that the log goes back; histories reach as far, and no further; 0s keeps it whole"`
	KeepBytes int64         `koanf:"keep_bytes" doc:"bytes that the log may have; what a reader still needs is kept beyond them; 0 is no bound"`
	MinFree   int64         `koanf:"min_free" doc:"bytes that must stay free on the disk: below them reading waits"`

	Snapshots     string        `koanf:"snapshots" doc:"whether ingest leaves the state of its partitions in NATS, so that other nodes of the group go on with them; auto is where nats.url is given" enum:"auto,off"`
	SnapshotEvery time.Duration `koanf:"snapshot_every" doc:"least time between two snapshots of a partition; what came since the last is read again by who takes over after a crash"`
}

// What ingest.snapshots says.
const (
	SnapshotsAuto = "auto"
	SnapshotsOff  = "off"
)

// SharesPartitions reports whether partitions move between the nodes of the group.
func (c Config) SharesPartitions() bool {
	return c.Ingest.Snapshots == SnapshotsAuto && !c.NATS.Embedded() && c.Kafka.Group != ""
}

func (c *checker) ingest(i Ingest) {
	c.duration("ingest.keep", i.Keep, 0)
	if i.Keep%time.Millisecond != 0 {
		c.fault("ingest.keep", "it is not whole milliseconds", "write 720h, for example")
	}
	between(c, "ingest.keep_bytes", i.KeepBytes, 0, 1<<60)
	between(c, "ingest.min_free", i.MinFree, 1, 1<<60)
	c.duration("ingest.snapshot_every", i.SnapshotEvery, time.Second)
	if i.SnapshotEvery > 15*time.Minute {
		c.fault("ingest.snapshot_every", fmt.Sprintf("%v is too long", i.SnapshotEvery), "write at most 15m: idle partitions make a mark a second, and no more than 4096 are kept between snapshots")
	}
}
