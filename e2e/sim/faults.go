package sim

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// perform carries out an action of the schedule.
func (w *world) perform(a action) {
	r := source(a.seed, streamActions)
	n := w.nodes[r.IntN(len(w.nodes))]
	p := w.somePair(r)
	w.tracef("action %d %s", a.index, a.fault)
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
		w.rollback(n, r)
	case Topology:
		w.reshape(r)
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

// reshape changes the topology, which the regions learn one after the other.
func (w *world) reshape(r *rand.Rand) {
	spec := drawSpec(r, len(w.nodes))
	for _, n := range w.nodes {
		w.after(between(r, 0, 2*time.Second), func() {
			n.spec = spec
			if n.up {
				n.push(core.SetTopology{Spec: spec})
			}
		})
	}
}

// downBeforeRollback is longer than anything that the region sent is under way.
const downBeforeRollback = 8 * time.Second

// rollback replaces a store by an older copy of itself. Another one must have
// what is lost of others' changes, and of the region's own at least one: else
// nobody could notice (see design rule 9: it is noticed on contact).
func (w *world) rollback(n *node, r *rand.Rand) {
	n.archiveCopy()
	if len(n.archive) < 2 || !n.up {
		return
	}
	backup := n.archive[r.IntN(len(n.archive)-1)]
	for _, o := range w.nodes {
		if o.mute || o.up && o.writable != nil || !o.up {
			return
		}
	}
	n.die("to be rolled back")
	n.mute, n.mutedAs = true, backup.replica
	epoch := n.epoch
	w.after(downBeforeRollback, func() {
		if n.epoch != epoch {
			return
		}
		if w.canLose(n, backup) {
			w.restore(n, backup)
		} else {
			n.mute = false
		}
		n.boot()
	})
}

func (w *world) canLose(n *node, backup *copyOfStore) bool {
	noticed := false
	for _, d := range n.applied {
		if backup.have.Contains(d) {
			continue
		}
		holders := 0
		for _, o := range w.nodes {
			if o != n && o.have.Contains(d) {
				holders++
			}
		}
		own := d.Replica == backup.replica
		noticed = noticed || own && holders > 0
		if holders == 0 && !own {
			return false
		}
	}
	return noticed
}

func (w *world) restore(n *node, backup *copyOfStore) {
	w.tracef("%s is rolled back from %v to %v", n.name, n.have, backup.have)
	w.stats.Rollbacks++
	for _, d := range n.applied {
		if d.Replica == backup.replica && !backup.have.Contains(d) &&
			!slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.have.Contains(d) }) {
			w.hist.gone[d] = true
		}
	}
	clear(w.hist.digests)
	n.store = backup.store.Clone()
	n.durable = backup.durable.copy()
	if err := n.replay(&w.hist); err != nil {
		w.fail("apply", "%s: %v", n.name, err)
	}
	i := slices.Index(n.archive, backup)
	n.archive = n.archive[:i+1]
	// What was only ever on this disk is gone for clients too.
	left := crdt.Vector{}
	for _, o := range w.nodes {
		left = left.Join(o.have)
	}
	for _, c := range w.clients {
		c.token = c.token.Meet(left)
	}
}

// unmute lets clients come back to a region that has noticed its rollback.
func (n *node) unmute() {
	if n.mute && n.up && n.core != nil && n.core.Replica() != n.mutedAs && n.writable == nil {
		n.mute = false
		n.w.tracef("%s goes on as %v", n.name, n.core.Replica())
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.tracef("all is healed")
	w.calm = true
	for _, n := range w.nodes {
		n.slow, n.full, n.dies = 0, 0, notNow
	}
	for i := range w.nodes {
		for j := i + 1; j < len(w.nodes); j++ {
			w.pairs[i][j].block(0, false)
			w.pairs[i][j].block(1, false)
		}
	}
}

// Bounds of virtual time for what must happen once all is healed.
const (
	convergeWithin = 60 * time.Second
	// An inbox that holds next to nothing takes a round trip per change.
	tinyConvergeWithin = 20 * time.Minute
	stabiliseWithin    = 60 * time.Second
	lookEvery          = 100 * time.Millisecond
)

// converge waits until all regions have the same and take writes, and says how
// long that took.
func (w *world) converge() time.Duration {
	from, within := w.now, convergeWithin
	if w.sc.limits.InboxBytes > 0 {
		within = tinyConvergeWithin
	}
	ok := w.waitFor(within, w.converged)
	took := w.now - from
	if !ok {
		w.failApart("checkConvergence", "after %v the regions do not have the same", within)
	}
	return took
}

// waitFor lets time go on until something holds. It is true if the run has
// failed already.
func (w *world) waitFor(within time.Duration, holds func() bool) bool {
	for limit := w.now + within; w.failure == nil && !holds(); {
		if w.now >= limit {
			return false
		}
		w.runUntil(w.now + lookEvery)
	}
	return true
}

func (w *world) converged() bool {
	for _, n := range w.nodes {
		if !n.up || n.busy || len(n.inbound) > 0 || n.core == nil || n.writable != nil || n.mute || !n.have.Equal(w.nodes[0].have) {
			return false
		}
	}
	return true
}

func (w *world) failApart(check, format string, args ...any) {
	text := ""
	for _, n := range w.nodes {
		text += "\n  " + n.name + " has " + n.have.String() + ", stable " + n.stable.String()
		if n.writable != nil {
			text += ", takes no writes: " + n.writable.Error()
		}
	}
	w.fail(check, format+"%s", append(args, text)...)
}

// finish checks what must hold when nothing has happened for a while.
func (w *world) finish() {
	if w.failure != nil {
		return
	}
	w.checkAll()
	// A last write in each region, to all documents that there are few of.
	r := source(w.opts.Seed, streamActions+1)
	for _, n := range w.nodes {
		c := &client{index: n.index, token: n.have, tags: map[doc][]string{}}
		for range 3 {
			n.write(c, r)
		}
	}
	w.runUntil(w.now + lookEvery)
	w.converge()
	if w.failure == nil && !w.waitFor(stabiliseWithin, w.settled) {
		w.failApart("checkI12StableGrows", "after %v not all is stable", stabiliseWithin)
	}
	if w.failure == nil {
		w.runUntil(w.now + time.Second)
		w.checkAll()
	}
}

func (w *world) settled() bool {
	return w.converged() && !slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.stable.Equal(n.have) })
}

