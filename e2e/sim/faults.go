package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
)

// perform carries out an action of the schedule.
func (w *world) perform(a action) {
	r := source(a.seed, streamActions)
	n := w.nodes[r.IntN(len(w.nodes))]
	p := w.somePair(r)
	w.tracef("action %d %s", a.index, a.fault)
	if slices.Contains([]Fault{Cut, OneWay, Partition, Flap, Clock}, a.fault) {
		w.befell(a.fault)
	}
	switch a.fault {
	case "":
		w.work(r)
	case Cut:
		w.cutFor(p, between(r, 100*time.Millisecond, 8*time.Second), 0, 1)
	case OneWay:
		w.cutFor(p, between(r, 100*time.Millisecond, 8*time.Second), r.IntN(2))
	case Partition:
		w.partition(r)
	case Flap:
		p.breakOff(r.IntN(2))
	case Crash:
		switch r.IntN(3) {
		case 0:
			n.dies = beforeCommit
		case 1:
			n.dies = afterCommit
		default:
			if n.up {
				n.die("killed")
				n.restartSoon()
			}
		}
	case Clock:
		switch r.IntN(3) {
		case 0:
			n.offset += between(r, -4*time.Hour, 4*time.Hour)
		case 1:
			n.offset += between(r, -5*time.Second, 5*time.Second)
		default:
			n.setRate(pick(r, 0.5, 0.9, 0.999, 1, 1.1, 2))
		}
	case Disk:
		n.slow = pick(r, 0, 5*time.Millisecond, 100*time.Millisecond, 2*time.Second)
	case Full:
		n.full = 1 + r.IntN(3)
	case Rollback:
		w.rollback(n, r, false)
	case Volume:
		w.rollback(n, r, true)
	case Wipe:
		w.wipe(n, r)
	case Topology:
		w.reshape(r)
	case Homes:
		n.setHomes(r)
	case Corrupt:
		w.corrupt(n, r)
	case Members:
		w.newcomer(r)
	case Removals:
		w.depart(n, r)
	case Vaults:
		w.putHoldersBack(r)
	default: // classes that befall messages and limits
	}
}

func (w *world) somePair(r *rand.Rand) *pair {
	i := r.IntN(len(w.nodes))
	j := (i + 1 + r.IntN(max(len(w.nodes)-1, 1))) % len(w.nodes)
	if i == j {
		return &pair{w: w}
	}
	return w.pair(w.nodes[i], w.nodes[j])
}

func (w *world) cutFor(p *pair, d time.Duration, dirs ...int) {
	for _, dir := range dirs {
		p.block(dir, true)
		w.after(d, func() { p.block(dir, false) })
	}
}

// partition divides the regions for a while.
func (w *world) partition(r *rand.Rand) {
	side := make([]bool, len(w.nodes))
	for i := range side {
		side[i] = chance(r, 0.5)
	}
	d := between(r, 500*time.Millisecond, 10*time.Second)
	for i := range w.nodes {
		for j := i + 1; j < len(w.nodes); j++ {
			if side[i] != side[j] {
				w.cutFor(w.pairs[i][j], d, 0, 1)
			}
		}
	}
}

// reshape has a region change the topology.
func (w *world) reshape(r *rand.Rand) {
	spec := drawSpec(r, len(w.nodes))
	if n := w.nodes[r.IntN(len(w.nodes))]; n.up && !n.mute {
		w.befell(Topology)
		n.ask(core.SetTopology{Spec: spec}, 0)
	}
}

// rollback replaces a store by an older copy of itself. What is lost of others'
// changes another one must have. Of a volume that was put back the store
// knows nothing, so all others must know better: then the first that is met tells
// (see design rule 9: it is noticed on contact).
func (w *world) rollback(n *node, r *rand.Rand, volume bool) {
	if !n.up || !w.spares(n) || w.muted() {
		return
	}
	var able []*copyOfStore
	for _, c := range n.archive {
		if w.canLose(n, c) && (!volume || w.allKnowBetter(n, c)) {
			able = append(able, c)
		}
	}
	if len(able) == 0 {
		return
	}
	w.replace(n, able[r.IntN(len(able))], volume, r)
}

// muted reports whether clients keep away from a region. Stores that cannot tell
// that they are not what they were come one at a time: two could take from
// each other what both need.
func (w *world) muted() bool {
	return slices.ContainsFunc(w.nodes, func(o *node) bool { return o.mute })
}

// wipe replaces a store by an empty one. What it held of others another one must have.
func (w *world) wipe(n *node, r *rand.Rand) {
	if _, ok := n.store.(*memstore.Store); !ok || !n.up || w.muted() {
		return
	}
	empty := &copyOfStore{store: memstore.New(), replica: n.core.Replica(), empty: true}
	empty.init()
	if n.have.Len() == 0 || !w.spares(n) || !w.canLose(n, empty) {
		return
	}
	w.replace(n, empty, false, r)
}

