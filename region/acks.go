package region

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// ackTracker knows what the other regions hold, and wakes those who wait for
// them to hold a change. Whoever waits for changes of one replica and for the
// same quorum is in one group, ordered by sequence number: what a vector means
// for a group is one number, up to which its waiters are woken, and no others.
type ackTracker struct {
	self string

	mu     sync.Mutex
	have   map[string]crdt.Vector // by peer
	groups map[groupKey]*ackGroup
}

type groupKey struct {
	replica crdt.ReplicaID
	quorum  string
}

type ackGroup struct {
	key     groupKey
	quorum  core.Quorum
	waiters ackHeap
	seqs    []uint64 // scratch of reached
}

type ackWaiter struct {
	seq   uint64
	index int // in the heap, -1 when woken
	done  chan struct{}
}

type ackHeap []*ackWaiter

func (h ackHeap) Len() int           { return len(h) }
func (h ackHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h ackHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *ackHeap) Push(x any) {
	w := x.(*ackWaiter)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *ackHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}

func newAckTracker(self string) *ackTracker {
	return &ackTracker{self: self, have: map[string]crdt.Vector{}, groups: map[groupKey]*ackGroup{}}
}

// update takes what peers are known to hold, and wakes whoever waited for it.
func (t *ackTracker) update(all []core.Acked) {
	if len(all) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range all {
		t.have[a.Region] = a.Have
	}
	for key, g := range t.groups {
		reached := t.reached(g)
		for len(g.waiters) > 0 && g.waiters[0].seq <= reached {
			close(heap.Pop(&g.waiters).(*ackWaiter).done)
		}
		if len(g.waiters) == 0 {
			delete(t.groups, key)
		}
	}
}

// reached is up to where a group's replica is held by its quorum.
func (t *ackTracker) reached(g *ackGroup) uint64 {
	seqs := g.seqs[:0]
	for name, v := range t.have {
		if !g.quorum.Counts(name) {
			continue
		}
		seqs = append(seqs, v.Get(g.key.replica))
	}
	slices.Sort(seqs)
	g.seqs = seqs
	reached := ^uint64(0)
	if others := g.quorum.Count - 1; others > len(seqs) {
		return 0
	} else if others > 0 {
		reached = seqs[len(seqs)-others]
	}
	for _, name := range g.quorum.Regions {
		if name != t.self {
			reached = min(reached, t.have[name].Get(g.key.replica))
		}
	}
	return reached
}

