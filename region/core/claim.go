package core

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
)

// Several stores can have the same changes that nobody else has: those of regions that were
// removed together, and copies of one. Increments and elements of lists made anew twice are there
// twice. So a store claims changes before it makes them anew, and leaves those that
// others had claimed. Two that claim the same while neither knows of the other find that out once
// their claims are stable; then the earlier one makes them anew. The store of a region that was
// removed alone does not wait for that, and says so: the others leave it to that one, whichever is earlier.
//
// What a store has beyond what it leaves to others builds on that: documents were made or
// changed there. So it waits until these say that they are done. If the one that claimed something
// is lost, another store of its region says so in its place: then nobody knows what of it was made
// anew, and who has the same sets it aside for people to look at.

// A broughtDoc is a claimed as the system collection has it.
type broughtDoc struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	At   uint64 `json:"at"`
	Sole bool   `json:"sole,omitempty"`
	Done bool   `json:"done,omitempty"`
	Lost bool   `json:"lost,omitempty"`
}

// A claimed says which changes of a replica another one makes anew: those above from, where
// other claims ended that it knew, up to and with to.
type claimed struct {
	by       crdt.ReplicaID
	from, to uint64
	at       crdt.Stamp // greater than that of all claims that were known
	sole     bool       // made without waiting for others that could have the same
	done     bool       // all is made anew, or will not be
	lost     bool       // as another store of its region says: nobody knows what of it is made anew
}

func (x claimed) system(of crdt.ReplicaID) systemDoc {
	return systemDoc{broughtPrefix + of.String() + ":" + x.by.String(), broughtDoc{x.from, x.to, uint64(x.at), x.sole, x.done, x.lost}}
}

// compare orders claims of the same changes: one that knew of another comes after it, and
// all come after one that did not wait. There are no two of those that did not know of each other.
func (x claimed) compare(y claimed) int {
	switch {
	case x.sole && !y.sole:
		return -1
	case y.sole && !x.sole:
		return 1
	}
	return cmp.Or(cmp.Compare(x.at, y.at), x.by.Compare(y.by))
}

func (c *Core) broughtChanged(id string, doc []byte) error {
	var d broughtDoc
	name, by, _ := strings.Cut(strings.TrimPrefix(id, broughtPrefix), ":")
	r, err := crdt.ParseReplicaID(name)
	x := claimed{}
	var byErr error
	x.by, byErr = crdt.ParseReplicaID(by)
	if err := cmp.Or(err, byErr, json.Unmarshal(doc, &d)); err != nil || d.To <= d.From {
		return fmt.Errorf("%w: document %q: %w", crdt.ErrCorrupt, id, err)
	}
	x.from, x.to, x.at, x.sole, x.done, x.lost = d.From, d.To, crdt.Stamp(d.At), d.Sole, d.Done, d.Lost
	out := *c.catalog
	out.brought = out.brought.Join(crdt.VectorOf(crdt.Dot{Replica: r, Seq: d.To}))
	out.claims = maps.Clone(out.claims)
	out.claims[r] = append(slices.DeleteFunc(slices.Clone(out.claims[r]), func(y claimed) bool { return y.by == x.by }), x)
	c.catalog = &out
	return nil
}

// broughtIn is up to where changes of replicas are made anew, or are going to be, as far as a region
// is to be told that: not of a replica of which a claim was lost, or is of an earlier store of its own.
func (c *Catalog) broughtIn(region string) (out crdt.Vector) {
	for r, seq := range c.brought.All() {
		if !slices.ContainsFunc(c.claims[r], func(x claimed) bool { return x.lost || !x.done && c.Region(x.by) == region }) {
			out = out.With(crdt.Dot{Replica: r, Seq: seq})
		}
	}
	return out
}

// unsure reports whether a change is one that a store had claimed that is lost.
func (c *Core) unsure(a *asideRecord, d crdt.Dot) bool {
	return slices.ContainsFunc(c.catalog.claims[d.Replica], func(x claimed) bool {
		return x.from < d.Seq && d.Seq <= x.to && (x.lost || !x.done && c.isLost(a, x))
	})
}

// isLost reports whether a claim is of another store of this region.
func (c *Core) isLost(a *asideRecord, x claimed) bool {
	return x.by != c.replica && a.made.Get(x.by) == 0 && c.catalog.Region(x.by) == c.cfg.Region
}

// claim writes down which changes this store is about to make anew, and finds out which
// of them another one has. If there are others that could have the same, it waits until its claim is
// stable: then all claims are here that were made without knowing of it.
func (c *Core) claim() (a asideRecord, err error) {
	if a, err = c.asideRecord(); err != nil {
		return a, err
	}
	if !c.rebasing.claimed {
		c.rebasing.claimed = true
		if err := c.makeClaim(&a); err != nil {
			return a, err
		}
	}
	if a.claim.Len() == 0 {
		return a, nil
	}
	if c.rivals() && !c.sync.stable.Covers(a.claim) {
		if c.rebasing.contested.Len() == 0 {
			c.note(true, "other stores could bring in the same changes: that waits until all regions know that this one does", "regions", strings.Join(c.members, ", "))
		}
		c.rebasing.contested = a.claim
		return a, nil
	}
	for by := range a.claim.All() {
		for r := range a.to.All() {
			a.skip = a.skip.Join(c.yield(r, by))
		}
	}
	c.rebasing.contested, a.claim = crdt.Vector{}, crdt.Vector{}
	c.putMeta(metaAside, a.encode())
	return a, nil
}

