// Package console is the web console of "freshet up": one page that shows a run in a browser.
//
// The page asks GET /v1/status once a second and draws what it says; the form on it asks GET /v1/recommend. Its files lie in
// page, as plain HTML, CSS and JavaScript, and are part of the binary.
//
// # Promise
//
// The page needs nothing but the server that it came from: no other host, no build step, no storage in the browser. Its
// Content-Security-Policy allows nothing else. Every field that its scripts read is one that the server sends (a test
// compares the names), and a figure that has not been measured is a dash.
//
// # Caveats
//
// The lines on it begin when it is opened, and hold five minutes at most: metrics with a past are at /metrics. A bearer token
// that is typed in stays in the open page and is gone with it.
//
// What this package does not do: collect figures, serve /v1/status or /v1/recommend, or guard them.
package console
