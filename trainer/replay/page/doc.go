// Package page writes a report as one HTML file that needs nothing else: no network, no scripts, its plots as SVG within. It reads well on a screen, light or
// dark, and on paper.
//
// # Nouns
//
//	Page     a title, a few headline figures, and sections
//	Section  a heading, text, and blocks: tables, plots, code
//	Block    Table, Lines, Points, Dots or Intervals, or Code
//
// # Promise
//
// Same Page, same bytes: there is no clock in it and no order of a map. Whatever the texts hold is escaped. A number that is not finite is not drawn.
//
// # Caveats
//
// Arms have eight colours; the ninth has the first one again, with dashes.
//
// What this package does not do: compute what it shows.
package page
