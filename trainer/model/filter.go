package model

import "slices"

// Filter says which items may be recommended. The zero value keeps all.
type Filter struct {
	Categories []string // only items of these; none = of all
	Allow      []string // only these; nil = all. They are scored one by one, as is right for up to some 10,000
	Deny       []string // none of these
}

// rowFilter is a Filter as rows of one version.
type rowFilter struct {
	allow      []Row  // rising; nil = all
	deny       []Row  // rising
	categories []bool // by number; nil = all

	allowed []Row // the memory of allow
	chosen  []bool
}

// filter sets to to f, and says whether there is anything that it may keep.
func (s *Served) filter(to *rowFilter, f *Filter) bool {
	to.allow, to.categories = nil, nil
	to.deny = s.rowsOf(to.deny[:0], f.Deny)
	if f.Allow != nil {
		to.allowed = s.rowsOf(to.allowed[:0], f.Allow)
		if to.allow = to.allowed; len(to.allow) == 0 {
			return false
		}
	}
	if len(f.Categories) == 0 {
		return true
	}
	to.chosen = sized(to.chosen, len(s.categories))
	clear(to.chosen)
	known := false
	for _, name := range f.Categories {
		if n, ok := s.categories[name]; ok {
			to.chosen[n], known = true, true
		}
	}
	to.categories = to.chosen
	return known
}

// rowsOf appends the rows of the items that the version knows, each once and rising.
func (s *Served) rowsOf(to []Row, ids []string) []Row {
	for _, id := range ids {
		if r, ok := s.Row(id); ok {
			to = append(to, r)
		}
	}
	slices.Sort(to)
	return slices.Compact(to)
}

// all says whether every item may be recommended.
func (f *rowFilter) all() bool {
	return f.allow == nil && f.categories == nil && len(f.deny) == 0
}

// keeps says whether a row is of an item, one that may be recommended. Of a filter with allow only those rows are asked for.
func (f *rowFilter) keeps(s *Served, r Row) bool {
	l, at := s.names[int(r)/chunkRows], int(r)%chunkRows
	if f.categories != nil && !f.categories[l.numbers[at]] || l.ids[at] == "" {
		return false
	}
	_, denied := slices.BinarySearch(f.deny, r)
	return !denied
}
