package sim

import (
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// committedCopy judges a batch of a region that takes a snapshot. Until that is
// complete its documents are of no single moment; then they are compared with
// the reference, made anew of all changes that its Have contains.
func (n *node) committedCopy(fx core.Effects) bool {
	w := n.w
	for i := range fx.Batch.Log {
		l := &fx.Batch.Log[i]
		c := w.hist.changes[l.Dot]
		if c == nil && l.Dot.Replica == n.core.Replica() && (fx.Readable == nil || !n.copying) {
			c = n.wrote(l, fx) // it has just become ready, or was until now
			if !n.copying {
				n.have, n.applied = n.have.With(l.Dot), append(n.applied, l.Dot)
			}
		}
		switch {
		case c == nil:
			w.fail("checkI01OneBody", "%s takes %v out of a snapshot, which nobody wrote", n.name, l.Dot)
			return false
		case !c.isEncodedAs(l.Change):
			w.fail("checkI01OneBody", "%s takes another body of %v out of a snapshot", n.name, l.Dot)
			return false
		}
		n.checkLoss(c, l.Change)
	}
	if fx.Have.Len() == 0 && n.have.Len() > 0 {
		n.beginsAnew()
	} else if !fx.Have.Covers(n.have) {
		w.fail("checkI06HaveGrows", "%s has %v, and %v with a snapshot", n.name, n.have, fx.Have)
		return false
	}
	if fx.Writable == nil && fx.Readable != nil {
		w.fail("checkI12WholeSnapshot", "%s takes writes before it has a whole snapshot", n.name)
	}
	for i := range fx.Batch.Docs {
		n.installed(&fx.Batch.Docs[i])
	}
	n.have, n.catalog, n.copying = fx.Have, fx.Catalog, fx.Readable != nil
	if d, err := core.ReadDurable(n.store); err != nil {
		w.fail("checkI12WholeSnapshot", "%s: %v", n.name, err)
	} else if d.Snapshot != nil {
		n.kept, n.base = d.Snapshot.Kept, d.Snapshot.Base
	}
	if n.copying {
		return w.failure == nil
	}
	w.stats.Snapshots++
	n.copied = n.have
	n.applied = n.applied[:0:0]
	for _, c := range w.hist.order {
		if n.have.Contains(c.Dot) {
			n.applied = append(n.applied, c.Dot)
		}
	}
	w.loseWith(n)
	n.kept = nil
	if err := n.replay(&w.hist); err != nil {
		w.fail("apply", "the reference of %s: %v", n.name, err)
		return false
	}
	n.digests, n.sum = map[doc][crdt.DigestSize]byte{}, [4]uint64{}
	for _, k := range n.documents() {
		if !n.broken[k] {
			n.checkI14Document(k)
			n.checkConflictLog(k, n.shadow[k])
		}
	}
	n.checkScan()
	n.checkI05SameDigests(fx)
	return w.failure == nil
}

// installed notes whether a document of a snapshot is damaged as it is elsewhere.
func (n *node) installed(d *store.DocPut) {
	delete(n.broken, d.Key)
	if d.State == nil {
		return
	}
	if _, err := core.DecodeDocument(d.State); err != nil {
		if !n.w.tainted {
			n.w.fail("checkI12WholeSnapshot", "%s takes a damaged %s out of a snapshot: %v", n.name, d.Key.ID, err)
		}
		n.breaks(d.Key)
	}
}

// checkI12CutBelowHeld: what is cut off a log is held by all.
func (n *node) checkI12CutBelowHeld(b *store.Batch) {
	for _, s := range b.TrimLog {
		n.w.stats.Cut += int(s.To - s.From + 1)
		n.cut = n.cut.With(crdt.Dot{Replica: s.Replica, Seq: s.To})
		for _, o := range n.w.nodes {
			if n.heardOf(o) && o.have.Get(s.Replica) < s.To {
				n.w.fail("checkI12CutBelowHeld", "%s cuts %v up to %d, %s has %v", n.name, s.Replica, s.To, o.name, o.have)
			}
		}
	}
}

// checkLog: a log has all that it does not say is cut, and the last change of
// each replica.
func (n *node) checkLog() {
	const check = "checkI12DenseLog"
	for r, have := range n.have.All() {
		cut := n.cut.Get(r)
		if cut >= have {
			n.w.fail(check, "the log of %s was cut up to %d of %v, it has %d", n.name, cut, r, have)
		}
		next := cut + 1
		for l, err := range n.store.Log(r, 1, have) {
			if err != nil || l.Dot.Seq != next {
				n.w.fail(check, "the log of %s has %v, %d was to come, it was cut up to %d: %v", n.name, l.Dot, next, cut, err)
				return
			}
			next++
		}
		if next != have+1 {
			n.w.fail(check, "the log of %s ends before %d of %v, it has %d", n.name, next, r, have)
		}
	}
}
