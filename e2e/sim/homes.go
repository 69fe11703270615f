package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// setHomes has a region set, move or give up homes of a collection.
func (n *node) setHomes(r *rand.Rand) {
	// A few only, so that some become established before they move.
	spec := collections[pick(r, 0, 1, 3, 6)]
	prefix := pick(r, "", "", "d", "d1")
	region := n.w.sc.regions[r.IntN(len(n.w.sc.regions))]
	if !n.up || n.mute {
		return
	}
	n.w.befell(Homes)
	if chance(r, 0.5) {
		n.ask(core.SetHome{Collection: spec.name, Prefix: prefix, Region: region, Force: chance(r, 0.04)}, len(n.w.nodes))
		return
	}
	settings := spec.settings
	if settings == "" {
		settings = `{}`
	}
	s, err := core.ParseSettings([]byte(settings))
	if err != nil {
		n.w.fail("settings", "%v", err)
		return
	}
	if chance(r, 0.8) {
		s.Homes = append(s.Homes, core.HomeSetting{Prefix: prefix, Region: region})
		if chance(r, 0.2) {
			s.Homes[0].Mode = core.HomePrefer
		}
	}
	if chance(r, 0.2) && prefix != "d0" {
		s.Homes = append(s.Homes, core.HomeSetting{Prefix: "d0", Region: n.w.sc.regions[0]})
	}
	n.ask(core.PutCollection{Name: spec.name, Settings: s}, len(n.w.nodes))
}

// ask hands an ask about homes to the region, and on to the one that it names.
func (n *node) ask(ask any, hops int) {
	n.submit(ask, nil, func(rep core.Reply) {
		if home := n.w.homeOf(rep.Err); home != nil && hops > 0 {
			home.ask(ask, hops-1)
			return
		}
		if res, ok := rep.Result.(core.HomeReceipt); ok && rep.Err == nil && res.Home.Forced {
			n.w.tracef("%s takes a home of %s by force", n.name, res.Collection.Name)
		}
		n.w.tracef("%s answers %+v: %v", n.name, ask, rep.Err)
		if rep.Err != nil && !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(rep.Err, e) }) {
			n.w.fail("reply", "%s answers %+v: %v", n.name, ask, rep.Err)
		}
	})
}

// homeOf is the node that an error names as home, nil if it cannot be asked.
func (w *world) homeOf(err error) *node {
	other, ok := errors.AsType[*core.NotHomeError](err)
	if !ok {
		return nil
	}
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.name == other.Region })
	if i < 0 || !w.nodes[i].up || w.nodes[i].mute {
		return nil
	}
	return w.nodes[i]
}

// holds reports whether a region may write to a document of a strict home, as
// far as its disk knows. One that was rolled back and has not noticed knows nothing.
func (n *node) holds(k doc) bool {
	if n.catalog == nil || n.mute {
		return false
	}
	col, err := n.catalog.Collection(k.Collection.String())
	if err != nil {
		return false
	}
	h := col.Home(k.ID)
	return h != nil && h.Strict() && h.Granted && h.Region == n.name && h.Replica == n.replica
}

// checkOneHome: while a region has authority over a document, nobody else writes
// to it, and whoever has it has seen all that was ever written. It looks at a new
// change, before it counts, as of what was durable before its batch.
func (n *node) checkOneHome(c *change) {
	const check = "checkOneHome"
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		if k.Collection.IsZero() {
			n.noteForce(c, i)
			continue
		}
		if n.w.hist.forced[k.Collection] || n.givesShares(k) {
			continue
		}
		for _, o := range n.w.nodes {
			if o != n && o.holds(k) {
				n.w.fail(check, "%s writes %v to %s, whose home is %s", n.name, c.Dot, k.ID, o.name)
			}
		}
		if !n.holds(k) {
			continue
		}
		n.w.stats.AtHome++
		for _, o := range n.w.hist.docs[k] {
			if o != c && !c.Deps.Contains(o.Dot) && !n.w.hist.gone[o.Dot] {
				n.w.fail(check, "%s is home of %s and writes %v without having seen %v", n.name, k.ID, c.Dot, o.Dot)
			}
		}
	}
}

// givesShares reports whether regions may write to a document wherever its home
// is: they give each other shares of its counters, which changes nothing that is shown.
func (n *node) givesShares(k doc) bool {
	if n.catalog == nil {
		return false
	}
	col, err := n.catalog.Collection(k.Collection.String())
	return err == nil && len(col.Settings.Bounds) > 0
}

// noteForce remembers collections whose home was taken by force: nothing is
// promised of them any more.
func (n *node) noteForce(c *change, i int) {
	id := c.Mutations[i].ID
	if !strings.HasPrefix(id, "h:") {
		return
	}
	dot, _, _ := strings.Cut(strings.TrimPrefix(id, "h:"), ":")
	incarnation, err := crdt.ParseDot(dot)
	if err != nil {
		n.w.fail("codec", "%s writes %q: %v", n.name, id, err)
		return
	}
	if strings.Contains(string(c.encoded), `"forced":true`) || strings.Contains(string(c.encoded), `\"forced\":true`) {
		n.w.hist.forced[incarnation] = true
	}
}

// checkHomes: two regions never have authority over one document at a time.
func (n *node) checkHomes() {
	if !n.w.sc.faults[Homes] {
		return
	}
	for k := range n.w.hist.docs {
		if k.Collection.IsZero() || n.w.hist.forced[k.Collection] || !n.holds(k) {
			continue
		}
		for _, o := range n.w.nodes {
			if o != n && o.holds(k) {
				n.w.fail("checkOneHome", "%s and %s are both home of %s", n.name, o.name, k.ID)
			}
		}
	}
}
