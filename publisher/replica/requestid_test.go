package replica_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-ml/freshet/publisher/replica"
)

func TestRequestID(t *testing.T) {
	r, _ := serving(t, nil, nil)
	made := regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := map[string]bool{}
	for given, kept := range map[string]bool{
		"a": true, "8f14e45f-ceea": true, "!~": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\tb": false, "é": false, "a\x7f": false, "a\nlevel=ERROR": false,
	} {
		req := httptest.NewRequest("GET", "/v1/recommend?k=0", nil)
		req.Header.Set(replica.HeaderRequestID, given)
		w := deliver(r.Handler(), req)
		id := w.Header().Get(replica.HeaderRequestID)
		if kept && id != given || !kept && !made.MatchString(id) || seen[id] {
			t.Errorf("%q became %q", given, id)
		}
		seen[id] = true
		var got struct {
			Error struct {
				RequestID string `json:"request_id"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error.RequestID != id {
			t.Errorf("the error names request %q, the header %q: %s", got.Error.RequestID, id, w.Body)
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLogNamesRequestsAndNoUsers: a line of the access log has the id of the answer, and nothing that says who asked for whom.
func TestLogNamesRequestsAndNoUsers(t *testing.T) {
	log := new(lines)
	r, _ := serving(t, func(c *replica.Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, nil)
	h := r.Handler()
	w := call(h, "GET", "/v1/recommend?user_id=somebody&scene=somewhere", "")
	call(h, "POST", "/v1/recommend", `{"user_id":"somebody","clicks":[{"item_id":"something"}]}`)
	call(h, "POST", "/v1/recommend", `{"user_id":"somebody","k":"something"}`)
	call(h, "SOMEBODY", "/somebody", "")
	text := log.String()
	if !strings.Contains(text, "request_id="+w.Header().Get(replica.HeaderRequestID)+" method=GET route=recommend status=200") || strings.Count(text, "msg=request ") != 4 {
		t.Errorf("the log is\n%s", text)
	}
	for _, secret := range []string{"some", "SOME"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
}
