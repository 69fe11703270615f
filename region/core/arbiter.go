package core

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// arbiter names the region that asks the callback about documents that have this
// home, or none: the home, unless it is a preferred one out of reach; else the
// first region by name that holds the collection and can be reached from here, over any path. Regions that
// cannot reach each other may name several; what these write is settled like any
// other concurrent writes.
func (c *Core) arbiter(col *Collection, h *Home) string {
	if h != nil && h.Region != "" && (h.Strict() || slices.Contains(c.sync.reachable, h.Region)) {
		return h.Region
	}
	if i := slices.IndexFunc(c.sync.reachable, col.Settings.HeldBy); i >= 0 {
		return c.sync.reachable[i]
	}
	return ""
}

// decides reports whether this region asks about a document, and may write the answer.
func (c *Core) decides(col *Collection, id string) bool {
	h := col.Home(id)
	return c.arbiter(col, h) == c.cfg.Region && (h == nil || !h.Strict() || CheckHome(c.cfg.Region, c.replica, col, h) == nil)
}

// arbiters are those of a collection: of its documents without a home, and of
// those of each home, with what its authority rests on.
func (c *Core) arbiters(col *Collection) []roleOf {
	out := []roleOf{{region: c.arbiter(col, nil)}}
	for i := range col.Homes {
		h := &col.Homes[i]
		out = append(out, roleOf{c.arbiter(col, h), *h})
	}
	return out
}

type roleOf struct {
	region string
	home   Home
}

// assign gives this region the desks of the collections whose arbiter it is, and
// takes away the others. What was asked at those is forgotten: their new
// arbiter asks for itself.
func (c *Core) assign() {
	k := &c.callbacks
	if k.catalog == c.catalog && !k.stale {
		return
	}
	k.catalog, k.stale = c.catalog, false
	var desks []*desk
	for _, dot := range c.catalog.callbacks {
		col := c.catalog.byDot[dot]
		roles := c.arbiters(col)
		if !slices.ContainsFunc(roles, func(r roleOf) bool { return r.region == c.cfg.Region }) {
			continue
		}
		i := slices.IndexFunc(k.desks, func(d *desk) bool { return d.col.Incarnation == dot })
		if i >= 0 && *k.desks[i].callback == *callbackOf(col) {
			d := k.desks[i]
			if d.col = col; !slices.Equal(d.roles, roles) {
				d.roles, d.again, d.next = roles, true, 0
			}
			desks = append(desks, d)
			continue
		}
		// Whatever stands in the collection may be for us to have decided.
		d := &desk{col: col, callback: callbackOf(col), roles: roles, queued: map[string]bool{}, scanning: true}
		for _, e := range c.dirty { // is not in the store yet
			if e.key.Collection == dot {
				d.enqueue(e.key.ID)
			}
		}
		desks = append(desks, d)
	}
	k.desks, k.calls = desks, 0
	for _, d := range desks {
		k.calls += d.calls
	}
}

func (k *callbacks) desk(collection crdt.Dot) *desk {
	for _, d := range k.desks {
		if d.col.Incarnation == collection {
			return d
		}
	}
	return nil
}