// stop kills a process whose store is to be replaced.
func (w *world) stop(n *node, backup *copyOfStore) {
	n.die("its store is to be replaced")
	n.mute, n.mutedAs, n.mutedFor = true, backup.replica, crdt.Vector{}
	// Nothing that it sent is still under way when it comes back.
	for _, o := range w.nodes {
		if o == n {
			continue
		}
		if p := w.pair(n, o); p.conn != nil {
			p.down(p.conn, p.side(o))
		}
	}
}

// replace kills a process and starts it with another store.
func (w *world) replace(n *node, backup *copyOfStore, volume bool, r *rand.Rand) {
	w.stop(n, backup)
	w.startAfter(between(r, 200*time.Millisecond, 3*time.Second), n, func() {
		if w.canLose(n, backup) && (!volume || w.allKnowBetter(n, backup)) {
			w.restore(n, backup, volume)
			n.mute = volume || backup.empty
			if backup.empty {
				w.restoreEmpty(n)
			}
			w.delayLinks(n, r)
		} else {
			n.mute = false
		}
	})
}

// startAfter starts a stopped process once its store is replaced.
func (w *world) startAfter(delay time.Duration, n *node, replace func()) {
	epoch := n.epoch
	w.after(delay, func() {
		if n.epoch != epoch {
			n.mute = false // it was started again with the store that it had
			return
		}
		replace()
		n.boot()
	})
}

// delayLinks lets a region meet some regions long before others.
func (w *world) delayLinks(n *node, r *rand.Rand) {
	for _, o := range w.nodes {
		if o != n && !w.calm && chance(r, 0.4) {
			w.cutFor(w.pair(n, o), between(r, time.Second, 12*time.Second), 0, 1)
		}
	}
}

// canLose reports whether others hold all of their changes that would be lost.
func (w *world) canLose(n *node, backup *copyOfStore) bool {
	for _, d := range n.applied {
		if !backup.have.Contains(d) && d.Replica != backup.replica &&
			!slices.ContainsFunc(w.nodes, func(o *node) bool {
				return o != n && o.have.Contains(d) && (w.hist.changes[d].lost || o.hasWhole(w.hist.changes[d]))
			}) {
			return false
		}
	}
	return true
}

// allKnowBetter reports whether each of the others holds changes of the replica
// that the copy lacks. Whether dots of a copy were used twice cannot be told if it was
// taken while the region had written alone, and is brought back after the logs were
// cut: it is fenced, which is as it should be.
func (w *world) allKnowBetter(n *node, backup *copyOfStore) bool {
	own := backup.have.Get(backup.replica)
	return !backup.unmet && own > 0 &&
		!slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.have.Get(backup.replica) <= own })
}

// restoreEmpty keeps clients away until the region has back what others hold: if
// it met nobody at first, it would take writes as a new cluster's would.
func (w *world) restoreEmpty(n *node) {
	n.archive = nil
	for _, o := range w.nodes {
		n.mutedFor = n.mutedFor.Join(o.have)
	}
}

func (w *world) restore(n *node, backup *copyOfStore, volume bool) {
	w.tracef("%s is rolled back from %v to %v", n.name, n.have, backup.have)
	switch {
	case volume:
		w.befell(Volume)
	case backup.empty:
		w.befell(Wipe)
	default:
		w.befell(Rollback)
	}
	for _, d := range n.applied {
		if backup.have.Contains(d) {
			continue
		}
		if !slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.have.Contains(d) }) {
			w.hist.gone[d] = true
		} else if c := w.hist.changes[d]; !c.lost && !slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.hasWhole(c) }) {
			w.stats.Lost++
			w.hist.forget(c) // the others have placeholders of it
		}
	}
	clear(w.hist.digests)
	n.store, n.replica = backup.store.Clone(), crdt.ReplicaID{}
	if volume || backup.empty {
		n.store = backup.store.Image()
	}
	n.durable = backup.durable.copy()
	if err := n.replay(&w.hist); err != nil {
		w.fail("apply", "%s: %v", n.name, err)
	}
	if i := slices.Index(n.archive, backup); i >= 0 {
		n.archive = n.archive[:i+1]
	}
	// What was only ever on this disk is gone for clients too.
	left := crdt.Vector{}
	for _, o := range w.nodes {
		left = left.Join(o.have)
	}
	for _, c := range w.clients {
		c.token = c.token.Meet(left)
	}
	for _, o := range w.nodes {
		o.mutedFor = o.mutedFor.Meet(left)
	}
}

