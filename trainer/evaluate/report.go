package evaluate

// Report is everything an Evaluation has to say, ready to be shown or written as JSON.
type Report struct {
	Rule     string       `json:"rule"`
	Arms     []string     `json:"arms"`
	Fading   float64      `json:"fading"`
	Kinds    []KindReport `json:"kinds"` // those that have tests
	Coverage []Coverage   `json:"coverage,omitempty"`
}

// KindReport is what there is of one kind of test.
type KindReport struct {
	Kind     Kind    `json:"kind"`
	Untested int64   `json:"untested"`
	Whole    Group   `json:"whole"`
	Third    Group   `json:"last_third"`
	Faded    Group   `json:"faded"`
	Over     []Point `json:"over"`
	Slices   []Slice `json:"slices"`

	// Of the first arm with each other one; empty while there are too few tests.
	Comparisons []Comparison `json:"comparisons,omitempty"` // recall, MRR and NDCG at 20
	Hits        []Hits       `json:"hits,omitempty"`        // at 20
}

// Report puts together what is kept.
func (e *Evaluation) Report() Report {
	r := Report{Rule: Rule, Arms: e.Arms(), Fading: e.cfg.Fading, Coverage: e.Coverage()}
	for k := range kinds {
		b := &e.boards[k]
		if b.whole[atTests] == 0 && b.untested == 0 {
			continue
		}
		kr := KindReport{
			Kind: k, Untested: b.untested, Whole: e.Whole(k), Third: e.Last(k, 1./3), Faded: e.Faded(k), Over: e.Over(k), Slices: e.Slices(k),
		}
		first := e.cfg.Arms[0]
		for _, other := range e.cfg.Arms[1:] {
			for _, metric := range []string{"recall_at_20", "mrr_at_20", "ndcg_at_20"} {
				if c, ok := e.Compare(k, 1, first, other, metric); ok {
					kr.Comparisons = append(kr.Comparisons, c)
				}
			}
			if h, ok := e.CompareHits(k, first, other, 20); ok && b.whole[atTests] > 0 {
				kr.Hits = append(kr.Hits, h)
			}
		}
		r.Kinds = append(r.Kinds, kr)
	}
	return r
}
