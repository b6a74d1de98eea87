package ingest

import (
	"context"

	"github.com/freshet-ml/freshet/schema"
)

// SaveNow saves the state of p as RunSnapshots would.
func (n *Node) SaveNow(ctx context.Context, p schema.Partition) error {
	n.mu.Lock()
	o := n.owned[p]
	n.mu.Unlock()
	return n.saveDuring(ctx, o, o.lease.Load())
}
