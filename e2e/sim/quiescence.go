package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// heal ends all faults.
func (w *world) heal() {
	w.tracef("all is healed")
	w.calm, w.healed = true, w.now
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
	// Whose donor was removed, or put back, while it took a snapshot starts over after a minute.
	removedConvergeWithin = 3 * time.Minute
	stabiliseWithin       = 60 * time.Second
	lookEvery             = 100 * time.Millisecond
	// Reports travel from region to region, one link every half a second.
	certifyWithin = 5 * time.Second
)

// converge waits until all regions have the same and take writes, and says how
// long that took.
func (w *world) converge() time.Duration {
	from, within := w.now, convergeWithin
	if w.sc.faults[Removals] || w.sc.faults[Vaults] {
		within = removedConvergeWithin
	}
	if w.sc.limits.InboxBytes > 0 {
		within = tinyConvergeWithin
	}
	ok := w.waitFor(within, w.converged)
	if !ok && slices.ContainsFunc(w.nodes, func(n *node) bool { return n.copying || errors.Is(n.writable, core.ErrCatchingUp) }) {
		// If a donor was put back, its successor has not what was begun: then the
		// copy starts over, but only after a while.
		ok = w.waitFor(core.MaxBaseLost, w.converged)
	}
	// One after the other may turn out to have an only copy.
	for range w.nodes {
		if ok || !w.operate() {
			break
		}
		ok = w.waitFor(within, w.converged)
	}
	took := w.now - from
	if !ok {
		w.failApart("checkConvergence", "after %v the regions do not have the same", took)
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
		if n.away() || n.aside > 0 || !n.up || n.busy || len(n.inbound) > 0 || n.core == nil || n.writable != nil || n.mute || len(n.broken) > 0 || n.copying || !n.have.Equal(w.nodes[0].have) {
			return false
		}
	}
	return true
}

func (w *world) failApart(check, format string, args ...any) {
	text := ""
	for _, n := range w.nodes {
		text += "\n  " + n.name + " has " + n.have.String() + ", stable " + n.stable.String()
		if n.inbox > 0 {
			text += fmt.Sprintf(", %d changes in its inbox", n.inbox)
		}
		if n.writable != nil {
			text += ", takes no writes: " + n.writable.Error()
		}
		if n.mute {
			text += ", is to have " + w.hist.without(n.mutedFor).String() + " before clients come back"
		}
		if n.aside > 0 {
			text += fmt.Sprintf(", %d changes of documents are set aside", n.aside)
		}
		if len(n.broken) > 0 {
			text += fmt.Sprintf(", %d documents are damaged", len(n.broken))
		}
	}
	w.fail(check, format+"%s", append(args, text)...)
}

// finish checks what must hold when nothing has happened for a while.
func (w *world) finish() {
	if w.failure != nil {
		return
	}
	if w.tainted {
		w.runUntil(w.now + certifyWithin) // until the digests are corrected
	}
	w.checkI07AllIsDecided()
	w.checkMadeAnew()
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
	w.checkI07AllIsDecided()
	if w.failure == nil && !w.waitFor(stabiliseWithin, w.settled) {
		w.failApart("checkI12StableGrows", "after %v not all is stable", stabiliseWithin)
	}
	if w.failure == nil {
		w.runUntil(w.now + certifyWithin)
		if len(w.vaults) > 0 {
			w.runUntil(w.now + certifyVaultsWithin)
		}
		w.checkAll()
		for _, n := range w.nodes {
			n.checkCertified()
		}
	}
}

func (w *world) settled() bool {
	return w.converged() && !slices.ContainsFunc(w.nodes, func(n *node) bool {
		return !n.stable.Equal(n.have) || n.inbox > 0
	})
}

// checkAll compares all regions with each other and with what was acknowledged.
func (w *world) checkAll() {
	w.checkNothingLost()
	first := w.nodes[0]
	shown := first.shown()
	for _, n := range w.nodes {
		for _, k := range n.documents() {
			n.checkRead(k)
		}
		n.checkScan()
		n.checkDigestsAreOfDocuments()
		n.checkStoreHasNoSecrets()
		n.checkLog()
		if n == first || w.failure != nil {
			continue
		}
		w.checkI05SameEverywhere(first, n, shown)
	}
}

// shown is all that can be read in a region.
func (n *node) shown() map[doc]string {
	out := map[doc]string{}
	for _, k := range n.documents() {
		out[k] = "nothing"
		if s := n.stored(k); s != nil {
			out[k] = n.render(k, s)
		}
	}
	return out
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
// shown is what can be read in the first region.
func (w *world) checkI05SameEverywhere(a, b *node, shown map[doc]string) {
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
		if !b.keeps(k.Collection) {
			continue
		}
		ra, rb := shown[k], "nothing"
		if s := b.stored(k); s != nil {
			rb = b.render(k, s)
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
			_, ok, err := n.store.LogChain(c.Dot)
			if cut := n.cut.Contains(c.Dot); !n.have.Contains(c.Dot) || ok == cut || err != nil {
				w.fail("checkNothingLost", "%s lacks %v, which %s has acknowledged: %v", n.name, c.Dot, w.sc.regions[c.region], err)
				return
			}
		}
	}
}
