package publisher

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// The buckets of the protocol; doc.go draws their keys.
const (
	ObjectsBucket   = "freshet_models"
	ManifestsBucket = "freshet_manifests"
	HeadsBucket     = "freshet_heads"
	ReplicasBucket  = "freshet_replicas"
	WritersBucket   = "freshet_writers"
	OrdersBucket    = "freshet_orders"
)

// Constants of the protocol.
const (
	// ReportTTL is how long a replica's report lives after its last refresh.
	ReportTTL = 30 * time.Second
	// ReportEvery is how often a replica refreshes its report: two refreshes may be lost before it counts as gone.
	ReportEvery = 10 * time.Second
	// LeaseTTL is how long a writer's lease on a line lives after its last refresh, by the clock of the server.
	LeaseTTL = 15 * time.Second
	// LeaseEvery is how often a writer refreshes its lease: two refreshes may be lost before another may write.
	LeaseEvery = 5 * time.Second
	// MaxManifestBytes bounds what a reader accepts as a manifest.
	MaxManifestBytes = 512 << 10
	// MaxChain bounds the number of deltas after a base, and so a reader's walk.
	MaxChain = 1024
)

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckName returns an error unless name may be a model's name or a replica's id.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("name %q: must be 1 to 64 of A-Z a-z 0-9 _ -", name)
	}
	return nil
}

// TableOf returns the table that an object of m holds, or false where its name does not say so.
func TableOf(m schema.Manifest, o schema.Object) (string, bool) {
	if m.Format >= 2 {
		return o.Table, true // Validate has seen to it
	}
	table, ok := strings.CutPrefix(o.Name, fmt.Sprintf("%s/%d/", m.Model, m.Version))
	if !ok {
		return "", false
	}
	table, ok = strings.CutSuffix(table, ".arrow")
	return table, ok && schema.CheckTable(table) == nil
}

func manifestKey(model string, v schema.Version) string { return fmt.Sprintf("%s.%d", model, v) }

// parseManifestKey is the inverse of manifestKey.
func parseManifestKey(model, key string) (schema.Version, bool) {
	digits, ok := strings.CutPrefix(key, model+".")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	return schema.Version(v), err == nil && v > 0
}
