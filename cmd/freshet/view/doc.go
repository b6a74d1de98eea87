// Package view shows a person how a freshet is doing, and a program the same figures as JSON.
//
// Status is the one tree of figures. Terminal draws it live on a terminal, Plain logs a line of it every few seconds where
// there is none, Progress shows how far a bounded job has come, and Summary.Table and the JSON of Summary end a run.
//
// # Promise
//
// All of them read the same Status, so they cannot disagree. A figure that has not been measured is drawn as a dash and
// is null in JSON; a NaN or an infinity never reaches either. Drawing is a pure function of the statuses and the size.
//
// # Caveats
//
// While a Terminal runs, whatever else writes to the same terminal tears the picture: give loggers the Terminal itself as
// their writer, and their lines appear above it.
//
// What this package does not do: collect figures, or decide when a run is over.
package view
