package core

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// An inbox holds changes of others until what they depend on is there. It is
// bounded by bytes: when it is full, what is furthest ahead is dropped, to be
// asked for again.
type inbox struct {
	limit   int
	bytes   int
	changes int
	origins map[crdt.ReplicaID]*waiting
	// empty are to be used again: most of what comes is applied at once.
	empty []*waiting
}

// waiting are the changes of an origin, most of them at a time since it was made.
type waiting struct {
	changes map[uint64]pending
	most    int
}

// What is kept of empty ones: a map does not get smaller.
const (
	maxEmpty        = 8
	maxEmptyChanges = 1024
)

type pending struct {
	change  *crdt.Change
	encoded []byte
	from    string
	store   crdt.ReplicaID // that the peer was when it sent this
}

// Decoded changes take more memory than their bytes.
const pendingOverhead = 256

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, origins: map[crdt.ReplicaID]*waiting{}}
}

// add takes a change in. next is the one that its origin is due for: it is
// always taken, so that the inbox cannot be stuck full of what has to wait.
func (b *inbox) add(p pending, next bool) bool {
	d := p.change.Dot
	q := b.origins[d.Replica]
	if _, ok := b.get(d); ok {
		return true
	}
	size := len(p.encoded) + pendingOverhead
	if !next && b.bytes+size > b.limit {
		return false
	}
	if q == nil {
		q = b.take()
		b.origins[d.Replica] = q
	}
	q.changes[d.Seq] = p
	q.most = max(q.most, len(q.changes))
	b.bytes += size
	b.changes++
	return true
}

// take returns one without changes.
func (b *inbox) take() *waiting {
	n := len(b.empty)
	if n == 0 {
		return &waiting{changes: map[uint64]pending{}}
	}
	q := b.empty[n-1]
	b.empty = b.empty[:n-1]
	return q
}

// of returns the changes of an origin, nil if there are none.
func (b *inbox) of(r crdt.ReplicaID) map[uint64]pending {
	if q := b.origins[r]; q != nil {
		return q.changes
	}
	return nil
}

// get returns a change without removing it.
func (b *inbox) get(d crdt.Dot) (pending, bool) {
	p, ok := b.of(d.Replica)[d.Seq]
	return p, ok
}

func (b *inbox) remove(d crdt.Dot) {
	p, ok := b.get(d)
	if !ok {
		return
	}
	q := b.origins[d.Replica]
	delete(q.changes, d.Seq)
	if len(q.changes) == 0 {
		delete(b.origins, d.Replica)
		if q.most <= maxEmptyChanges && len(b.empty) < maxEmpty {
			b.empty = append(b.empty, q)
		}
	}
	b.bytes -= len(p.encoded) + pendingOverhead
	b.changes--
}

// drop removes all changes of an origin.
func (b *inbox) drop(r crdt.ReplicaID) {
	for seq := range b.of(r) {
		b.remove(crdt.Dot{Replica: r, Seq: seq})
	}
}

// dropFrom removes what came from a peer itself when it was another store than
// that of a replica, all of it if that is zero.
func (b *inbox) dropFrom(peer string, but crdt.ReplicaID) {
	for _, q := range b.origins {
		for _, p := range q.changes {
			if p.from == peer && (p.store != but || but.IsZero()) {
				b.remove(p.change.Dot)
			}
		}
	}
}

// replicas returns the origins with waiting changes, in order.
func (b *inbox) replicas() []crdt.ReplicaID {
	return slices.SortedFunc(maps.Keys(b.origins), crdt.ReplicaID.Compare)
}

// contiguous returns the last sequence number up to which the inbox continues from have.
func (b *inbox) contiguous(r crdt.ReplicaID, have uint64) uint64 {
	q := b.of(r)
	for {
		if _, ok := q[have+1]; !ok {
			return have
		}
		have++
	}
}

// accept takes encoded changes of a peer into the inbox.
func (c *Core) accept(peer string, encoded [][]byte) error {
	if c.boot.apart() {
		return nil // it comes again with the log
	}
	sender := c.peers[peer]
	for _, b := range encoded {
		ch, rest, err := crdt.DecodeChange(b)
		if err == nil && len(rest) > 0 {
			err = crdt.ErrCorrupt
		}
		if err != nil {
			c.reject(peer, err)
			return nil
		}
		if r := ch.Residency; !r.HeldBy(c.cfg.Region) && !r.Withheld {
			c.reject(peer, fmt.Errorf("it sends change %v, which only %v hold", ch.Dot, r.Regions))
			return nil
		}
		have := c.have.Get(ch.Dot.Replica)
		if ch.Dot.Seq <= have {
			continue
		}
		if ch.Dot.Replica == c.replica {
			c.doubt(sender, ch.Dot)
			continue
		}
		if _, bad := c.cfg.Refused[ch.Dot]; bad || c.pastEnd(ch) {
			continue
		}
		sender.have, sender.told = sender.have.With(ch.Dot), sender.told.With(ch.Dot)
		if ch.Residency != nil && !c.acceptResident(peer, ch, b) {
			continue
		}
		c.inbox.add(pending{ch, b, peer, sender.linked}, ch.Dot.Seq == have+1)
	}
	return nil
}

// applyReady applies what has its dependencies, in a fixed order, until the
// batch is full. It reports whether there is more.
func (c *Core) applyReady() (more bool, err error) {
	for progress := true; progress; {
		progress = false
		for _, r := range c.inbox.replicas() {
			for {
				dot := crdt.Dot{Replica: r, Seq: c.have.Get(r) + 1}
				p, ok := c.inbox.get(dot)
				if !ok || !c.have.Covers(p.change.Deps) {
					break
				}
				if !c.roomForOthers() {
					return true, nil
				}
				c.inbox.remove(dot)
				if !c.mayBegin(p) {
					break
				}
				if p, err = c.withLoss(p); err != nil {
					return false, err
				}
				if ahead := c.clock.Observe(c.now, p.change.Stamp); ahead > 0 {
					c.reportSkew(dot, ahead)
				}
				if err := c.commit(p.change, p.encoded, p.from); err != nil {
					return false, err
				}
				c.acks, progress = true, true
			}
		}
	}
	return false, nil
}
