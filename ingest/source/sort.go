package source

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"github.com/freshet-ml/freshet/schema"
	"github.com/klauspost/compress/s2"
)

// Sort returns the records of s by event time; records of one time keep their order. Rows that are no clicks stay behind
// the row that they came after.
//
// A replay of a file that is not in order would make nearly every click late. What does not fit into 64 MiB of memory is
// sorted in runs on the disk, in dir (by default the system's folder for temporary files), compressed: about a third of
// the size of the clicks as JSON. Nothing of it is left when the process ends, however it does.
//
// The sorting is done by Prepare, or by the first Next.
func Sort(s Stream, dir string) Stream { return newSorted(s, dir, sortBytes, fanIn) }

const (
	sortBytes   = 64 << 20 // of records that are sorted in memory at a time
	fanIn       = 64       // runs that are merged at a time, each through a buffer of about 200 KiB
	spillBlock  = 64 << 10 // bytes that are compressed at a time
	indexBytes  = 16       // of memory that a record costs beside its own
	checkEvery  = 4096     // records between two looks at the context
	spillHeader = 3 * binary.MaxVarintLen64
	maxSpilled  = 64 << 20 // bytes of a key or a value; a line has less
)

// Prepare does what a stream has to do before its first record: a Sort reads all of its input, which takes long if that is
// large. An error ends the stream. Next prepares a stream that was not prepared.
func Prepare(ctx context.Context, s Stream) error {
	switch s := s.(type) {
	case *limited:
		return Prepare(ctx, s.Stream)
	case *sorted:
		return s.prepare(ctx)
	}
	return nil
}

// Sorting returns how far Prepare is with reading the input of s, and whether s is one that is sorted.
func Sorting(s Stream) (Progress, bool) {
	switch s := s.(type) {
	case *limited:
		return Sorting(s.Stream)
	case *sorted:
		p, ok := s.in.(Progress)
		return p, ok
	}
	return nil, false
}

// sorted is a Stream in the order of event time.
type sorted struct {
	in    Stream
	dir   string
	limit int // bytes of a run in memory
	fan   int // runs that are merged at a time

	arena []byte     // keys and values of the records in memory
	index []position // which are where
	runs  [][]*run   // on disk; by how often they were merged, then by their order in the input
	order merge      // of the runs, once all is sorted
	next  int        // in index, where all fitted into memory
	ready bool
	err   error // of preparing
	last  *run  // whose record the last Next returned

	records atomic.Int64 // that were read
	given   atomic.Int64 // that were returned, counted once all is sorted
	whole   atomic.Bool  // all is sorted
}

// position is where a record lies in the arena.
type position struct {
	at       schema.EventTime
	from     int32 // of the key
	key, end int32 // lengths: of the key, and of both
}

func newSorted(s Stream, dir string, limit, fan int) *sorted {
	return &sorted{in: s, dir: dir, limit: limit, fan: fan}
}

func (s *sorted) prepare(ctx context.Context) error {
	if !s.ready && s.err == nil {
		s.err = s.sort(ctx)
	}
	return s.err
}

func (s *sorted) sort(ctx context.Context) error {
	for {
		if s.records.Load()%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		out, err := s.in.Next()
		if errors.Is(err, io.EOF) {
			return s.finish(ctx)
		}
		if err != nil {
			return err
		}
		if size := len(s.arena) + len(s.index)*indexBytes + len(out.Key) + len(out.Value) + indexBytes; size > s.limit && len(s.index) > 0 {
			if err := s.spill(ctx); err != nil {
				return err
			}
		}
		s.index = append(s.index, position{out.EventTime, int32(len(s.arena)), int32(len(out.Key)), int32(len(out.Key) + len(out.Value))})
		s.arena = append(append(s.arena, out.Key...), out.Value...)
		s.records.Add(1)
	}
}

