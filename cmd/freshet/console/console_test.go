package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func get(t *testing.T, method, url string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names returns the names of the files of the page with one of the endings.
func names(t *testing.T, endings ...string) (all []string) {
	t.Helper()
	entries, err := page.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(endings) == 0 || slices.Contains(endings, path.Ext(e.Name())) {
			all = append(all, e.Name())
		}
	}
	if len(all) == 0 {
		t.Fatalf("the page has no files ending in %v", endings)
	}
	return all
}

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := page.ReadFile("page/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServesThePageAndItsFiles(t *testing.T) {
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, name := range names(t) {
		url := Prefix + name
		if name == index {
			url = "/"
		}
		r := get(t, http.MethodGet, url)
		if r.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", url, r.Status)
		}
		if got, want := body(t, r), content(t, name); got != want {
			t.Errorf("GET %s: %d bytes that are not the %d of the file", url, len(got), len(want))
		}
		for header, want := range map[string]string{
			"Content-Type":            kinds[path.Ext(name)],
			"Content-Security-Policy": policy,
			"Cache-Control":           "no-cache",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := r.Header.Get(header); got != want {
				t.Errorf("GET %s: %s is %q, want %q", url, header, got, want)
			}
		}
		tag := r.Header.Get("ETag")
		if again := get(t, http.MethodGet, url, "If-None-Match", tag); tag == "" || again.StatusCode != http.StatusNotModified {
			t.Errorf("GET %s with its tag %q: %s, want 304", url, tag, again.Status)
		}
		if head := get(t, http.MethodHead, url); head.StatusCode != http.StatusOK || body(t, head) != "" {
			t.Errorf("HEAD %s: %s, or it has a body", url, head.Status)
		}
	}
}

func TestAnswers404ToAllElse(t *testing.T) {
	for _, url := range []string{"/console/", "/console/index.html", "/console/nothing.js", "/console/../console.go", "/console/page/main.js",
		"/console/main.js/", "/console", "/main.js", "/index.html", "/v1/status", "/console/%2e%2e/console.go"} {
		if r := get(t, http.MethodGet, url); r.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s, want 404", url, r.Status)
		}
	}
}

// A policy that let inline scripts or other hosts in would be none.
func TestPolicyIsStrict(t *testing.T) {
	if !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("the policy does not begin with refusing all: %s", policy)
	}
	for _, loose := range []string{"unsafe", "*", "http:", "https:", "data:", "blob:"} {
		if strings.Contains(policy, loose) {
			t.Errorf("the policy has %s: %s", loose, policy)
		}
	}
}

// What the policy would forbid, and what would make text into markup, does not occur.
func TestPageKeepsToItsPolicy(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)https?:|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bstyle=|\son[a-z]+=|javascript:|@import|url\(|localStorage|sessionStorage`)
	for _, name := range names(t) {
		text := strings.ReplaceAll(content(t, name), "http://www.w3.org/2000/svg", "") // the name of a name space
		if found := forbidden.FindAllString(text, -1); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
	if inline := regexp.MustCompile(`<script[^>]*>[^<]|<style`).FindString(content(t, index)); inline != "" {
		t.Errorf("%s has %q inline", index, inline)
	}
}

// Every file is asked for by another, and every file that is asked for is there.
func TestFilesNameEachOther(t *testing.T) {
	asked := map[string]bool{index: true}
	for _, m := range regexp.MustCompile(`(?:src|href)="console/([^"]+)"`).FindAllStringSubmatch(content(t, index), -1) {
		asked[m[1]] = true
	}
	for _, script := range names(t, ".js") {
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(content(t, script), -1) {
			asked[m[1]] = true
		}
	}
	all := names(t)
	for _, name := range all {
		if !asked[name] {
			t.Errorf("nothing asks for %s", name)
		}
	}
	for name := range asked {
		if !slices.Contains(all, name) {
			t.Errorf("%s is asked for and does not exist", name)
		}
	}
}

// An element that a script looks for is on the page, each id once, and each label and heading names one of them.
func TestElementsExist(t *testing.T) {
	ids := map[string]int{}
	for _, m := range regexp.MustCompile(`\bid="([^"]+)"`).FindAllStringSubmatch(content(t, index), -1) {
		ids[m[1]]++
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("id %s occurs %d times", id, n)
		}
	}
	used := regexp.MustCompile(`\b(?:by|put)\("([^"]+)"[),]`)
	found := 0
	for _, script := range names(t, ".js") {
		for _, m := range used.FindAllStringSubmatch(content(t, script), -1) {
			found++
			if ids[m[1]] == 0 {
				t.Errorf("%s looks for #%s, which is not on the page", script, m[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d uses of elements found: the test does not see how the scripts find them", found)
	}
	for _, m := range regexp.MustCompile(`\b(?:for|aria-labelledby)="([^"]+)"`).FindAllStringSubmatch(content(t, index), -1) {
		if ids[m[1]] == 0 {
			t.Errorf("a label is for #%s, which is not on the page", m[1])
		}
	}
}
