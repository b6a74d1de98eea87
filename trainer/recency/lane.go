package recency

import (
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/freshet-ml/freshet/schema"
)

// Source is what a Lane reads. A trainer's feed is one.
type Source interface {
	Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error)
	History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error)
}

// Sequence is what a run reads of one user: the newest parts as of the run, oldest first, of which the last Learn are learned from.
type Sequence struct {
	Partition schema.Partition
	UserID    string
	Parts     []schema.Part
	Learn     int
}

// Chunk is a piece of a run: so many users as are stepped on at once.
type Chunk struct {
	Run   Run
	Epoch int // counts from 0
	// Sequences are in a random order. Those of a whole run are not: that would take a list of all its users, which grows with the stream.
	// In a chunk it mixes what the order of ids, often that of registration, has put together, and memory stays that of a chunk.
	Sequences []Sequence
	Work      int  // parts that are read for it; at least 1
	Done      bool // the run ends with it
}

// Lane walks the runs that are due, one after the other, a chunk at a time.
//
// A chunk is a function of the log and the lane's State (I4): a run reads histories as of a position of the log, so that users
// and parts which came later do not show, and counts only users who were there.
type Lane struct {
	cfg   Config
	state LaneState
	page  page
}

// LaneState is what a checkpoint keeps of a Lane: what is to be walked, and how far it has come.
type LaneState struct {
	Runs []PendingRun `json:"runs,omitempty"` // oldest first; the walk is in the first
	// Epoch, Partition and After say where it goes on: behind a user, or where After is "" with the first of a partition.
	Epoch     int              `json:"epoch,omitempty"`
	Partition schema.Partition `json:"partition,omitempty"`
	After     string           `json:"after,omitempty"`
	// Credit is how many parts the lane may read before it is the fast lane's turn.
	Credit float64 `json:"credit,omitempty"`
}

// PendingRun is a run, and the position that it is as of.
type PendingRun struct {
	Run
	Position schema.Position `json:"position"`
}

var unread page

// page is a piece of the walk that was read ahead: names, and whether there are more behind them. It is no state:
// what came to the log since it was read has no history as of the run.
type page struct {
	read  bool
	names []string
	more  bool
}

const (
	// maxPending bounds the runs that wait: each holds back the log's retention to its position.
	maxPending = 64
	// pageUsers is how many names are read at a time. The part of the index that is not in keys yet is looked through each time.
	pageUsers = 4096
	// looks bounds how many users a chunk may look at, in its users: those without a part to learn from cost a read each, and
	// the fast lane waits meanwhile.
	looks = 16
)

// NewLane returns the lane of a valid policy, with nothing to do.
func NewLane(c Config) *Lane { return &Lane{cfg: c} }

// RestoreLane returns the lane that State was called on.
func RestoreLane(c Config, s LaneState) (*Lane, error) {
	for i := range s.Runs {
		if b := s.Runs[i].Bucket; b < 0 || b >= c.Buckets {
			return nil, fmt.Errorf("recency: a run over bucket %d waits, and the config has %d", b, c.Buckets)
		}
	}
	s.Runs = slices.Clone(s.Runs)
	return &Lane{cfg: c, state: s}, nil
}

// State returns a copy of the state.
func (l *Lane) State() LaneState {
	s := l.state
	s.Runs = slices.Clone(s.Runs)
	return s
}

// Add takes runs that became due, as of the position up to which the log has been trained on. When more wait than a bucket each, or than 64, the
// oldest are shed; it returns how many. The run that is being walked stays, or those whose ids are last would never have their turn; but for one
// that has not ended after twice as many periods, because it holds back the log.
func (l *Lane) Add(runs []Run, at schema.Position) (shed int) {
	at = at.Clone()
	for _, r := range runs {
		l.state.Runs = append(l.state.Runs, PendingRun{r, at})
	}
	most := max(2, min(l.cfg.Buckets, maxPending))
	for ; len(l.state.Runs) > most; shed++ {
		first, last := l.state.Runs[0].Period, l.state.Runs[len(l.state.Runs)-1].Period
		if l.begun() && last-first < int64(2*most) {
			l.state.Runs = slices.Delete(l.state.Runs, 1, 2)
		} else {
			l.drop()
		}
	}
	return shed
}

// begun says whether the first run is being walked.
func (l *Lane) begun() bool { return l.state.Epoch > 0 || l.state.Partition > 0 || l.state.After != "" }

// drop lets go of the first run.
func (l *Lane) drop() {
	l.state.Runs = slices.Delete(l.state.Runs, 0, 1)
	l.state.Epoch, l.state.Partition, l.state.After = 0, 0, ""
	l.page = unread
	if len(l.state.Runs) == 0 {
		l.state.Runs, l.state.Credit = nil, 0
	}
}

