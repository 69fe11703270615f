package relay

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// Conditions of a path. The zero value passes everything on at once.
type Conditions struct {
	// Cut drops everything, also what is in flight.
	Cut bool
	// Delay is how long each packet takes, Jitter up to how much longer. Jitter
	// alone changes no order.
	Delay, Jitter time.Duration
	// Drop, Duplicate and Reorder are the shares of packets that are lost, come
	// twice, or come later than those sent up to reorderBy after them.
	Drop, Duplicate, Reorder float64
	// Rate is how many bytes pass per second, 0 for any number.
	Rate int
}

const (
	// maxInFlight bounds the bytes that are under way on a path.
	maxInFlight = 4 << 20
	// maxBacklog is how long packets wait for a limited rate before they are dropped.
	maxBacklog = 500 * time.Millisecond
	// reorderBy is how much later a packet comes that is overtaken by others.
	reorderBy = 10 * time.Millisecond
)

// Counts are what became of the packets of a path. A duplicate is delivered twice.
type Counts struct {
	Delivered, Dropped, Duplicated, Reordered int
}

// A packet is one on its way.
type packet struct {
	due     time.Time
	order   uint64 // of packets that are due at the same time
	payload []byte
	deliver func([]byte)
}

type packets []packet

func (p packets) Len() int      { return len(p) }
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p packets) Less(i, j int) bool {
	if !p[i].due.Equal(p[j].due) {
		return p[i].due.Before(p[j].due)
	}
	return p[i].order < p[j].order
}
func (p *packets) Push(x any) { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := len(*p) - 1
	x := (*p)[last]
	(*p)[last] = packet{}
	*p = (*p)[:last]
	return x
}

// A path is what leads from one region to another.
type path struct {
	mu       sync.Mutex
	rand     *rand.Rand
	cond     Conditions
	flight   packets
	bytes    int
	order    uint64
	lastDue  time.Time // of those in order
	freeAt   time.Time // when the rate lets the next packet pass
	counts   Counts
	changed  chan struct{} // gets a token when the first packet may be another
	finished chan struct{}
}

func newPath(seed, stream uint64) *path {
	return &path{
		rand:     rand.New(rand.NewPCG(seed, stream)),
		changed:  make(chan struct{}, 1),
		finished: make(chan struct{}),
	}
}

func (p *path) set(c Conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond = c
	if c.Cut {
		p.counts.Dropped += len(p.flight)
		clear(p.flight)
		p.flight, p.bytes = p.flight[:0], 0
	}
	if c.Rate == 0 {
		p.freeAt = time.Time{}
	}
}

func (p *path) get() (Conditions, Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cond, p.counts
}

// send takes a packet, which it copies, on its way.
func (p *path) send(now time.Time, payload []byte, deliver func([]byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Always the same number of draws, so that one condition does not change
	// what another one decides.
	drop, twice, late, jitter := p.rand.Float64(), p.rand.Float64(), p.rand.Float64(), p.rand.Float64()
	if p.cond.Cut || drop < p.cond.Drop {
		p.counts.Dropped++
		return
	}
	copies := 1
	if twice < p.cond.Duplicate {
		p.counts.Duplicated++
		copies = 2
	}
	for range copies {
		p.enter(now, payload, deliver, jitter, late < p.cond.Reorder)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *path) enter(now time.Time, payload []byte, deliver func([]byte), jitter float64, late bool) {
	at := now
	if p.cond.Rate > 0 {
		at = later(now, p.freeAt)
		if at.Sub(now) > maxBacklog {
			p.counts.Dropped++
			return
		}
		at = at.Add(time.Duration(len(payload)) * time.Second / time.Duration(p.cond.Rate))
		p.freeAt = at
	}
	if p.bytes+len(payload) > maxInFlight {
		p.counts.Dropped++
		return
	}
	due := at.Add(p.cond.Delay + time.Duration(jitter*float64(p.cond.Jitter)))
	if late {
		p.counts.Reordered++
		due = due.Add(reorderBy)
	} else {
		due = later(due, p.lastDue)
		// A delay that was taken away holds up nobody.
		due = earlier(due, at.Add(p.cond.Delay+p.cond.Jitter))
		p.lastDue = due
	}
	p.order++
	p.bytes += len(payload)
	heap.Push(&p.flight, packet{due, p.order, append([]byte(nil), payload...), deliver})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// run delivers packets when they are due, until done is closed.
func (p *path) run(done <-chan struct{}) {
	defer close(p.finished)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, more := p.deliverDue()
		if more {
			timer.Reset(wait)
		}
		select {
		case <-done:
			return
		case <-p.changed:
		case <-timer.C:
		}
	}
}

// deliverDue delivers what is due, and returns when the next packet is.
func (p *path) deliverDue() (wait time.Duration, more bool) {
	for {
		p.mu.Lock()
		if len(p.flight) == 0 {
			p.mu.Unlock()
			return 0, false
		}
		if wait := time.Until(p.flight[0].due); wait > 0 {
			p.mu.Unlock()
			return wait, true
		}
		next := heap.Pop(&p.flight).(packet)
		p.bytes -= len(next.payload)
		p.counts.Delivered++
		p.mu.Unlock()
		next.deliver(next.payload)
	}
}
