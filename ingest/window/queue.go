package window

import "strings"

// queue is a heap of the open sessions by (due, user, start), so that a click costs the logarithm of their number. The
// order is total: two sessions of one user differ in their start.
type queue []*session

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.due != b.due {
		return a.due < b.due
	}
	if c := strings.Compare(a.UserID, b.UserID); c != 0 {
		return c < 0
	}
	return a.Start < b.Start
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push is for container/heap.
func (q *queue) Push(s any) {
	s.(*session).at = len(*q)
	*q = append(*q, s.(*session))
}

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return s
}