// unmute lets clients come back to a region that has noticed its rollback.
func (n *node) unmute() {
	if n.mute && n.up && n.core != nil && n.core.Replica() != n.mutedAs && n.writable == nil && n.have.Covers(n.w.hist.without(n.mutedFor)) {
		n.mute = false
		n.w.tracef("%s goes on as %v", n.name, n.core.Replica())
	}
}

// corrupt changes a byte of a stored document, of which no other region's copy is
// damaged.
func (w *world) corrupt(n *node, r *rand.Rand) {
	if !n.up || n.busy || n.core == nil || n.mute || n.copying || w.calm || !w.linksAll() && !w.goesOn() {
		return
	}
	var able []doc
	for _, k := range n.documents() {
		if _, visible := n.digests[k]; visible && !k.Collection.IsZero() && w.held(k, n, nil) &&
			!slices.ContainsFunc(w.nodes, func(o *node) bool { return o.broken[k] }) {
			able = append(able, k)
		}
	}
	if len(able) == 0 {
		return
	}
	k := able[r.IntN(len(able))]
	record, err := n.store.Doc(k)
	if err != nil || record == nil {
		w.fail("corrupt", "%s: %v", n.name, err)
		return
	}
	record[r.IntN(len(record))] ^= 1 << r.IntN(8)
	if err := n.store.Commit(&store.Batch{Docs: []store.DocPut{{Key: k, State: record}}}); err != nil {
		w.fail("corrupt", "%s: %v", n.name, err)
		return
	}
	w.tracef("%s has a damaged copy of %s", n.name, k.ID)
	w.befell(Corrupt)
	w.tainted = true
	n.breaks(k)
}

func (n *node) breaks(k doc) {
	if n.broken == nil {
		n.broken = map[doc]bool{}
	}
	n.broken[k] = true
}

// held reports whether there is a good copy of a document, but for that of a region, that
// can be brought up to date without the log of one that is to be lost. A copy that cannot
// goes when its region takes a snapshot: nobody has what was written since.
func (w *world) held(k doc, but, lost *node) bool {
	return slices.ContainsFunc(w.nodes, func(o *node) bool {
		if o == but || o.mute || o.copying || o.broken[k] || !w.follows(o, lost) {
			return false
		}
		record, err := o.store.Doc(k)
		return err == nil && record != nil
	})
}

// follows reports whether the logs, but for that of a region, reach back to what another
// one holds, and go on to.
func (w *world) follows(n, lost *node) bool {
	for _, o := range w.nodes {
		if o != n && o.takesForFormer(n) {
			return false // it may cut its log by what that told
		}
		for r, seq := range o.have.All() {
			from := crdt.Dot{Replica: r, Seq: n.have.Get(r) + 1}
			if o != lost && from.Seq <= seq && !slices.ContainsFunc(w.nodes, func(x *node) bool {
				return x != lost && !x.copying && x.logs(from, n)
			}) {
				return false
			}
		}
	}
	return true
}

// takesForFormer reports whether a region has not heard yet of the store that another one
// has now, but of one before.
func (n *node) takesForFormer(o *node) bool {
	return slices.ContainsFunc(n.peers, func(p core.PeerStatus) bool {
		return p.Region == o.name && !p.Replica.IsZero() && p.Replica != o.replica
	})
}

// logs reports whether a region has a change in its log, as another one is to hold it.
func (n *node) logs(d crdt.Dot, to *node) bool {
	for l, err := range n.store.Log(d.Replica, d.Seq, d.Seq) {
		if err != nil {
			return false
		}
		ch, _, err := crdt.DecodeChange(l.Change)
		return err == nil && (ch.Residency == nil || !ch.Residency.Withheld || !ch.Residency.HeldBy(to.name))
	}
	return false
}

// linksAll reports whether each region is linked with all others, so that it can have
// the log of any.
func (w *world) linksAll() bool {
	return w.sc.spec.Kind == topology.Mesh && !w.sc.faults[Topology]
}

// goesOn reports whether no region has to take a snapshot. The log of one that does begins
// behind what others hold, and cuts those off who are linked with nobody else: then they
// take a snapshot, too, and copies of theirs are lost that are damaged elsewhere.
func (w *world) goesOn() bool {
	return !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.mute || n.copying || !w.follows(n, nil) })
}

// spares reports whether a region's store can be replaced without the last good
// copy of a document being lost.
func (w *world) spares(n *node) bool {
	for _, o := range w.nodes {
		for k := range o.broken {
			if !w.linksAll() || !w.held(k, n, n) {
				return false
			}
		}
	}
	return true
}
