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
}

// Report puts together what is kept.
func (e *Evaluation) Report() Report {
	r := Report{Rule: Rule, Arms: e.Arms(), Fading: e.cfg.Fading, Coverage: e.Coverage()}
	for k := range kinds {
		b := &e.boards[k]
		if b.whole[atTests] == 0 && b.untested == 0 {
			continue
		}
		r.Kinds = append(r.Kinds, KindReport{
			Kind: k, Untested: b.untested, Whole: e.Whole(k), Third: e.Last(k, 1./3), Faded: e.Faded(k), Over: e.Over(k), Slices: e.Slices(k),
		})
	}
	return r
}
