package console

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// reading is the one script that may know the names of JSON fields.
const reading = "reading.js"

// tree returns v as its reader sees it.
func tree(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// full is a status in which every field that may be left out is there.
func full() view.Status {
	best := view.Number(0.9)
	scores := view.Scores{Model: 0.4, Popularity: 0.1, ItemToItem: 0.3, Best: &best}
	return view.Status{
		Summary: view.Summary{
			Aside: view.Aside{schema.ReasonLate: 1}, Recall20: scores, MRR20: scores,
			Training:  view.Training{Drift: view.Drift{Detections: 1, Last: 1}},
			LastThird: view.LastThird{Recall20: scores, MRR20: scores, Scored: 1},
		},
		Replicas: []view.Replica{{Adopted: view.Adopted{ID: "replica-1", Version: 1}, AgeSeconds: 1, Address: "a", Problem: "p"}},
		API:      "a", Kafka: "k", NATS: "n",
	}
}

// refusal is what a replica says to a request without a user.
func refusal(t *testing.T) any {
	t.Helper()
	r, err := replica.New(replica.Config{ID: "replica-1", Model: "default"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/recommend", nil))
	var out any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusBadRequest {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return out
}

// roots are the variables of reading.js that hold JSON, with what the server puts there.
func roots(t *testing.T) map[string]any {
	status := tree(t, full()).(map[string]any)
	answer := tree(t, replica.Answer{Items: []replica.Item{{}}}).(map[string]any)
	return map[string]any{
		"status":  status,
		"replica": status["replicas"].([]any)[0],
		"answer":  answer,
		"item":    answer["items"].([]any)[0],
		"refusal": refusal(t),
	}
}

// read returns the paths that a script reads from the variable root. A method of a list is not part of a path.
func read(script, root string) (paths []string) {
	for _, m := range regexp.MustCompile(`(?:^|[^\w.])`+root+`((?:\.\w+)+)`).FindAllStringSubmatch(script, -1) {
		paths = append(paths, strings.TrimSuffix(strings.TrimPrefix(m[1], "."), ".map"))
	}
	return paths
}

// has reports whether the JSON v has a field at the path.
func has(v any, path string) bool {
	for _, name := range strings.Split(path, ".") {
		object, _ := v.(map[string]any)
		if _, ok := object[name]; !ok {
			return false
		}
		v = object[name]
	}
	return true
}

// withoutComments drops the lines that are comments.
func withoutComments(script string) string {
	return regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAllString(script, "")
}

func TestEveryFieldReadIsSent(t *testing.T) {
	script := withoutComments(content(t, reading))
	for root, sent := range roots(t) {
		paths := read(script, root)
		if len(paths) == 0 {
			t.Errorf("%s reads nothing from %s: the test does not see how it reads", reading, root)
		}
		for _, path := range paths {
			if !has(sent, path) {
				t.Errorf("%s reads %s.%s, which the server does not send: give it the field's new name", reading, root, path)
			}
		}
	}
}

// The test above sees every read: the variables are used in no other way than with a path, but for being handed over.
func TestReadingHidesNoField(t *testing.T) {
	script := withoutComments(content(t, reading))
	if strings.Contains(script, "?.") || strings.Contains(script, `["`) || strings.Contains(script, "`") {
		t.Errorf("%s reads a field in a form that the test does not see", reading)
	}
	script = regexp.MustCompile(`"[^"\n]*"`).ReplaceAllString(script, `""`)
	for root := range roots(t) {
		script := regexp.MustCompile(`\(\(?`+root+`\)`).ReplaceAllString(script, "") // as a parameter
		for _, m := range regexp.MustCompile(`[^\w.]`+root+`\b(.)`).FindAllStringSubmatch(script, -1) {
			if m[1] != "." {
				t.Errorf("%s uses %s without naming a field: %q", reading, root, m[0])
			}
		}
	}
	for _, name := range names(t, ".js") {
		if name == reading {
			continue
		}
		// "user_id" and "k" are what the form sends.
		text := strings.ReplaceAll(withoutComments(content(t, name)), "user_id", "")
		if found := regexp.MustCompile(`\b[a-z0-9]+_[a-z0-9_]+\b`).FindAllString(text, -1); found != nil {
			t.Errorf("%s knows the fields %v, which only %s may", name, found, reading)
		}
	}
}

// The finder of fields itself, on reads that must be found and names that must not.
func TestReadFindsPaths(t *testing.T) {
	got := read("status.a_b\n x(status.c.d, substatus.e, my.status.f) status.list.map((g) => g)", "status")
	if want := []string{"a_b", "c.d", "list"}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if sent := tree(t, full()); has(sent, "recall_at_20.modell") || has(sent, "clicks.none") || !has(sent, "last_third.recall_at_20.best") {
		t.Error("has does not tell the fields that are sent from those that are not")
	}
}

// What the form sends and what it reads of the answer's head is what a replica takes and gives.
func TestFormSpeaksToAReplica(t *testing.T) {
	script := content(t, "recommend.js")
	if !strings.Contains(script, `"`+replica.HeaderReplica+`"`) {
		t.Errorf("the form does not read %s", replica.HeaderReplica)
	}
	r, err := replica.New(replica.Config{ID: "replica-1", Model: "default", Token: "t"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(url, token string) (int, string) {
		request := httptest.NewRequest(http.MethodGet, url, nil)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, request)
		return w.Code, w.Header().Get("X-Freshet-Replica")
	}
	if code, id := ask("/v1/recommend?user_id=u1&k=10", ""); code != http.StatusUnauthorized || id != "replica-1" {
		t.Errorf("without a token: %d by %q, want 401 by replica-1", code, id)
	}
	// With one the parameters are read, and only a version is missing.
	if code, _ := ask("/v1/recommend?user_id=u1&k=10", "t"); code != http.StatusServiceUnavailable {
		t.Errorf("with a token: %d, want 503", code)
	}
	for _, parameter := range []string{`"v1/recommend?"`, "user_id: user, k }"} {
		if !strings.Contains(script, parameter) {
			t.Errorf("the form does not send %s", parameter)
		}
	}
}

func TestReasonsAreThoseOfTheSchema(t *testing.T) {
	list := regexp.MustCompile(`(?s)REASONS = \{(.*?)\n\}`).FindStringSubmatch(content(t, reading))
	if list == nil {
		t.Fatal("there is no list of reasons")
	}
	var got []schema.Reason
	for _, m := range regexp.MustCompile(`(?m)^\s+(\w+): "`).FindAllStringSubmatch(list[1], -1) {
		got = append(got, schema.Reason(m[1]))
	}
	if !slices.Equal(got, schema.Reasons) {
		t.Errorf("the page knows the reasons %v, the schema %v", got, schema.Reasons)
	}
}

// Each stage has a look of its own or the one of being busy.
func TestStagesOfTheStyleSheetExist(t *testing.T) {
	known := map[string]bool{}
	for _, s := range []view.Stage{view.StageStarting, view.StageRunning, view.StageDraining, view.StageStopping, view.StageDone} {
		known[string(s)] = true
	}
	found := regexp.MustCompile(`\.stage\.(\w+)`).FindAllStringSubmatch(content(t, "style.css"), -1)
	if len(found) == 0 {
		t.Error("no stage has a look")
	}
	for _, m := range found {
		if !known[m[1]] {
			t.Errorf("the style sheet knows a stage %s, the stages are %v", m[1], slices.Sorted(maps.Keys(known)))
		}
	}
}
