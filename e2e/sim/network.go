package sim

import (
	"iter"
	"math/rand/v2"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// Bounds of the simulated transport.
const (
	// queueMessages is how many messages are under way in one direction of a
	// connection at most; what is sent beyond that is dropped.
	queueMessages = 256
	// maxStreams is how many catch-up streams a region serves at a time.
	maxStreams = 8
	// bulkRate is the bytes per second of a catch-up stream.
	bulkRate = 4 << 20
	// maxParts is in how many parts a snapshot is sent. Each leaves when the one
	// before it has arrived, so that much can come between them; with hundreds,
	// where a link is slow, a copy would take minutes.
	maxParts = 64
)

// A pair is the way between two regions. Index 0 is the region with the lesser
// number, and the direction from it.
type pair struct {
	w       *world
	ends    [2]*node
	blocked [2]bool // by direction
	turns   int     // counts changes of blocked and of who is alive
	conn    *conn
	dialing bool
	r       *rand.Rand
}

// A conn is one connection. Each end learns for itself that it is gone.
type conn struct {
	p        *pair
	up       [2]bool
	since    time.Duration    // when the last of the ends came up
	last     [2]time.Duration // when the last ordered message arrives
	under    [2]int           // messages under way
	held     [2][]*message    // what waits for a blocked direction
	ordered  [2][]*message    // what has not arrived yet, in the order in which it must
	greeting [2]bool          // the hello has been sent
	met      [2]bool          // and has arrived
}

// message is one of the live stream. One that is astray keeps no order.
type message struct {
	encoded []byte
	astray  bool
	arrived bool
}

func (w *world) pair(a, b *node) *pair {
	if a.index > b.index {
		a, b = b, a
	}
	return w.pairs[a.index][b.index]
}

// side is 0 or 1, where n is.
func (p *pair) side(n *node) int {
	if p.ends[0] == n {
		return 0
	}
	return 1
}

func (p *pair) alive() bool { return p.conn != nil && p.conn.up[0] && p.conn.up[1] }

// steady reports whether the connection has been up for a while.
func (p *pair) steady() bool { return p.alive() && p.w.now > p.conn.since+agreeWithin }

// dial makes a connection, after a while, if one is wanted and possible.
func (p *pair) dial() {
	if p.w == nil || p.dialing || p.alive() || !p.wanted() {
		return
	}
	p.dialing = true
	p.w.after(between(p.r, time.Millisecond, 400*time.Millisecond), func() {
		if p.alive() || !p.wanted() {
			p.dialing = false
			return
		}
		p.connect()
	})
}

// wanted reports whether the end that dials wants a connection, and gets one.
func (p *pair) wanted() bool {
	a, b := p.ends[0], p.ends[1]
	if !a.up || !b.up || p.blocked[0] || p.blocked[1] {
		return false
	}
	a.refusedBy(b)
	b.refusedBy(a)
	return a.takes(b) && b.takes(a) && (a.knows(b) && a.wants(b) || b.knows(a) && b.wants(a))
}

func (p *pair) connect() {
	if old := p.conn; old != nil {
		p.down(old, 0)
		p.down(old, 1)
	}
	c := &conn{p: p}
	p.conn = c
	p.turns++
	first := p.r.IntN(2)
	p.raise(c, first)
	d := p.delay(first)
	c.last[first] = p.w.now + d // nothing arrives before the other end is up
	p.w.after(d, func() {
		p.dialing = false
		if p.conn == c && c.up[first] && p.ends[1-first].up {
			p.raise(c, 1-first)
		} else {
			p.down(c, first)
		}
		p.dial() // it may have been broken off meanwhile
	})
}

func (p *pair) raise(c *conn, side int) {
	c.up[side], c.since = true, p.w.now
	n := p.ends[side]
	p.w.tracef("%s link up with %s", n.name, p.ends[1-side].name)
	n.pushOf(c, core.LinkUp{Peer: p.ends[1-side].name})
}

// down ends a connection for one side, which is told unless it is dead.
func (p *pair) down(c *conn, side int) {
	if !c.up[side] {
		return
	}
	c.up[side] = false
	c.held[1-side], c.ordered[1-side] = nil, nil
	n := p.ends[side]
	if n.up {
		p.w.tracef("%s link down with %s", n.name, p.ends[1-side].name)
		n.pushOf(c, core.LinkDown{Peer: p.ends[1-side].name})
	}
	if p.conn == c && !c.up[1-side] {
		p.conn = nil
	}
	p.dial()
}

// breakOff closes a connection at one side; the other learns of it.
func (p *pair) breakOff(side int) {
	c := p.conn
	if c == nil {
		return
	}
	p.down(c, side)
	p.w.after(p.delay(side), func() {
		if !p.blocked[side] {
			p.down(c, 1-side)
		}
	})
	p.watch()
}

// block cuts or restores a direction.
func (p *pair) block(dir int, cut bool) {
	if p.blocked[dir] == cut {
		return
	}
	p.blocked[dir] = cut
	p.turns++
	p.w.tracef("link %s to %s cut: %v", p.ends[dir].name, p.ends[1-dir].name, cut)
	if cut {
		p.watch()
		return
	}
	if c := p.conn; c != nil {
		held := c.held[dir]
		c.held[dir] = nil
		for _, m := range held {
			p.fly(c, dir, m)
		}
	}
	p.watch()
	p.dial()
}

// watch gives a connection up if what ails it now lasts.
func (p *pair) watch() {
	c, turn := p.conn, p.turns
	if c == nil || p.alive() && !p.blocked[0] && !p.blocked[1] {
		return
	}
	for side := range 2 {
		p.w.after(between(p.r, p.w.sc.idle*4/5, p.w.sc.idle*6/5), func() {
			if p.turns == turn && p.conn == c {
				p.down(c, side)
			}
		})
	}
}

func (p *pair) delay(side int) time.Duration {
	a, b := p.ends[side].index, p.ends[1-side].index
	return p.w.sc.latency[a][b] + between(p.r, 0, p.w.sc.jitter)
}

// send puts a message of the live stream on its way.
func (p *pair) send(c *conn, from *node, m wire.Message, encoded []byte) {
	side := p.side(from)
	if c != p.conn || !c.up[side] {
		return
	}
	if c.under[side] >= queueMessages {
		p.w.stats.Dropped++
		return
	}
	_, hello := m.(wire.Hello)
	faulty := !p.w.calm && !hello && c.greeting[side]
	c.greeting[side] = c.greeting[side] || hello
	if faulty && chance(p.r, p.w.sc.loss) {
		p.w.stats.Dropped++
		p.w.befell(Loss)
		p.w.tracef("%s to %s lost: %s", from.name, p.ends[1-side].name, describe(m))
		return
	}
	astray := faulty && chance(p.r, p.w.sc.reorder)
	if astray {
		p.w.befell(Reorder)
	}
	p.transmit(c, side, encoded, astray)
	if faulty && chance(p.r, p.w.sc.duplicate) {
		p.w.befell(Duplicate)
		p.transmit(c, side, encoded, true)
	}
}

func (p *pair) transmit(c *conn, side int, encoded []byte, astray bool) {
	c.under[side]++
	m := &message{encoded: encoded, astray: astray}
	if !astray {
		c.ordered[side] = append(c.ordered[side], m)
	}
	if p.blocked[side] {
		c.held[side] = append(c.held[side], m)
		return
	}
	p.fly(c, side, m)
}

// fly lets a message arrive after those before it, or astray, somewhere between
// those that come later.
func (p *pair) fly(c *conn, side int, m *message) {
	at := max(p.w.now+p.delay(side), c.last[side])
	if m.astray {
		at += between(p.r, 0, 300*time.Millisecond)
	} else {
		c.last[side] = at
	}
	p.w.at(at, func() { p.arrive(c, side, m) })
}

func (p *pair) arrive(c *conn, side int, m *message) {
	if p.blocked[side] && p.conn == c {
		c.held[side] = append(c.held[side], m)
		return
	}
	m.arrived = true
	switch {
	case m.astray && c.met[side]:
		p.deliver(c, side, m)
		return
	case m.astray: // not ahead of the hello
		c.ordered[side] = append(c.ordered[side], m)
	}
	for len(c.ordered[side]) > 0 && c.ordered[side][0].arrived {
		next := c.ordered[side][0]
		c.ordered[side] = c.ordered[side][1:]
		p.deliver(c, side, next)
	}
}

func (p *pair) deliver(c *conn, side int, m *message) {
	c.under[side]--
	c.met[side] = true
	if p.conn == c && c.up[1-side] {
		p.ends[1-side].receive(c, p.ends[side], m.encoded)
	}
}

// serve streams the answer to a request.
func (p *pair) serve(c *conn, from *node, s core.Stream) {
	side := p.side(from)
	if c != p.conn || !c.up[side] {
		return
	}
	if from.streams >= maxStreams {
		p.w.tracef("%s drops a request of %s", from.name, s.Peer)
		return
	}
	snap := from.store.Snapshot()
	defer snap.Close()
	parts := p.answer(from, s, snap)
	abort := p.w.sc.abort
	if s.Snapshot != nil {
		abort *= 2 // there are few
	}
	if !p.w.calm && chance(p.r, abort) {
		p.w.befell(Abort)
		parts = parts[:p.r.IntN(len(parts))]
	}
	from.streams++
	p.stream(c, side, from.epoch, parts)
}

// answer encodes all that is to be streamed.
func (p *pair) answer(from *node, s core.Stream, snap store.Snapshot) [][]byte {
	encode := func(messages iter.Seq2[wire.Message, error]) [][]byte {
		var parts [][]byte
		for msg, err := range messages {
			if err != nil {
				p.w.tracef("%s cannot serve %s: %v", from.name, s.Peer, err)
			}
			from.checkSent(s.Peer, msg)
			parts = append(parts, wire.Append(nil, msg))
		}
		return parts
	}
	if s.Snapshot == nil {
		return encode(core.CatchUp(snap, s.Peer, s.ID, s.Spans))
	}
	if s.Snapshot.Resume {
		p.w.stats.Resumed++
	}
	limit := 100 + p.r.IntN(1000)
	parts := encode(core.Snapshot(snap, from.name, s.Peer, *s.Snapshot, 0, limit))
	for len(parts) > maxParts {
		limit *= 2
		parts = encode(core.Snapshot(snap, from.name, s.Peer, *s.Snapshot, 0, limit))
	}
	return parts
}

func (p *pair) stream(c *conn, side, epoch int, parts [][]byte) {
	from := p.ends[side]
	if len(parts) == 0 || p.conn != c || !c.up[side] || from.epoch != epoch {
		if from.epoch == epoch {
			from.streams--
		}
		return
	}
	size := time.Duration(len(parts[0])) * time.Second / bulkRate
	p.w.at(max(p.w.now+p.delay(side)+size, c.last[side]), func() {
		if p.blocked[side] && p.conn == c {
			p.w.after(50*time.Millisecond, func() { p.stream(c, side, epoch, parts) })
			return
		}
		if p.conn == c && c.up[1-side] {
			p.ends[1-side].receive(c, from, parts[0])
		}
		p.stream(c, side, epoch, parts[1:])
	})
}
