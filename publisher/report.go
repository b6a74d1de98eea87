package publisher

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Report is what a replica says about itself in freshet_replicas: after each adoption, and every ReportEvery.
type Report struct {
	ID        string         `json:"id"`
	Model     string         `json:"model"`
	Version   schema.Version `json:"version"`             // 0 while it serves none
	Candidate schema.Version `json:"candidate,omitempty"` // what a share of the users is answered from, where an order says so
	Order     uint64         `json:"order,omitempty"`     // serial of the order in force; 0 = none was ever seen
	Pinned    bool           `json:"pinned,omitempty"`    // an order has it serve the version that it names, and not the head
	Step      schema.Step    `json:"step"`
	AppliedAt time.Time      `json:"applied_at"` // when the version began to serve
	Address   string         `json:"address"`    // of its HTTP API, as told by its configuration
	// Refused is why the replica does not serve what it should, the newest version or what the order says, or "".
	Refused string `json:"refused,omitempty"`
	// NeedsBase says that the head cannot be reached, because something on the way is lost or damaged: the next base helps.
	NeedsBase bool `json:"needs_base,omitempty"`
}

// parseReport reads a report; ok is false where there is none.
func parseReport(b []byte) (r Report, ok bool) {
	ok = json.Unmarshal(b, &r) == nil
	return r, ok
}

// Report stores r under its model and id.
func (s *Store) Report(ctx context.Context, r Report) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report of replica %s: %w", r.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if _, err := s.replicas.Put(ctx, r.Model+"."+r.ID, b); err != nil {
		return fmt.Errorf("report of replica %s: %w", r.ID, err)
	}
	return nil
}

// FollowReports calls each with every replica's report on model, now and after every change, until ctx is done or the watch
// breaks. A report that does not parse is passed over.
func (s *Store) FollowReports(ctx context.Context, model string, each func(Report)) error {
	return follow(ctx, s.replicas, model+".*", "replicas of model "+model, func(value []byte) {
		if r, ok := parseReport(value); ok && r.Model == model {
			each(r)
		}
	})
}
