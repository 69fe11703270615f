package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// A node is the process of one region, with its disk and its clock.
type node struct {
	w     *world
	index int
	name  string
	r     *rand.Rand
	mint  *rand.Rand

	store  store.Store
	core   *core.Core
	up     bool
	epoch  int // counts the starts of the process
	minted int
	plan   topology.Plan
	// members are who it takes for such; seeds whom it was started with, if it is not one of the first.
	// Since grouped it has not changed its mind about that, nor been started.
	members, seeds []string
	grouped        time.Duration
	pending        []string // members that it does not let in yet

	inbound   []input
	links     map[string]*conn // those that the core was told of
	scheduled bool
	busy      bool // a step or its commit is under way
	streams   int
	asked     map[uint64]*request
	given     []given // answers of the application that were not written yet
	nextID    uint64

	// The wall clock is true time times rate, plus offset.
	offset time.Duration
	rate   float64
	// commits take up to this long.
	slow time.Duration
	// dies says where in the next commit the process dies.
	dies death
	full int // so many commits find no room

	durable
	stable crdt.Vector // as of the last step of this process
	cut    crdt.Vector // what its log does not have any more
	unmet  bool        // it has written before it met a peer, and not all hold that
	inbox  int         // changes that wait for others
	peers  []core.PeerStatus
	// mute says that clients keep away: the store has lost changes that others
	// hold, and cannot know.
	mute     bool
	mutedAs  crdt.ReplicaID
	mutedFor crdt.Vector // and until it has this
	archive  []*copyOfStore
	writable error
	replica  crdt.ReplicaID // of the last step that was carried out
	unheard  []string       // whom it is to dial although others should
	leaving  *departure     // nil if it was never removed
	unseen   []*change      // what it held and nobody else when it became a new replica
	aside    int            // changes that it has still to make anew
}

// An input is an event that waits for the owner, and the connection that it is about.
type input struct {
	event core.Event
	conn  *conn
}

func (i input) links() bool {
	switch i.event.(type) {
	case core.LinkUp, core.LinkDown:
		return true
	}
	return false
}

// A death is the moment in a commit at which a process dies.
type death int

const (
	notNow       death = iota
	beforeCommit       // nothing of the batch is durable
	afterCommit        // the batch is durable, no effect gets out
)

// A request is what a client waits for.
type request struct {
	ask  any
	then func(core.Reply)
	// incs are the increments of a write, by place in it.
	incs map[int]int64
}

// copyOfStore is a backup that a region can be rolled back to.
type copyOfStore struct {
	store *memstore.Store
	durable
	replica crdt.ReplicaID
	empty   bool
	unmet   bool // it was taken while the region had written alone
}

func newNode(w *world, i int, name string, st store.Store) *node {
	n := &node{
		w: w, index: i, name: name, store: st, rate: 1, offset: w.sc.skew[i],
		r:    source(w.opts.Seed, streamNodes+100*uint64(i+1)),
		mint: source(w.opts.Seed, streamReplicas+100*uint64(i+1)),
	}
	n.durable.init()
	return n
}

// wall reads the region's clock.
func (n *node) wall() time.Time {
	return epochStart.Add(time.Duration(float64(n.w.now)*n.rate) + n.offset)
}

// setRate changes how fast the clock goes, without a jump.
func (n *node) setRate(rate float64) {
	n.offset += time.Duration(float64(n.w.now) * (n.rate - rate))
	n.rate = rate
}

func (n *node) config() core.Config {
	members := n.w.sc.founders
	if n.seeds != nil {
		members = n.seeds
	}
	return core.Config{
		Region: n.name, Cluster: "sim", Members: members, Topology: n.w.sc.spec,
		Limits: n.w.sc.limits, Timing: n.w.sc.timing, MaxSkew: n.w.sc.maxSkew, Retention: n.w.sc.keep,
		NewReplica: func() crdt.ReplicaID { return n.w.mint(n) }, Discontinuous: !n.store.Continuous(),
	}
}

// boot starts the process from what is durable.
func (n *node) boot() {
	if n.up || n.leaving != nil && n.leaving.dead {
		return
	}
	n.epoch++
	n.up, n.busy, n.scheduled, n.streams = true, false, false, 0
	n.given = nil
	n.inbound, n.asked, n.links = nil, map[uint64]*request{}, map[string]*conn{}
	n.dies = notNow
	n.plan, n.unheard = topology.Plan{}, nil
	n.w.tracef("%s starts, have %v", n.name, n.have)
	if !n.reload() {
		return
	}
	n.push(core.Tick{})
	n.tick(n.epoch)
	for _, o := range n.w.nodes {
		if o != n {
			p := n.w.pair(n, o)
			p.turns++
			p.watch()
			p.dial()
		}
	}
}