// finish gets the first record ready.
func (s *sorted) finish(ctx context.Context) error {
	if len(s.runs) == 0 {
		s.sortIndex()
	} else {
		if err := s.spill(ctx); err != nil {
			return err
		}
		var all []*run
		for _, level := range slices.Backward(s.runs) { // the more often merged, the earlier in the input
			all = append(all, level...)
		}
		for len(all) > s.fan {
			merged, err := s.merge(ctx, all[:s.fan])
			if err != nil {
				return err
			}
			all = slices.Insert(all[s.fan:], 0, merged)
			s.runs = [][]*run{all}
		}
		s.arena, s.index = nil, nil
		var err error
		if s.order, err = newMerge(all); err != nil {
			return err
		}
	}
	s.ready = true
	s.whole.Store(true)
	return nil
}

func (s *sorted) sortIndex() {
	slices.SortFunc(s.index, func(a, b position) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		return cmp.Compare(a.from, b.from)
	})
}

// spill writes what is in memory as a run.
func (s *sorted) spill(ctx context.Context) error {
	s.sortIndex()
	w, err := s.newRun()
	if err != nil {
		return err
	}
	for _, p := range s.index {
		w.write(p.at, s.arena[p.from:p.from+p.key], s.arena[p.from+p.key:p.from+p.end])
	}
	s.arena, s.index = s.arena[:0], s.index[:0]
	r, err := w.finish()
	if err != nil {
		return err
	}
	return s.keep(ctx, r, 0)
}

// keep adds a run to a level, and merges the level when it is full.
func (s *sorted) keep(ctx context.Context, r *run, level int) error {
	if level == len(s.runs) {
		s.runs = append(s.runs, nil)
	}
	s.runs[level] = append(s.runs[level], r)
	if len(s.runs[level]) < s.fan {
		return nil
	}
	merged, err := s.merge(ctx, s.runs[level])
	if err != nil {
		return err
	}
	s.runs[level] = nil
	return s.keep(ctx, merged, level+1)
}

// merge makes one run of several, and ends those.
func (s *sorted) merge(ctx context.Context, runs []*run) (*run, error) {
	order, err := newMerge(runs)
	if err != nil {
		return nil, err
	}
	w, err := s.newRun()
	if err != nil {
		return nil, err
	}
	for n := 0; len(order) > 0; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), w.close())
		}
		r := order[0]
		w.write(r.at, r.record[:r.key], r.record[r.key:])
		if err := order.advance(); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	merged, err := w.finish()
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		if err := r.close(); err != nil {
			return nil, errors.Join(err, merged.close())
		}
	}
	return merged, nil
}

// Next returns the record with the next event time.
func (s *sorted) Next() (Outgoing, error) {
	if !s.ready {
		if err := s.prepare(context.Background()); err != nil {
			return Outgoing{}, err
		}
	}
	if s.order == nil {
		if s.next == len(s.index) {
			return Outgoing{}, io.EOF
		}
		p := s.index[s.next]
		s.next++
		s.given.Add(1)
		return Outgoing{Key: s.arena[p.from : p.from+p.key], Value: s.arena[p.from+p.key : p.from+p.end], EventTime: p.at}, nil
	}
	if s.last != nil { // only now: the record was the caller's until now
		s.last = nil
		if err := s.order.advance(); err != nil {
			return Outgoing{}, err
		}
	}
	if len(s.order) == 0 {
		return Outgoing{}, io.EOF
	}
	r := s.order[0]
	s.last = r
	s.given.Add(1)
	return Outgoing{Key: r.record[:r.key], Value: r.record[r.key:], EventTime: r.at}, nil
}

// Len is known once all is read.
func (s *sorted) Len() int {
	if s.whole.Load() {
		return int(s.records.Load())
	}
	return -1
}

// Progress counts a byte of the input twice: when it is read, and when its record is returned.
func (s *sorted) Progress() (done, total int64) {
	in, ok := s.in.(Progress)
	if !ok {
		return 0, -1
	}
	done, total = in.Progress()
	switch records := s.records.Load(); {
	case total < 0:
		return done, -1
	case s.whole.Load() && records > 0:
		done = total + int64(float64(total)*float64(s.given.Load())/float64(records))
	}
	return done, 2 * total
}

func (s *sorted) Close() error {
	errs := []error{s.in.Close()}
	for _, level := range s.runs {
		for _, r := range level {
			errs = append(errs, r.close())
		}
	}
	s.runs, s.order, s.index, s.ready = nil, nil, nil, true
	return errors.Join(errs...)
}