// holders names the regions that are known to hold a change, self first.
func (t *ackTracker) holders(d crdt.Dot) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := []string{t.self}
	for name, v := range t.have {
		if v.Contains(d) {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	return names
}

// holdAll names the other regions that are known to hold all the changes.
func (t *ackTracker) holdAll(dots []crdt.Dot) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, v := range t.have {
		if !slices.ContainsFunc(dots, func(d crdt.Dot) bool { return !v.Contains(d) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// holds reports whether a region is known to hold all of v.
func (t *ackTracker) holds(region string, v crdt.Vector) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.have[region].Covers(v)
}

// retain forgets regions that are members no more.
func (t *ackTracker) retain(members []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.have, func(name string, _ crdt.Vector) bool { return !slices.Contains(members, name) })
}

// join makes a waiter, nil if there is nothing to wait for.
func (t *ackTracker) join(d crdt.Dot, q core.Quorum) (*ackGroup, *ackWaiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := groupKey{d.Replica, q.Key()}
	g, ok := t.groups[key]
	if !ok {
		g = &ackGroup{key: key, quorum: q}
	}
	if t.reached(g) >= d.Seq {
		return nil, nil
	}
	t.groups[key] = g
	w := &ackWaiter{seq: d.Seq, done: make(chan struct{})}
	heap.Push(&g.waiters, w)
	return g, w
}

// leave takes a waiter that has given up out. It reports false if it was woken.
func (t *ackTracker) leave(g *ackGroup, w *ackWaiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.index < 0 {
		return false
	}
	heap.Remove(&g.waiters, w.index)
	if len(g.waiters) == 0 {
		delete(t.groups, g.key)
	}
	return true
}

// wait waits until a quorum holds the change, and reports whether it does.
func (t *ackTracker) wait(ctx context.Context, stopped <-chan struct{}, d crdt.Dot, q core.Quorum) bool {
	g, w := t.join(d, q)
	if w == nil {
		return true
	}
	select {
	case <-w.done:
		return true
	case <-ctx.Done():
	case <-stopped:
	}
	return !t.leave(g, w)
}

// Acked waits until the regions of a resolved quorum hold a change that is
// durable here, or ctx ends. It returns the regions that do, this one first, and
// whether they meet the quorum. To hear of it promptly, core.Write.Await has to
// be set in the write.
func (r *Region) Acked(ctx context.Context, d crdt.Dot, q core.Quorum) (holders []string, met bool) {
	met = r.acks.wait(ctx, r.stopped, d, q)
	return q.Counted(r.acks.holders(d)), met
}

// Held waits until the regions of a resolved quorum hold all the changes, which
// this one holds. It asks the others to fetch what they lack at once. When ctx
// ends first the error is core.ErrNoQuorum.
func (r *Region) Held(ctx context.Context, dots []crdt.Dot, q core.Quorum, wait time.Duration) error {
	asked := false
	for _, d := range dots {
		g, w := r.acks.join(d, q)
		if w == nil {
			continue
		}
		if !asked {
			asked = true
			if _, err := r.submit(ctx, core.Await{Want: crdt.VectorOf(dots...), For: wait}); err != nil {
				r.acks.leave(g, w)
				return err
			}
		}
		select {
		case <-w.done:
		case <-r.stopped:
			r.acks.leave(g, w)
			return ErrStopped
		case <-ctx.Done():
			if r.acks.leave(g, w) {
				return fmt.Errorf("%w: what was read is known to be held only by %v", core.ErrNoQuorum, r.acks.holders(d))
			}
		}
	}
	return nil
}

// HandOverWait is for how long HandOver waits at most.
const HandOverWait = time.Second

// HandOver waits until another region holds what was last written here, so that clients
// that move there with their tokens find it while this one is down: before the region is
// stopped, once no more writes come. It does not wait if no region is linked.
func (r *Region) HandOver(ctx context.Context) {
	p := r.published.Load()
	last := crdt.Dot{Replica: p.replica, Seq: p.have.Get(p.replica)}
	r.mu.Lock()
	linked := len(r.links) > 0
	r.mu.Unlock()
	if !linked || last.Seq == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, HandOverWait)
	defer cancel()
	if err := r.Held(ctx, []crdt.Dot{last}, core.Quorum{Count: 2}, HandOverWait); err != nil {
		r.log.Warn("what was written last is not known to be held by another region", "error", err)
	}
}

// Gather asks the regions of a resolved quorum what they hold, and waits until
// this one holds all of it: what is read then is as new as what any of them held
// when Gather was called. It returns who told, this region first. The error wraps
// core.ErrNoQuorum if too few told within wait, and ErrBehind if what they told
// of did not arrive.
func (r *Region) Gather(ctx context.Context, q core.Quorum, wait time.Duration) ([]string, error) {
	// The core ends it at its next tick and knows who told; ctx does if it is busy.
	asking, stop := context.WithTimeout(ctx, wait+2*core.TickEvery)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	res, err := r.submit(asking, core.Gather{Quorum: q, For: wait})
	if err != nil {
		if asking.Err() != nil {
			return nil, fmt.Errorf("%w: within %v they did not", core.ErrNoQuorum, wait)
		}
		return nil, err
	}
	g := res.(core.Gathered)
	return g.Regions, r.Wait(ctx, g.Have)
}