// reload makes the core from what is durable.
func (n *node) reload() bool {
	c, err := core.New(n.config(), n.store)
	if err != nil {
		n.w.fail("restart", "%s: %v", n.name, err)
		return false
	}
	n.core, n.members, n.pending, n.grouped = c, c.Members(), c.Pending(), n.w.now
	n.stable, n.cut, n.inbox, n.peers = crdt.Vector{}, crdt.Vector{}, 0, nil
	n.checkI06HaveGrows(c.Have())
	return true
}

func (n *node) tick(epoch int) {
	n.w.after(core.TickEvery, func() {
		if n.epoch == epoch && n.up {
			if len(n.inbound) == 0 {
				n.push(core.Tick{})
			}
			n.tick(epoch)
		}
	})
}

// die ends the process. Peers are not told.
func (n *node) die(why string) {
	if !n.up {
		return
	}
	n.w.tracef("%s dies: %s", n.name, why)
	n.w.befell(Crash)
	n.up = false
	n.epoch++
	n.core = nil
	if m, ok := n.store.(*memstore.Store); ok {
		n.store = m.Crash()
	}
	for _, o := range n.w.nodes {
		if o == n {
			continue
		}
		p := n.w.pair(n, o)
		p.turns++
		if p.conn != nil {
			p.down(p.conn, p.side(n))
			p.watch()
		}
	}
}

func (n *node) push(e core.Event) { n.pushOf(nil, e) }

func (n *node) pushOf(c *conn, e core.Event) {
	n.inbound = append(n.inbound, input{e, c})
	n.wake()
}

// take turns inputs into events as the owner does: what stragglers of
// connections that are gone bring is passed over.
func (n *node) take(in []input) []core.Event {
	var events []core.Event
	for _, i := range in {
		switch e := i.event.(type) {
		case core.LinkUp:
			n.links[e.Peer] = i.conn
		case core.LinkDown:
			if n.links[e.Peer] != i.conn {
				continue
			}
			delete(n.links, e.Peer)
		case core.Received:
			if n.links[e.Peer] != i.conn {
				continue
			}
		}
		events = append(events, i.event)
	}
	return events
}

func (n *node) receive(c *conn, from *node, encoded []byte) {
	m, err := wire.Decode(encoded)
	if err != nil {
		n.w.fail("wire", "%s cannot read a message of %s: %v", n.name, from.name, err)
		return
	}
	n.pushOf(c, core.Received{Peer: from.name, Message: m})
}

// submit asks the region for something, as package api would.
func (n *node) submit(ask any, incs map[int]int64, then func(core.Reply)) {
	n.nextID++
	n.asked[n.nextID] = &request{ask: ask, then: then, incs: incs}
	n.push(core.Submit{ID: n.nextID, Ask: ask})
}

func (n *node) wake() {
	if n.scheduled || n.busy || !n.up || len(n.inbound) == 0 {
		return
	}
	n.scheduled = true
	epoch := n.epoch
	n.w.after(0, func() {
		if n.epoch == epoch {
			n.scheduled = false
			n.run()
		}
	})
}

// run takes some of what came in through a step.
func (n *node) run() {
	if n.busy || !n.up {
		return
	}
	k := min(len(n.inbound), 1+n.r.IntN(64))
	// As in the owner, a link that comes or goes begins a batch.
	if i := slices.IndexFunc(n.inbound[1:k], input.links); i >= 0 {
		k = 1 + i
	}
	events := n.take(n.inbound[:k])
	n.inbound = slices.Delete(n.inbound, 0, k)
	if len(events) == 0 {
		n.wake()
		return
	}
	if n.w.opts.Trace != nil {
		for _, e := range events {
			if _, tick := e.(core.Tick); !tick {
				n.w.tracef("%s < %s", n.name, describeEvent(e))
			}
		}
	}
	n.nextID++
	inspect := n.nextID
	n.asked[inspect] = &request{then: n.inspected}
	n.step(append(events, core.Submit{ID: inspect, Ask: core.Inspect{}}), submitted(events))
}

