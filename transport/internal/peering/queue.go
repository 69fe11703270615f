package peering

import (
	"sync"

	"github.com/meridiandb/meridian/transport/wire"
)

// A queue holds what waits on a live stream, bounded in bytes.
type queue struct {
	limit int
	wake  chan struct{} // gets a token when something was pushed

	mu      sync.Mutex
	waiting []wire.Message
	bytes   int
	closed  bool
	dropped uint64
}

// perMessage is what a message counts in a queue on top of its size.
const perMessage = 64

func newQueue(limit int) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1)}
}

// push takes m, unless that would exceed the limit.
func (q *queue) push(m wire.Message) bool {
	size := wire.Size(m) + perMessage
	q.mu.Lock()
	ok := !q.closed && (q.bytes == 0 || q.bytes+size <= q.limit)
	if ok {
		q.waiting = append(q.waiting, m)
		q.bytes += size
	} else {
		q.dropped++
	}
	q.mu.Unlock()
	if ok {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return ok
}

// take moves messages of about limit bytes to batch, at least one if there is one.
func (q *queue) take(batch []wire.Message, limit int) []wire.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) {
		s := wire.Size(q.waiting[n])
		if n > 0 && size+s > limit {
			break
		}
		size += s
		n++
	}
	batch = append(batch, q.waiting[:n]...)
	clear(q.waiting[:n])
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.bytes -= size + n*perMessage
	return batch
}

// refuse counts a message that was not even pushed.
func (q *queue) refuse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// close makes push refuse, and forgets what waits.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.waiting, q.bytes = true, nil, 0
}

func (q *queue) stats() (bytes int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes, q.dropped
}