// run is a sorted part of the input on the disk: for each record its event time, the lengths of key and value, and both.
type run struct {
	file *os.File
	path string // "" if the file has no name any more
	w    *s2.Writer
	err  error // of writing
	head []byte

	r      *s2.Reader
	at     schema.EventTime // of the record
	record []byte           // key and value
	key    int              // length of the key
	rank   int              // among the runs that are merged: the one earlier in the input comes first
}

// newRun makes a run to write.
func (s *sorted) newRun() (*run, error) {
	file, err := os.CreateTemp(s.dir, "freshet-sort-*")
	if err != nil {
		return nil, sortError(err)
	}
	r := &run{file: file, path: file.Name(), head: make([]byte, 0, spillHeader)}
	if os.Remove(r.path) == nil { // where the system lets go of an open file, no crash can leave it behind
		r.path = ""
	}
	r.w = s2.NewWriter(file, s2.WriterConcurrency(1), s2.WriterBlockSize(spillBlock))
	return r, nil
}

func sortError(err error) error {
	return fmt.Errorf("sort by time: %w: make room there, name another folder in TMPDIR, or sort the file beforehand and set source.sort to no", err)
}

func (r *run) write(at schema.EventTime, key, value []byte) {
	if r.err != nil {
		return
	}
	r.head = binary.AppendVarint(r.head[:0], int64(at))
	r.head = binary.AppendUvarint(r.head, uint64(len(key)))
	r.head = binary.AppendUvarint(r.head, uint64(len(value)))
	for _, b := range [][]byte{r.head, key, value} {
		if _, err := r.w.Write(b); err != nil {
			r.err = err
			return
		}
	}
}

// finish ends the writing.
func (r *run) finish() (*run, error) {
	if err := errors.Join(r.err, r.w.Close()); err != nil {
		return nil, errors.Join(sortError(err), r.close())
	}
	r.w = nil
	return r, nil
}

// begin goes to the first record.
func (r *run) begin() error {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return sortError(err)
	}
	r.r = s2.NewReader(r.file, s2.ReaderMaxBlockSize(spillBlock))
	return r.advance()
}

// advance goes to the next record, or returns io.EOF.
func (r *run) advance() error {
	at, err := binary.ReadVarint(r.r)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	key, err1 := binary.ReadUvarint(r.r)
	value, err2 := binary.ReadUvarint(r.r)
	if err := errors.Join(err, err1, err2); err != nil || key > maxSpilled || value > maxSpilled {
		return errSpilled(err)
	}
	r.at, r.key = schema.EventTime(at), int(key)
	r.record = slices.Grow(r.record[:0], int(key+value))[:key+value]
	if _, err := io.ReadFull(r.r, r.record); err != nil {
		return errSpilled(err)
	}
	return nil
}

// errSpilled says that a run cannot be read again. It is no io.EOF, which would end the run in silence.
func errSpilled(err error) error {
	return fmt.Errorf("sort by time: a temporary file was damaged: %v", err)
}

func (r *run) close() error {
	err := r.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if r.path != "" {
		err = errors.Join(err, os.Remove(r.path))
		r.path = ""
	}
	return err
}

// merge is a heap of runs: the one with the next record is the first.
type merge []*run

func newMerge(runs []*run) (merge, error) {
	m := make(merge, 0, len(runs))
	for rank, r := range runs {
		r.rank = rank
		switch err := r.begin(); {
		case err == nil:
			m = append(m, r)
		case !errors.Is(err, io.EOF):
			return nil, err
		}
	}
	heap.Init(&m)
	return m, nil
}

// advance takes the first record away.
func (m *merge) advance() error {
	switch err := (*m)[0].advance(); {
	case err == nil:
		heap.Fix(m, 0)
	case errors.Is(err, io.EOF):
		heap.Pop(m)
	default:
		return err
	}
	return nil
}

func (m merge) Len() int { return len(m) }

func (m merge) Less(i, j int) bool {
	if m[i].at != m[j].at {
		return m[i].at < m[j].at
	}
	return m[i].rank < m[j].rank
}

func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }

func (m *merge) Push(x any) { *m = append(*m, x.(*run)) }

func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