// Skip sheds the runs as of a position that the log no longer reaches back to: the histories that they are to read begin later. It returns how many.
func (l *Lane) Skip(begins schema.Position) (shed int) {
	for len(l.state.Runs) > 0 { // positions rise from run to run
		gone := false
		for p, emit := range l.state.Runs[0].Position {
			gone = gone || emit < begins[p]
		}
		if !gone {
			break
		}
		l.drop()
		shed++
	}
	return shed
}

// Pending returns how many runs wait or are being walked.
func (l *Lane) Pending() int { return len(l.state.Runs) }

// Hold returns the position that a reader at the given one must hold, for the histories of the runs to stay in the log.
func (l *Lane) Hold(at schema.Position) schema.Position {
	at = at.Clone()
	for i := range l.state.Runs {
		for p, emit := range l.state.Runs[i].Position {
			if now, ok := at[p]; !ok || emit < now {
				at[p] = emit
			}
		}
	}
	return at
}

// Earn is told that the fast lane has read so many parts, with their histories, for a step: the lane may then read share/(1-share) times as many.
// Work is counted in parts, and not in time, so that a replay finds the same turns (I4). Nothing is earned while nothing waits.
func (l *Lane) Earn(parts int, share float64) {
	if len(l.state.Runs) > 0 && share > 0 && share < 1 {
		l.state.Credit += float64(parts) * share / (1 - share)
	}
}

// Ready says whether it is the lane's turn: Next is to be called before the fast lane goes on. share is Decision.Share.
func (l *Lane) Ready(share float64) bool {
	return len(l.state.Runs) > 0 && (share >= 1 || share > 0 && l.state.Credit > 0)
}

// Next returns the next chunk: up to n users with up to parts parts each, and fewer, or none, where many users have nothing to learn from, and at
// the end of an epoch. There must be a run. After an error of from nothing has changed.
func (l *Lane) Next(from Source, n, parts int, share float64) (Chunk, error) {
	s, page := l.state, l.page // taken over when all is read
	run := &l.state.Runs[0]
	c := Chunk{Run: run.Run, Epoch: s.Epoch}
	partitions, looked := run.Position.Partitions(), 0
	for len(c.Sequences) < n && looked < n*looks {
		if len(page.names) == 0 && page.read && !page.more {
			i, _ := slices.BinarySearch(partitions, s.Partition+1)
			if i == len(partitions) {
				c.Done = s.Epoch+1 >= l.cfg.Epochs
				s.Epoch, s.Partition, s.After, page = s.Epoch+1, 0, "", unread
				break
			}
			s.Partition, s.After, page = partitions[i], "", unread
		}
		if len(page.names) == 0 {
			names, err := from.Users(s.Partition, s.After, pageUsers, l.inBucket(run.Bucket))
			if err != nil {
				return Chunk{}, fmt.Errorf("walk the users of a bucket: %w", err)
			}
			page.read, page.names, page.more = true, names, len(names) == pageUsers
			continue
		}
		user := page.names[0]
		history, err := run.history(from, s.Partition, user, parts)
		if err != nil {
			return Chunk{}, fmt.Errorf("read the history of a user: %w", err)
		}
		s.After, page.names = user, page.names[1:]
		if len(history) == 0 {
			continue // came later, or all has been retained away
		}
		looked++
		c.Work += len(history)
		if q := run.sequence(s.Partition, user, history); q.Learn > 0 {
			c.Sequences = append(c.Sequences, q)
		}
	}
	c.Work = max(1, c.Work)
	if share < 1 {
		s.Credit -= float64(c.Work)
	}
	begin := xxh3.HashString(l.state.After)
	shuffle(c.Sequences, func(i int) uint64 {
		return hashed(l.cfg.Salt, saltShuffle, uint64(c.Run.Period), uint64(c.Epoch), begin^uint64(l.state.Partition), uint64(i))
	})
	l.state, l.page = s, page
	if c.Done {
		l.drop()
	}
	return c, nil
}

// inBucket returns what keeps the users of a bucket.
func (l *Lane) inBucket(b int) func([]byte) bool {
	return func(user []byte) bool { return l.cfg.Bucket(user) == b }
}

// history reads what a user did as of the run: the newest parts or, where the newest is older than what is learned from, that one alone. Most
// users have been away for longer than a window, and a part is read faster than all.
func (r *PendingRun) history(from Source, p schema.Partition, user string, n int) ([]schema.Part, error) {
	newest, err := from.History(p, user, r.Position[p], 1)
	if err != nil || n <= 1 || len(newest) == 0 || newest[0].Due < r.From {
		return newest, err
	}
	return from.History(p, user, r.Position[p], n)
}

// sequence returns what the run learns from a history: parts due behind the run are cut off, those before it are input.
func (r *Run) sequence(p schema.Partition, user string, history []schema.Part) Sequence {
	for len(history) > 0 && history[len(history)-1].Due >= r.Through {
		history = history[:len(history)-1]
	}
	q := Sequence{Partition: p, UserID: user, Parts: history}
	for q.Learn < len(history) && history[len(history)-1-q.Learn].Due >= r.From {
		q.Learn++
	}
	return q
}
