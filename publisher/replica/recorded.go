package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/schema"
)

// Limits of what is recorded of requests.
const (
	maxRecordedClicks = 50      // of a request: its newest
	maxRecordedBytes  = 1 << 20 // of all of them on the disk
)

// recorded holds the last request of each of the users who asked last, to warm the next version up with what is really asked. The zero recorded holds none.
type recorded struct {
	most int // users

	mu     sync.Mutex // guards what follows
	ring   []Request
	places map[string]int // of users in ring
	next   int            // place that is taken next once the ring is full
}

// user tells users apart; who is not named is known by the first click.
func (q *Request) user() string {
	if q.UserID == "" && len(q.Clicks) > 0 {
		return "\x00" + q.Clicks[0].ItemID
	}
	return q.UserID
}

// add records what a version reads of q, in the place of what its user asked before.
func (r *recorded) add(q Request) {
	if r.most <= 0 {
		return
	}
	user := q.user()
	clicks := q.Clicks
	if n := len(clicks) - maxRecordedClicks; n > 0 {
		clicks = slices.Clone(clicks[n:]) // the others are let go
	}
	q = Request{UserID: q.UserID, Clicks: clicks, Scene: q.Scene}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.places == nil {
		r.places = map[string]int{}
	}
	at, known := r.places[user]
	switch {
	case known:
	case len(r.ring) < r.most:
		at = len(r.ring)
		r.ring = append(r.ring, Request{})
	default:
		at = r.next
		r.next = (r.next + 1) % r.most
		delete(r.places, r.ring[at].user())
	}
	r.ring[at], r.places[user] = q, at
}

func (r *recorded) all() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ring)
}

// recordedFile is how requests are kept on the disk.
type recordedFile struct {
	Format   int               `json:"format"`
	Requests []json.RawMessage `json:"requests"` // Request
}

const recordedFormat = 1

// encodeRequests writes as many requests as have room, and at least none.
func encodeRequests(requests []Request) ([]byte, error) {
	file := recordedFile{Format: recordedFormat, Requests: []json.RawMessage{}}
	room := maxRecordedBytes - 64 // for what is around them
	for _, q := range requests {
		b, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		if room -= len(b) + 1; room < 0 {
			break
		}
		file.Requests = append(file.Requests, b)
	}
	return json.Marshal(file)
}

// decodeRequests reads what it can use of a file, at most most requests. Its errors tell nothing of what is in the file.
func decodeRequests(b []byte, most int) ([]Request, error) {
	var file recordedFile
	if len(b) > maxRecordedBytes || json.Unmarshal(b, &file) != nil {
		return nil, errors.New("requests.json is damaged")
	}
	if file.Format != recordedFormat {
		return nil, fmt.Errorf("requests.json: format %d is not known to this program", file.Format)
	}
	var out []Request
	for _, raw := range file.Requests {
		var q Request
		if len(out) < most && json.Unmarshal(raw, &q) == nil && q.recordable() {
			out = append(out, Request{UserID: q.UserID, Clicks: q.Clicks, Scene: q.Scene})
		}
	}
	return out, nil
}

// recordable says whether q is within the limits that it was within when it was recorded.
func (q *Request) recordable() bool {
	long := len(q.UserID) > schema.MaxIDBytes || len(q.Scene) > schema.MaxIDBytes || len(q.Clicks) > maxRecordedClicks
	for _, c := range q.Clicks {
		long = long || c.ItemID == "" || len(c.ItemID) > schema.MaxIDBytes || len(c.Action) > schema.MaxIDBytes
	}
	return !long && (q.UserID != "" || len(q.Clicks) > 0)
}

// saveRequests keeps the recorded requests on the disk. They help a start and nothing depends on them, so that they need not outlive a loss of power.
func (r *Replica) saveRequests() {
	requests := r.requests.all()
	if r.cfg.Dir == "" || len(requests) == 0 {
		return
	}
	b, err := encodeRequests(requests)
	if err == nil {
		err = r.disk.writeFile(filepath.Join(r.cfg.Dir, "requests.json"), b)
	}
	if err != nil {
		r.metrics.failures.WithLabelValues("disk").Inc()
		r.cfg.Log.Warn("replica cannot keep the requests that the next start is warmed up with", "dir", r.cfg.Dir, "err", err)
	}
}

// restoreRequests records what saveRequests kept.
func (r *Replica) restoreRequests() {
	if r.cfg.Dir == "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(r.cfg.Dir, "requests.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var requests []Request
	if err == nil {
		requests, err = decodeRequests(b, r.requests.most)
	}
	if err != nil {
		r.cfg.Log.Warn("replica starts without the requests that were recorded before", "dir", r.cfg.Dir, "err", err)
	}
	for _, q := range requests {
		r.requests.add(q)
	}
}