// checkAll compares all regions with each other and with what was acknowledged.
func (w *world) checkAll() {
	w.checkNothingLost()
	first := w.nodes[0]
	for _, n := range w.nodes {
		for _, k := range n.documents() {
			n.checkRead(k)
		}
		n.checkScan()
		if n == first || w.failure != nil {
			continue
		}
		w.checkI05SameEverywhere(first, n)
	}
}

// documents lists all that was ever written, in order.
func (n *node) documents() []doc {
	return slices.SortedFunc(maps.Keys(n.shadow), func(a, b doc) int {
		return cmp.Or(a.Collection.Compare(b.Collection), strings.Compare(a.ID, b.ID))
	})
}

// checkScan: the store holds no documents but those that were written.
func (n *node) checkScan() {
	seen := map[crdt.Dot]bool{}
	for _, k := range n.documents() {
		if seen[k.Collection] {
			continue
		}
		seen[k.Collection] = true
		for e, err := range n.store.Docs(k.Collection, "", "") {
			if err != nil || n.shadow[doc{Collection: k.Collection, ID: e.ID}] == nil {
				n.w.fail("checkScan", "%s lists %s, which no change wrote: %v", n.name, e.ID, err)
			}
		}
	}
}

// checkI05SameEverywhere: equal Have, equal collections, documents and versions.
func (w *world) checkI05SameEverywhere(a, b *node) {
	const check = "checkI05EqualHaveEqualDocuments"
	ca, cb := a.catalog.Collections(), b.catalog.Collections()
	if len(ca) != len(cb) {
		w.fail(check, "%s has %d collections, %s %d", a.name, len(ca), b.name, len(cb))
		return
	}
	for i, x := range ca {
		y := cb[i]
		sx, _ := x.Settings.MarshalJSON()
		sy, _ := y.Settings.MarshalJSON()
		if x.Incarnation != y.Incarnation || x.Name != y.Name || x.Shadowed != y.Shadowed || x.Deleted != y.Deleted ||
			x.Explicit != y.Explicit || x.Revision != y.Revision || string(sx) != string(sy) {
			w.fail(check, "%s has the collection %+v, %s %+v", a.name, x, b.name, y)
		}
	}
	for _, k := range a.documents() {
		sa, sb := a.stored(k), b.stored(k)
		ra, rb := "nothing", "nothing"
		if sa != nil {
			ra = a.render(k, sa)
		}
		if sb != nil {
			rb = b.render(k, sb)
		}
		if ra != rb {
			w.fail(check, "%s of %v:\n  %s has %s\n  %s has %s", k.ID, k.Collection, a.name, ra, b.name, rb)
		}
	}
}

// checkNothingLost: what was acknowledged is in every region's log. That it is
// visible, covered, or among the versions is what the model says.
func (w *world) checkNothingLost() {
	for _, c := range w.hist.order {
		if !c.acked || w.hist.gone[c.Dot] {
			continue
		}
		for _, n := range w.nodes {
			if _, ok, err := n.store.LogChain(c.Dot); !n.have.Contains(c.Dot) || !ok || err != nil {
				w.fail("checkNothingLost", "%s lacks %v, which %s has acknowledged: %v", n.name, c.Dot, w.sc.regions[c.region], err)
				return
			}
		}
	}
}
