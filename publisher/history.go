package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// Published returns the manifests of the newest most published versions, the head first: each is the parent of the one before.
// It ends early where a parent is not in the store any more. Errors: ErrNoHead, or the store's.
func (s *Store) Published(ctx context.Context, model string, most int) ([]schema.Manifest, error) {
	m, err := s.Head(ctx, model)
	if err != nil {
		return nil, err
	}
	var all []schema.Manifest
	for len(all) < most {
		all = append(all, m)
		if m.Parent == 0 || m.Parent >= m.Version {
			break
		}
		m, err = s.Manifest(ctx, model, m.Parent)
		if errors.Is(err, ErrMissing) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Reports returns what the live replicas of model say, by their ids. A report that does not parse is passed over.
func (s *Store) Reports(ctx context.Context, model string) ([]Report, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	var all []Report
	err := everyValue(ctx, s.replicas, model+".*", func(_ string, value []byte) error {
		if r, ok := parseReport(value); ok && r.Model == model {
			all = append(all, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replicas of model %s: %w", model, err)
	}
	slices.SortFunc(all, func(a, b Report) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
