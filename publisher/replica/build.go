package replica

import (
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// The tables that a served model is made of.
const (
	tableItems  = "items"
	tableParams = "params"
)

// liveNames are the objects of the live tables; the last two are there where neighbours are marked.
var liveNames = []string{baseline.ObjectCounts, baseline.ObjectTransitions, baseline.ObjectNeighbours, baseline.ObjectPostings}

// built is what a version answers from. It never changes. The tables may be newer than the weights: then marks may name rows that the model does not have yet.
type built struct {
	served *model.Served    // with the terms of tables
	tables *baseline.Served // nil where the publisher sends none
}

// build takes steps from what there is, or begins with a base, and checks each.
func (r *Replica) build(from built, steps []step, fetch func(schema.Object) ([]byte, error)) (built, error) {
	weights := false
	for _, s := range steps {
		m, tables := s.manifest, map[string]schema.Table{}
		for _, o := range s.objects {
			name, used := usedTable(m, o)
			if !used {
				continue // a newer publisher's table, which this program does not know
			}
			b, err := fetch(o)
			if err != nil {
				return built{}, fmt.Errorf("version %d: %w", m.Version, err)
			}
			t, err := schema.DecodeTable(b)
			if err == nil {
				err = publisher.CheckFinite(name, t)
			}
			if err != nil {
				return built{}, refuse(ReasonTable, "version %d: %s: %w", m.Version, o.Name, err)
			}
			tables[name] = t
		}
		next, err := assemble(r.cfg.Serving, from, s.kind, tables)
		if err != nil {
			return built{}, refuse(ReasonTable, "version %d: %w", m.Version, err)
		}
		if digest := next.served.Digest(); digest != m.ConfigDigest {
			return built{}, refuse(ReasonConfig, "version %d: the model's own digest is %.12s, its manifest says %.12s", m.Version, digest, m.ConfigDigest)
		}
		if items := next.served.Items(); items != m.Items {
			return built{}, refuse(ReasonTable, "version %d: the model has %d items, its manifest says %d", m.Version, items, m.Items)
		}
		_, has := tables[tableItems]
		from, weights = next, weights || has
	}
	if !weights {
		return from, nil // with the index of the same weights
	}
	from, err := indexed(from)
	if err != nil {
		return built{}, refuse(ReasonTable, "version %d: index: %w", steps[len(steps)-1].manifest.Version, err)
	}
	return from, nil
}

// indexed gives a version the index that it is to be served with, and measures it.
func indexed(v built) (next built, err error) {
	defer asCorrupt(&next, &err)
	next = v
	next.served = v.served.Indexed()
	return next, nil
}

// asCorrupt makes of a panic a fault of the tables, not of this process, which goes on serving.
func asCorrupt(next *built, err *error) {
	if p := recover(); p != nil {
		*next, *err = built{}, fmt.Errorf("%w: %v", schema.ErrCorrupt, p)
	}
}

// assemble makes one version.
func assemble(how model.Serving, from built, kind schema.Kind, tables map[string]schema.Table) (next built, err error) {
	defer asCorrupt(&next, &err)
	_, items := tables[tableItems]
	_, params := tables[tableParams]
	live := slices.ContainsFunc(liveNames, func(name string) bool { _, has := tables[name]; return has })
	base := kind == schema.KindBase
	switch {
	case items != params || base && !items:
		return built{}, fmt.Errorf("%w: %s: %v, %s: %v: they come together, and a base has them", schema.ErrCorrupt, tableItems, items, tableParams, params)
	case !items && !live:
		return built{}, fmt.Errorf("%w: it has neither %s and %s nor live tables", schema.ErrCorrupt, tableItems, tableParams)
	case live && !base && from.tables == nil:
		return built{}, fmt.Errorf("%w: a delta of live tables follows on a version without", schema.ErrCorrupt)
	}
	if next = from; base {
		next = built{}
	}
	switch {
	case items && base:
		next.served, err = how.Load(tables[tableItems], tables[tableParams])
	case items:
		next.served, err = from.served.Apply(tables[tableItems], tables[tableParams])
	}
	if err != nil {
		return built{}, err
	}
	switch {
	case live && base:
		next.tables, err = baseline.LoadServed(tables)
	case live:
		next.tables, err = from.tables.Apply(tables)
	}
	if err != nil {
		return built{}, err
	}
	if live {
		next.served = next.served.With(next.tables)
	}
	return next, nil
}

// usedTable returns the name of the table that o holds, and whether a version is made of it.
func usedTable(m schema.Manifest, o schema.Object) (string, bool) {
	name, ok := publisher.TableOf(m, o)
	return name, ok && (name == tableItems || name == tableParams || slices.Contains(liveNames, name))
}
