package core

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A kept is a collection whose documents stay through a snapshot of a region that does
// not hold it: of those that do, this region has the most of it. Whatever the snapshot
// contains beyond that was written in stores that are no more, and is lost: its body is
// nowhere. What comes later is applied to the documents as ever.
//
// That nobody has more is known if all other holders are linked, none takes writes, or a
// snapshot that may have brought it some, and each tells that it holds no more than this
// region: bodies come from holders only. By the time that the copy reaches the collection, more may be known, such
// as who else holds it, and others may have gone on: then it is looked at again. If another
// holder has all by then, its copy is taken instead, from the beginning.
type kept struct {
	collection crdt.Dot
	have       crdt.Vector      // at which its documents are
	stores     []crdt.ReplicaID // of the other holders, when that was decided
}

// maxKept bounds the collections that are kept.
const maxKept = 1 << 20

func appendKept(b []byte, all []kept) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		k := &all[i]
		b = appendDot(b, k.collection)
		b, _ = k.have.AppendBinary(b)
		b = binary.AppendUvarint(b, uint64(len(k.stores)))
		for _, r := range k.stores {
			b = append(b, r[:]...)
		}
	}
	return b
}

func readKept(r *crdt.Reader) []kept {
	out := make([]kept, r.Count(maxKept, 19))
	for i := range out {
		out[i] = kept{collection: crdt.Dot{Replica: r.Replica(), Seq: r.Uvarint()}, have: r.Vector()}
		out[i].stores = make([]crdt.ReplicaID, r.Count(crdt.MaxReplicas, len(crdt.ReplicaID{})))
		for j := range out[i].stores {
			out[i].stores[j] = r.Replica()
		}
	}
	return out
}

// keptAs finds what is kept of a collection, nil if nothing is.
func (b *bootstrap) keptAs(collection crdt.Dot) *kept {
	i := slices.IndexFunc(b.stay, func(k kept) bool { return k.collection == collection })
	if i < 0 {
		return nil
	}
	return &b.stay[i]
}

func (b *bootstrap) keeps(collection crdt.Dot) bool { return b.keptAs(collection) != nil }

// keptHas reports whether what is kept may have what another region wants. Until the
// snapshot has brought it, it is not known who holds that.
func (c *Core) keptHas(w wire.Want) bool {
	return slices.ContainsFunc(c.boot.stay, func(k kept) bool {
		col := c.catalog.byDot[k.collection]
		return k.have.Contains(w.Dot) && (col == nil || crdt.HashRegions(col.Settings.Regions) == w.Regions)
	})
}

func (b *bootstrap) keptDots() []crdt.Dot {
	out := make([]crdt.Dot, len(b.stay))
	for i := range b.stay {
		out[i] = b.stay[i].collection
	}
	return out
}

// nextKept is the first kept collection that the copy has not passed, nil if there is none.
func (b *bootstrap) nextKept() *kept {
	for i := range b.stay {
		if b.last.Collection.Compare(b.stay[i].collection) <= 0 {
			return &b.stay[i]
		}
	}
	return nil
}

// pause stops the copy at a kept collection, if one comes before what the donor has
// sent of another one, or is that. It reports whether there is one.
func (b *bootstrap) pause(at crdt.Dot) bool {
	k := b.nextKept()
	if k == nil || k.collection.Compare(at) > 0 {
		return false
	}
	b.last, b.peer, b.dirty, b.nowhere = store.DocKey{Collection: k.collection}, "", true, 0
	return true
}

// pausedAt is the kept collection that the copy has stopped at, nil if it has not.
func (b *bootstrap) pausedAt() *kept {
	if k := b.nextKept(); k != nil && b.last == (store.DocKey{Collection: k.collection}) {
		return k
	}
	return nil
}

// onlyCopies lists the collections that are to be kept through a snapshot: those that not
// all regions hold, and of which no other holder that can be asked has all that is
// here. A donor that does not hold one has placeholders, and a holder that is as far
// behind could not give its copy, to which what is missing belongs, and may be about
// to clear it for ours. It reports false if one can neither be kept nor be had again.
func (c *Core) onlyCopies(missing []crdt.Dot) (keep []kept, ok bool) {
	ok = true
	for _, dot := range c.catalog.resident {
		col := c.catalog.byDot[dot]
		if !col.Settings.HeldBy(c.cfg.Region) {
			continue
		}
		holders := c.otherHolders(col.Settings.Regions)
		if slices.ContainsFunc(holders, func(name string) bool {
			p := c.peers[name]
			return c.hears(p) && p.told.Covers(c.have) &&
				(c.mixed(dot) && !p.report.Digest.IsZero() || !slices.ContainsFunc(missing, func(d crdt.Dot) bool { return !p.told.Contains(d) }))
		}) {
			continue
		}
		if why := c.whyNotKeep(dot, holders); why != "" {
			if !ok || c.digests.Of(dot).IsZero() {
				continue // there is nothing to lose
			}
			ok = false
			if c.uptime >= c.boot.tell {
				c.boot.tell = c.uptime + onlyCopyEvery
				c.note(true, "a snapshot is needed, and would delete the only copy of a collection: it waits",
					"collection", col.Name, "regions", col.Settings.Regions, "why", why)
			}
			c.boot.only, c.boot.why = col.Name, why
			continue
		}
		k := kept{collection: dot, have: c.have}
		for _, name := range holders {
			k.stores = append(k.stores, c.peers[name].linked)
		}
		keep = append(keep, k)
	}
	if !ok {
		return nil, false
	}
	slices.SortFunc(keep, func(a, b kept) int { return a.collection.Compare(b.collection) })
	c.boot.only = ""
	return keep, true
}

