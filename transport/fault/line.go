package fault

import (
	"context"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport/wire"
)

// lineBytes bounds what a line holds up. Beyond it, putting waits or fails.
const lineBytes = 32 << 20

// A line holds messages up, in order, until their time has come. It has a
// goroutine only while it holds some.
type line struct {
	ctx context.Context // ends the line

	mu      sync.Mutex
	room    *sync.Cond
	waiting []held
	bytes   int
	running bool
	closed  bool
}

type held struct {
	deliver func()
	size    int
	due     time.Time
}

func newLine(ctx context.Context) *line {
	l := &line{ctx: ctx}
	l.room = sync.NewCond(&l.mu)
	context.AfterFunc(ctx, l.close)
	return l
}

// put lets m be delivered after a delay and after all that is before it. If there
// is nothing to wait for it does so itself. If the line is full it waits, or
// reports false.
func (l *line) put(m wire.Message, delay time.Duration, wait bool, deliver func()) bool {
	l.mu.Lock()
	if delay == 0 && !l.running {
		l.mu.Unlock()
		deliver()
		return true
	}
	size := wire.Size(m)
	for !l.over() && l.bytes > 0 && l.bytes+size > lineBytes {
		if !wait {
			l.mu.Unlock()
			return false
		}
		l.room.Wait()
	}
	defer l.mu.Unlock()
	if l.over() {
		return false
	}
	l.waiting = append(l.waiting, held{deliver, size, time.Now().Add(delay)})
	l.bytes += size
	if !l.running {
		l.running = true
		go l.run()
	}
	return true
}

// run delivers until nothing is held, or the line is done.
func (l *line) run() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 || l.closed {
			l.waiting, l.running = nil, false
			l.room.Broadcast()
			l.mu.Unlock()
			return
		}
		h := l.waiting[0]
		l.mu.Unlock()
		if l.until(h.due) {
			h.deliver()
		} else {
			l.close()
		}
		l.mu.Lock()
		if !l.closed {
			l.waiting = l.waiting[1:]
			l.bytes -= h.size
			l.room.Broadcast()
		}
		l.mu.Unlock()
	}
}

// until waits until t, and reports false if the context ended before. What is due
// already needs no timer: in a bubble of testing/synctest, goroutines that run timers
// which have expired at the same time bring the race detector of Go 1.26 down.
func (l *line) until(t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return l.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// idle reports whether nothing is held.
func (l *line) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.running
}

// over reports whether nothing is let in any more. It is so from the moment that
// the context ends, though close is called a little later. The lock is held.
func (l *line) over() bool { return l.closed || l.ctx.Err() != nil }

// close drops what is held and lets nothing in.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.room.Broadcast()
}

// drain waits until nothing is held.
func (l *line) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.running {
		l.room.Wait()
	}
}
