package view

import (
	"fmt"
	"strings"
)

// Table writes s for a person: aligned, and with the rule of the scores beneath.
func (s Summary) Table() string {
	var b strings.Builder
	row := func(name, figure, note string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-14s %9s   %s", name, figure, note), " ") + "\n")
	}
	row("clicks", count(s.Clicks), fmt.Sprintf("= %s trained + %s aside + %s pending", count(s.Trained), count(s.Aside.Total()), count(s.Pending)))
	row("parts", count(s.Parts), "")
	row("aside", count(s.Aside.Total()), reasons(s.Aside))
	row("steps", count(int64(s.Steps)), "")
	for _, n := range s.Training.notes() {
		row(n.name, n.figure, n.text)
	}
	row("versions", count(s.Versions), replicaVersions(s.Replicas))
	row("freshness", seconds(s.Freshness.P50), "p50, p99 "+seconds(s.Freshness.P99))
	b.WriteString("\n")
	line := func(name string, cells ...string) {
		text := fmt.Sprintf("  %-14s", name)
		for i, c := range cells {
			text += fmt.Sprintf("%*s", []int{10, 9, 16, 9}[i], c)
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("", "recall@20", "mrr@20", "in last third:", "")
	mrr, thirdRecall, thirdMRR := s.MRR20.Arms(), s.LastThird.Recall20.Arms(), s.LastThird.MRR20.Arms()
	at := func(arms []Score, i int) string {
		if i < len(arms) {
			return score(arms[i].Number)
		}
		return score(None)
	}
	for i, arm := range s.Recall20.Arms() {
		line(arm.Title, score(arm.Number), at(mrr, i), at(thirdRecall, i), at(thirdMRR, i))
	}
	line("parts scored", count(s.Scored), "", count(s.LastThird.Scored))
	if s.Rule != "" {
		b.WriteString("\n" + wrap(s.Rule, "  ", 78))
	}
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

// wrap breaks text at spaces into lines of at most width columns, each after indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column == 0 || column+1+len(word) > width {
			if column > 0 {
				b.WriteString("\n")
			}
			b.WriteString(indent + word)
			column = len(indent) + len(word)
			continue
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String() + "\n"
}