// mixed reports whether the documents of a collection are of different moments, from a snapshot
// that cannot be completed if another is needed. A holder that takes none and has as much
// keeps its copy while this region gives up its own.
func (c *Core) mixed(dot crdt.Dot) bool { return c.boot.phase == bootReplaying && !c.boot.keeps(dot) }

// onlyCopyEvery is how often it is said that the only copy of something is here.
const onlyCopyEvery = time.Minute

// whyNotKeep says why a collection cannot be kept, "" if it can.
func (c *Core) whyNotKeep(dot crdt.Dot, holders []string) string {
	if c.mixed(dot) {
		return "what the last snapshot brought of it is not of one moment"
	}
	if c.boot.alone == nil {
		c.boot.alone = map[crdt.Dot]time.Duration{}
	}
	since := c.boot.alone[dot]
	more := func(p *peer) string { return c.hasMore(p, dot, c.have, holders) }
	most := c.hasMost(holders, &since, more)
	c.boot.alone[dot] = since
	if most {
		return ""
	}
	return c.whyNotMost(holders, more)
}

// hasMost reports whether no other holder has more of a collection, and that was so for long
// enough. It is known at once if there is no other. more says why one may have.
func (c *Core) hasMost(holders []string, since *time.Duration, more func(*peer) string) bool {
	return len(holders) == 0 || c.allSay(holders, since, func(p *peer) bool { return more(p) == "" })
}

// hasMore says why a holder may have more of a collection than was here at v, or could
// write more, "" if it does not. All that it got from other holders has come, or never
// will, if it is linked with them.
func (c *Core) hasMore(p *peer, dot crdt.Dot, v crdt.Vector, holders []string) string {
	unlinked := func(name string) bool { return name != p.name && !slices.Contains(p.report.Links, name) }
	switch {
	case p.wants(dot): // it has nothing, and waits for it in a snapshot
		return ""
	case p.report.Settled:
		return "takes writes, and does not have all that is here, or what is missing"
	case p.report.Digest.IsZero(): // its documents may be of a later moment than what it says it holds
		return "takes a snapshot itself"
	case !v.Covers(p.told) || !v.Covers(p.report.Have):
		return "has something that is not here, and lacks what is missing"
	case slices.ContainsFunc(holders, unlinked):
		return "is not linked with all of " + strings.Join(holders, ", ")
	}
	return ""
}

// whyNotMost says what it takes to know that nobody has more.
func (c *Core) whyNotMost(holders []string, more func(*peer) string) string {
	for _, name := range holders {
		if !c.linkedWith([]string{name}) {
			return fmt.Sprintf("%s, which holds it, too, is not linked with this region", name)
		} else if why := more(c.peers[name]); why != "" {
			return fmt.Sprintf("%s, which holds it, too, %s", name, why)
		}
	}
	return fmt.Sprintf("it takes %v to know that %s, which hold it, too, have no more of it", lossAfter, strings.Join(holders, ", "))
}

// passKept goes on behind a kept collection that the copy has reached, or starts over
// without it if another holder has all of it by now. It reports false if neither is
// known yet, or it starts over.
func (c *Core) passKept(k *kept) bool {
	b, name, holders := &c.boot, "", []string(nil)
	b.lost = c.uptime
	if col := c.catalog.byDot[k.collection]; col != nil {
		name, holders = col.Name, c.otherHolders(col.Settings.Regions)
	}
	more := func(p *peer) string {
		if c.isAsItWas(k, p) && p.report.Copying {
			return "" // it keeps the same, or less, and waits as this region does
		}
		return c.hasMore(p, k.collection, k.have, holders)
	}
	switch {
	case c.areAsTheyWere(k, holders) || c.hasMost(holders, &b.nowhere, more):
		c.note(true, "no other region has as much of a collection, so it is kept: what was written to it since, elsewhere or here before this store was put back, is lost",
			"collection", name, "has", k.have, "snapshot", b.base)
		b.last = store.DocKey{Collection: crdt.Dot{Replica: k.collection.Replica, Seq: k.collection.Seq + 1}}
		b.dirty, b.nowhere = true, 0
		return true
	case c.donor(b.base, anyPeer) != "":
		c.note(true, "another region has all of a collection that was to be kept: the snapshot starts over", "collection", name)
		c.startOver(slices.DeleteFunc(b.stay, func(o kept) bool { return o.collection == k.collection }))
	case c.uptime >= b.tell:
		b.tell = c.uptime + onlyCopyEvery
		c.note(true, "a snapshot waits at a collection that is kept", "collection", name, "why", c.whyNotMost(holders, more))
	}
	return false
}

// areAsTheyWere reports whether all other holders are, and linked.
func (c *Core) areAsTheyWere(k *kept, holders []string) bool {
	return c.linkedWith(holders) && !slices.ContainsFunc(holders, func(name string) bool { return !c.isAsItWas(k, c.peers[name]) })
}

// isAsItWas reports whether another holder has the store that it had when it was decided to
// keep a collection, and the snapshot has nothing of that but an announcement beyond what it had then.
func (c *Core) isAsItWas(k *kept, p *peer) bool {
	return slices.Contains(k.stores, p.linked) && c.boot.base.Get(p.linked) <= max(1, k.have.Get(p.linked))
}
