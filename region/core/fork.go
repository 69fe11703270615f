package core

import (
	"bytes"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// checkTip compares one log's hash chain with ours. It reports false if the
// link cannot be used.
func (c *Core) checkTip(p *peer, t wire.Tip) (bool, error) {
	have := c.have.Get(t.Replica)
	if t.Replica == c.replica && t.Seq > have {
		c.doubt(p, crdt.Dot{Replica: t.Replica, Seq: t.Seq})
		return true, nil
	}
	if t.Seq == 0 || t.Seq > have {
		return true, nil
	}
	hash, ok, err := c.chain(crdt.Dot{Replica: t.Replica, Seq: t.Seq})
	if err != nil {
		return false, storeError(err)
	}
	if !ok || hash == t.Hash {
		return true, nil
	}
	if t.Replica == c.replica {
		c.fence(p, crdt.Dot{Replica: t.Replica, Seq: t.Seq})
	}
	c.note(true, "histories differ", "peer", p.name, "replica", t.Replica, "seq", t.Seq)
	c.close(p.name, fmt.Errorf("%w: change %d of replica %v", ErrForked, t.Seq, t.Replica))
	return false, nil
}

// doubt stops writes because a peer holds a change of ours that we do not have:
// this store was rolled back, and may have used dots again since. The peer's
// copy of our last change tells.
func (c *Core) doubt(p *peer, lost crdt.Dot) {
	if !p.lost.IsZero() {
		return
	}
	have := c.have.Get(c.replica)
	if have == 0 {
		c.retire(p, lost)
		return
	}
	c.suspect = fmt.Sprintf("%s holds %d changes of this store, which has %d: it was restored from an older copy; if it has taken writes since then, it cannot go on",
		p.name, lost.Seq, have)
	c.sync.nextID++
	p.lost, p.proof = lost, c.sync.nextID
	c.askProof(p)
}

// askProof asks, always under the same ID: a late answer is as good as any.
func (c *Core) askProof(p *peer) {
	have := c.have.Get(c.replica)
	p.proofAt = c.uptime
	c.send(p.name, wire.Request{ID: p.proof, Spans: []crdt.Span{{Replica: c.replica, From: have, To: have}}})
}

// watchOwn looks for peers that have come to hold changes of ours that we do
// not have, and asks for their proof, again where no answer came.
func (c *Core) watchOwn() {
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if !c.hears(p) {
			continue
		}
		if seq := p.have.Get(c.replica); seq > c.have.Get(c.replica) {
			c.doubt(p, crdt.Dot{Replica: c.replica, Seq: seq})
		}
		if !p.lost.IsZero() && c.uptime-p.proofAt >= c.cfg.Timing.RequestTimeout {
			c.askProof(p)
		}
	}
}

// receiveProof compares a peer's copy of our last change with ours.
func (c *Core) receiveProof(p *peer, m wire.CatchUp) error {
	lost := p.lost
	p.lost = crdt.Dot{}
	have := c.have.Get(c.replica)
	for e, err := range c.reader.Log(c.replica, have, have) {
		if err != nil {
			return storeError(err)
		}
		switch {
		case len(m.Changes) != 1: // it has lost them, too
			c.suspect = ""
		case sameChange(e.Change, m.Changes[0]):
			c.retire(p, lost)
		default:
			c.fence(p, e.Dot)
		}
	}
	return nil
}

// sameChange reports whether two encodings are of one change, whole or not.
func sameChange(a, b []byte) bool {
	x, err := crdt.Imprint(a)
	y, err2 := crdt.Imprint(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// withoutProof goes on where a peer's log does not reach back to our last
// change. This store can only have used dots twice if it took writes before it
// met a peer; if it did, nobody can tell any more, and an operator has to.
func (c *Core) withoutProof(p *peer) {
	if c.unmet > 0 {
		c.fence(p, p.lost)
		p.lost = crdt.Dot{}
		return
	}
	c.retire(p, p.lost)
}

// fence ends the taking of writes for good.
func (c *Core) fence(p *peer, d crdt.Dot) {
	c.fenced = fmt.Sprintf("%s holds other changes under the same names as this store (replica %v, change %d): this store was restored from an older copy, or runs twice", p.name, d.Replica, d.Seq)
}

// retire gives this store a new replica id, because a peer holds a change of
// the present one that this store lost: it was rolled back. What it lost is
// fetched like any other region's changes (I2).
func (c *Core) retire(p *peer, lost crdt.Dot) {
	c.note(true, "this store was rolled back: a peer holds changes of it that it lost; it goes on as a new replica and fetches them",
		"peer", p.name, "replica", c.replica, "have", c.have.Get(c.replica), "lost", lost.Seq)
	c.replica = c.cfg.NewReplica()
	c.announced, c.synced, c.founder = false, false, false
	c.met, c.suspect = true, ""
	for _, other := range c.peers {
		other.lost = crdt.Dot{}
	}
	p.owed = p.owed.Join(p.have).With(lost)
}