func (c *Core) makeClaim(a *asideRecord) error {
	for r := range a.pending.All() {
		if seq := c.catalog.brought.Get(r); seq > 0 {
			a.skip = a.skip.With(crdt.Dot{Replica: r, Seq: seq})
		}
	}
	a.pending = crdt.Vector{}
	var docs []systemDoc
	for r, seq := range a.to.All() {
		if from := c.catalog.brought.Get(r); seq > from {
			docs = append(docs, claimed{by: c.replica, from: from, to: seq, at: c.clock.Last(), sole: !c.rivals()}.system(r))
		}
	}
	if len(docs) > 0 {
		if err := c.updateSystem(docs...); err != nil {
			return err
		}
		d := crdt.Dot{Replica: c.replica, Seq: c.have.Get(c.replica)}
		a.claim, a.made = a.claim.With(d), a.made.With(d)
	}
	c.putMeta(metaAside, a.encode())
	return nil
}

// unclaim takes claims back that nobody will hear of, since they are not in what is kept of
// this store's changes: its next replica is to claim the same. It reports whether there are such.
func (c *Core) unclaim(a *asideRecord, kept crdt.Vector) bool {
	var heard crdt.Vector
	for by, seq := range a.claim.All() {
		if d := (crdt.Dot{Replica: by, Seq: seq}); kept.Contains(d) {
			heard = heard.With(d)
			continue
		}
		for r, to := range a.to.All() {
			if slices.ContainsFunc(c.catalog.claims[r], func(x claimed) bool { return x.by == by }) {
				a.pending = a.pending.With(crdt.Dot{Replica: r, Seq: to})
			}
		}
	}
	taken := !heard.Equal(a.claim)
	a.claim = heard
	return taken
}

// rivals reports whether stores could come back that have what this one had set aside: those
// of other regions that were removed.
func (c *Core) rivals() bool {
	for i, r := range c.catalog.removals {
		if r.Done && i.region != c.cfg.Region {
			return true
		}
	}
	return false
}

// yield is what of a replica others make anew that claimed it while neither knew of the other:
// the earlier one does.
func (c *Core) yield(r, by crdt.ReplicaID) (out crdt.Vector) {
	claims := c.catalog.claims[r]
	i := slices.IndexFunc(claims, func(x claimed) bool { return x.by == by })
	if i < 0 {
		return out
	}
	for _, x := range claims {
		if x.compare(claims[i]) < 0 && x.from < claims[i].to && claims[i].from < x.to {
			out = out.Join(crdt.VectorOf(crdt.Dot{Replica: r, Seq: x.to}))
		}
	}
	return out
}

// awaits reports whether what this store leaves to others is still to be made anew by one of
// them; not by those that were removed again.
func (c *Core) awaits(a *asideRecord) bool {
	for r, left := range a.skip.All() {
		for _, x := range c.catalog.claims[r] {
			if region := c.catalog.Region(x.by); !x.done && x.to <= left && region != c.cfg.Region && c.catalog.ended.Get(x.by) == 0 {
				c.noteOnce(region, "what this region has set aside waits until another one has made anew what that builds on", "region", region)
				return true
			}
		}
	}
	return false
}

// endClaims says that what was claimed for this region is made anew, by whichever of its replicas,
// once nothing of it is left, or that the store is lost that had it.
func (c *Core) endClaims() error {
	if left := c.rebasing.left > 0 && !c.rebasing.stalled; left || c.rebasing.noClaims == c.catalog || c.waitsForShares() {
		return nil
	}
	if ready := c.writable() == nil; c.boot.phase != bootNone || !c.synced || !c.announced || !ready {
		return nil
	}
	a, err := c.asideRecord()
	if err != nil {
		return err
	}
	c.rebasing.noClaims = c.catalog
	var docs []systemDoc
	for r, claims := range c.catalog.claims {
		for _, x := range claims {
			if !x.done && c.catalog.Region(x.by) == c.cfg.Region {
				x.done, x.lost = true, c.isLost(&a, x)
				docs = append(docs, x.system(r))
			}
		}
	}
	if len(docs) > 0 {
		slices.SortFunc(docs, func(a, b systemDoc) int { return strings.Compare(a.id, b.id) })
		if err := c.updateSystem(docs...); err != nil {
			return err
		}
	}
	if c.rebasing.left == 0 && a.made.Len() > 0 {
		c.putMeta(metaAside, nil)
	}
	return nil
}
