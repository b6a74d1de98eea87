package sim

// timeline is a queue of values by time; values of one time leave in the order in which they came, so that the order of
// the stream never depends on the shape of a heap.
type timeline[T any] struct {
	heap []moment[T]
	came uint64
}

type moment[T any] struct {
	at    int64 // ms since 1970
	came  uint64
	value T
}

func (m moment[T]) before(o moment[T]) bool { return m.at < o.at || m.at == o.at && m.came < o.came }

// push adds value at time at.
func (q *timeline[T]) push(at int64, value T) {
	q.came++
	q.heap = append(q.heap, moment[T]{at, q.came, value})
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(q.heap[up]) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// pop removes the earliest value. The queue must not be empty.
func (q *timeline[T]) pop() (at int64, value T) {
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap[last] = moment[T]{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for down := 2*i + 1; down <= 2*i+2 && down < last; down++ {
			if q.heap[down].before(q.heap[least]) {
				least = down
			}
		}
		if least == i {
			return first.at, first.value
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