func submitted(events []core.Event) []uint64 {
	var ids []uint64
	for _, e := range events {
		if s, ok := e.(core.Submit); ok {
			if w, ok := s.Ask.(core.Write); ok && w.Shares > 0 {
				continue // it may wait for others
			}
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// step runs the core once; due are the requests that it must answer by the time
// that it has nothing more to do (I9).
func (n *node) step(events []core.Event, due []uint64) {
	n.w.stats.Steps++
	n.busy = true
	fx, err := n.core.Step(n.wall(), events)
	if err != nil {
		n.w.fail("step", "%s: %v", n.name, err)
		return
	}
	n.look(fx)
	due = n.checkI09AnswersAtOnce(due, fx)
	epoch := n.epoch
	carryOut := func() {
		if n.epoch != epoch {
			return
		}
		n.busy = false
		if !n.carryOut(fx) {
			return
		}
		if fx.More {
			n.step(nil, due)
			return
		}
		n.wake()
	}
	if fx.Batch == nil || n.slow == 0 {
		carryOut()
		return
	}
	n.w.befell(Disk)
	n.w.after(between(n.r, 0, n.slow), carryOut)
}

// carryOut commits and lets the effects out. It reports false if the process
// did not survive that, or goes on with another core.
func (n *node) carryOut(fx core.Effects) bool {
	encoded := n.w.record(n, fx)
	n.checkI08Memory(fx.Memory)
	n.replica = n.core.Replica()
	if fx.Batch != nil {
		if n.dies == beforeCommit {
			n.die("before a commit")
			n.restartSoon()
			return false
		}
		if n.full > 0 {
			n.full--
			n.diskFull()
			return false
		}
		if err := n.store.Commit(fx.Batch); err != nil {
			n.w.fail("commit", "%s: %v", n.name, err)
			return false
		}
		n.w.stats.Commits++
		if !n.committed(fx) {
			return false
		}
		if n.dies == afterCommit {
			n.die("after a commit")
			n.restartSoon()
			return false
		}
	}
	n.writable = fx.Writable
	n.unmute()
	for _, call := range fx.Calls {
		n.askApp(call)
	}
	for _, rep := range fx.Replies {
		n.checkI03Reply(rep)
		if req := n.asked[rep.ID]; req != nil {
			delete(n.asked, rep.ID)
			req.then(rep)
		}
	}
	known := n.members
	if !slices.Equal(n.members, fx.Members) || !slices.Equal(n.pending, fx.Pending) { // not before what was asked for in the step is judged
		n.members, n.pending, n.grouped = fx.Members, fx.Pending, n.w.now
	}
	for i, s := range fx.Sends {
		n.checkSent(s.Peer, s.Message)
		if c := n.links[s.Peer]; c != nil {
			c.p.send(c, n, s.Message, encoded[i])
		}
	}
	for _, s := range fx.Streams {
		if c := n.links[s.Peer]; c != nil {
			c.p.serve(c, n, s)
		}
	}
	for _, c := range fx.Closes {
		n.w.tracef("%s closes the link with %s: %v", n.name, c.Peer, c.Err)
		n.checkClose(c, known)
		if l := n.links[c.Peer]; l != nil && l == l.p.conn {
			side := l.p.side(n)
			if o := l.p.ends[1-side]; errors.Is(c.Err, core.ErrNotMember) && o.up && o.have.Len() == 0 {
				o.push(core.NotMember{Peer: n.name})
			}
			l.p.breakOff(side)
		}
	}
	if fx.Plan != nil {
		n.plan, n.unheard = *fx.Plan, fx.Unheard
		for _, o := range n.w.nodes {
			if o != n {
				n.w.pair(n, o).dial()
			}
		}
	}
	for _, note := range fx.Notes {
		n.w.tracef("%s notes: %s %v", n.name, note.Text, note.Args)
	}
	return n.w.failure == nil
}

func (n *node) restartSoon() {
	epoch := n.epoch
	n.w.after(between(n.r, 10*time.Millisecond, 4*time.Second), func() {
		if n.epoch == epoch {
			n.boot()
		}
	})
}

// diskFull does what the owner does when a commit found no room: a new core is
// made from what is durable, and told of the links that are up.
func (n *node) diskFull() {
	n.w.tracef("%s has no room for a commit", n.name)
	n.w.befell(Full)
	for _, id := range slices.Sorted(mapKeys(n.asked)) {
		req := n.asked[id]
		if n.waits(id) {
			continue
		}
		delete(n.asked, id)
		req.then(core.Reply{ID: id, Err: store.ErrFull})
	}
	if !n.reload() {
		return
	}
	// The peers' hellos went to the core that is gone.
	for _, peer := range slices.Sorted(mapKeys(n.links)) {
		if c := n.links[peer]; c == c.p.conn {
			c.p.breakOff(c.p.side(n))
		}
	}
	n.wake()
}

// waits reports whether a request has not been handed to the core yet.
func (n *node) waits(id uint64) bool {
	return slices.ContainsFunc(n.inbound, func(i input) bool {
		s, ok := i.event.(core.Submit)
		return ok && s.ID == id
	})
}

func (n *node) inspected(rep core.Reply) {
	if errors.Is(rep.Err, store.ErrFull) {
		return
	}
	s, ok := rep.Result.(core.Status)
	if !ok || rep.Err != nil {
		n.w.fail("inspect", "%s: %v", n.name, rep.Err)
		return
	}
	n.checkStatus(s) // what is held is of the step before, and so of what was known then
	n.peers = s.Peers
	n.checkI05NoAlarm()
	n.checkI08Bounds(s)
}

// archiveCopy keeps a copy of the store that a rollback may bring back.
func (n *node) archiveCopy() {
	m, ok := n.store.(*memstore.Store)
	if !ok || !n.up || n.core == nil || n.busy || len(n.broken) > 0 || n.copying || n.have.Len() == 0 {
		return
	}
	n.archive = append(n.archive, &copyOfStore{store: m.Image(), durable: n.durable.copy(), replica: n.core.Replica(), unmet: n.unmet})
}
