package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var page embed.FS

// index is the page itself. It is served at / only, so that it has one address.
const index = "index.html"

// Prefix is where the files of the page are served; they are named relative to the page.
const Prefix = "/console/"

// types are the content types by ending. They are written out because a system's own table of types may differ, and a
// browser refuses a script of another type.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy allows what the page needs from its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is one file of the page, ready to be sent.
type file struct {
	content []byte
	kind    string
	tag     string // changes with the content
}

// Handler serves the page at "/" and its files under Prefix, and answers 404 to all else.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, under := strings.CutPrefix(r.URL.Path, Prefix)
		switch {
		case r.URL.Path == "/":
			name = index
		case !under || name == index:
			name = ""
		}
		f, ok := files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // asked for again each time, so that page and scripts are always of one binary
		h.Set("ETag", f.tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	})
}

// load reads the embedded files. What is wrong with them is wrong with the binary.
func load() map[string]file {
	entries, err := page.ReadDir("page")
	if err != nil {
		panic("console: " + err.Error())
	}
	files := make(map[string]file, len(entries))
	for _, e := range entries {
		content, err := page.ReadFile("page/" + e.Name())
		if err != nil {
			panic("console: " + err.Error())
		}
		kind := types[path.Ext(e.Name())]
		if kind == "" {
			panic("console: no content type for " + e.Name())
		}
		sum := sha256.Sum256(content)
		files[e.Name()] = file{content, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return files
}
