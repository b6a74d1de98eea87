package view

import (
	"fmt"
	"strings"
)

// Rule says how the scores are made; it stands beneath them wherever they are printed at length.
const Rule = `Scores are prequential: each session's next clicks are predicted before they are trained on.
Recall@20 counts a hit among the first 20 items; ties rank against the model; an item never seen
before counts as a miss for all.`

// Table writes s for a person: aligned, and with the rule of the scores beneath.
func (s Summary) Table() string {
	var b strings.Builder
	row := func(name, figure, note string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-16s %12s   %s", name, figure, note), " ") + "\n")
	}
	row("clicks", count(s.Clicks), fmt.Sprintf("= %s trained + %s aside + %s pending", count(s.Trained), count(s.Aside.Total()), count(s.Pending)))
	row("parts", count(s.Parts), "")
	row("aside", count(s.Aside.Total()), reasons(s.Aside))
	row("steps", count(int64(s.Steps)), "")
	row("versions", count(s.Versions), replicaVersions(s.Replicas))
	row("freshness", seconds(s.Freshness.P50), "p50, p99 "+seconds(s.Freshness.P99))
	b.WriteString("\n")
	row("", "recall@20", fmt.Sprintf("%8s", "mrr@20"))
	scores := func(name string, recall, mrr Number) { row(name, score(recall), fmt.Sprintf("%8s", score(mrr))) }
	scores("model", s.Recall20.Model, s.MRR20.Model)
	scores("item to item", s.Recall20.ItemToItem, s.MRR20.ItemToItem)
	scores("popularity", s.Recall20.Popularity, s.MRR20.Popularity)
	if s.Recall20.Best != nil {
		mrr := None
		if s.MRR20.Best != nil {
			mrr = *s.MRR20.Best
		}
		scores("best possible", *s.Recall20.Best, mrr)
	}
	row("scored", count(s.Scored), "predictions")
	b.WriteString("\n  " + strings.ReplaceAll(Rule, "\n", "\n  ") + "\n")
	if s.Digest != "" {
		fmt.Fprintf(&b, "\n  model digest %s\n", s.Digest)
	}
	return b.String()
}

func replicaVersions(rs []Adopted) string {
	var parts []string
	for _, r := range rs {
		parts = append(parts, fmt.Sprintf("%s serves %d", r.ID, r.Version))
	}
	return strings.Join(parts, ", ")
}
