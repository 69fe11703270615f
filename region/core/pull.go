package core

import (
	"maps"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// A request is a span that a peer was asked for.
type request struct {
	peer     string
	id       uint64
	to       uint64
	progress time.Duration // uptime
}

// A gap is something that a peer holds and we do not, since when.
type gap struct {
	target uint64
	since  time.Duration // uptime
}

func (c *Core) receiveCatchUp(name string, m wire.CatchUp) {
	for r, q := range c.sync.requests {
		if q.peer != name || q.id != m.ID {
			continue
		}
		q.progress = c.uptime
		c.sync.requests[r] = q
		if m.Done {
			delete(c.sync.requests, r)
			// A store that was rolled back has less than was known of it.
			delete(c.sync.failed, r)
			if c.inbox.contiguous(r, c.have.Get(r)) < q.to {
				c.sync.failed[r] = name
			}
		}
	}
	if m.Refused != "" {
		c.note(true, "catch-up refused", "peer", name, "reason", m.Refused)
	}
}

// receiveBehind notes that a peer's log begins too late.
func (c *Core) receiveBehind(p *peer, m wire.Behind) {
	p.cut = p.cut.Join(m.Cut)
	if m.ID == p.proof && !p.lost.IsZero() {
		c.withoutProof(p)
	}
}

// pull asks for what linked peers hold and we do not.
func (c *Core) pull() {
	if c.boot.apart() {
		return
	}
	wanted := map[string][]crdt.Span{}
	var missing []crdt.Dot // of which no log has the change
	known := c.known()
	if len(known) == 0 {
		c.boot.only = "" // the log has come after all
	}
	for _, r := range known {
		span, ok := c.wanted(r)
		if !ok {
			continue
		}
		if name := c.supplier(r, span); name != "" {
			wanted[name] = append(wanted[name], span)
		} else if c.isCut(r, span.From) {
			missing = append(missing, crdt.Dot{Replica: r, Seq: span.From})
		}
	}
	if missing = append(missing, c.strangers()...); len(missing) > 0 {
		c.needSnapshot(missing)
		if c.boot.apart() {
			return
		}
	}
	c.sync.hurry = false
	if c.sync.fetch.Len() > 0 && c.have.Covers(c.sync.fetch) {
		c.sync.fetch = crdt.Vector{}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		c.sync.nextID++
		for _, s := range wanted[name] {
			c.sync.requests[s.Replica] = request{peer: name, id: c.sync.nextID, to: s.To, progress: c.uptime}
		}
		c.send(name, wire.Request{ID: c.sync.nextID, Spans: wanted[name]})
	}
}

// known lists the replicas of which linked peers hold something that we lack.
func (c *Core) known() []crdt.ReplicaID {
	seen := map[crdt.ReplicaID]bool{}
	for _, p := range c.peers {
		if !c.hears(p) {
			continue
		}
		for i := range p.have.Len() {
			if d := p.have.At(i); !c.have.Contains(d) && d.Replica != c.replica && !c.ended(d.Replica) {
				seen[d.Replica] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), crdt.ReplicaID.Compare)
}

// wanted says what of a replica is to be asked for now, if anything.
func (c *Core) wanted(r crdt.ReplicaID) (crdt.Span, bool) {
	have := c.have.Get(r)
	from := c.inbox.contiguous(r, have) + 1
	var to uint64
	for _, p := range c.peers {
		if c.hears(p) {
			to = max(to, p.have.Get(r))
		}
	}
	if len(c.sync.lacks) > 0 && from > have+1 && c.inbox.bytes >= c.inbox.limit/2 {
		return crdt.Span{}, false // it would have to wait, perhaps for long
	}
	if _, bad := c.cfg.Refused[crdt.Dot{Replica: r, Seq: from}]; bad || from > to {
		return crdt.Span{}, false
	}
	if q, ok := c.sync.requests[r]; ok {
		if c.uptime-q.progress < c.cfg.Timing.RequestTimeout {
			return crdt.Span{}, false
		}
		c.note(true, "catch-up does not get on, another peer is asked", "peer", q.peer, "replica", r)
	} else if !c.overdue(r, from, to) {
		return crdt.Span{}, false
	}
	return crdt.Span{Replica: r, From: from, To: to}, true
}

// overdue reports whether what is missing should have come by now. Live pushes
// are on their way most of the time: only what stays away is asked for.
func (c *Core) overdue(r crdt.ReplicaID, from, to uint64) bool {
	if c.sync.hurry || c.sync.fetch.Get(r) >= from {
		return true
	}
	g, ok := c.sync.gaps[r]
	if !ok || from > g.target {
		c.sync.gaps[r] = gap{target: to, since: c.uptime}
		return false
	}
	if c.uptime-g.since < c.cfg.Timing.GapGrace {
		return false
	}
	delete(c.sync.gaps, r)
	return true
}

// canSupply reports whether a peer may have what a span begins with.
func (c *Core) canSupply(p *peer, r crdt.ReplicaID, from uint64) bool {
	l := c.lacking(r, from)
	return c.hears(p) && (l == nil || crdt.MatchRegion(l.regions, p.name))
}

// isCut reports whether a peer has had what is missing, and its log has not any more.
func (c *Core) isCut(r crdt.ReplicaID, from uint64) bool {
	for _, p := range c.peers {
		if c.canSupply(p, r, from) && p.have.Get(r) >= from && p.cut.Get(r) >= from {
			return true
		}
	}
	return false
}

// supplier picks a linked peer that holds the most of a span; one that did not
// deliver is taken last.
func (c *Core) supplier(r crdt.ReplicaID, s crdt.Span) string {
	best, most := "", uint64(0)
	failed := c.sync.failed[r]
	if q, ok := c.sync.requests[r]; ok {
		failed = q.peer
	}
	for _, known := range []func(*peer) crdt.Vector{
		func(p *peer) crdt.Vector { return p.told },
		func(p *peer) crdt.Vector { return p.have },
	} {
		for _, name := range c.peerNames() {
			p := c.peers[name]
			n := min(known(p).Get(r), s.To)
			if !c.canSupply(p, r, s.From) || n < s.From || p.cut.Get(r) >= s.From {
				continue
			}
			if best == "" || best == failed || n > most && name != failed {
				best, most = name, n
			}
		}
		if best != "" && best != failed {
			break
		}
	}
	return best
}
