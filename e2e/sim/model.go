package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// This is the reference model: what a read must return, said plainly in terms
// of the set of changes that a region has.

// modelVersions returns the versions of a document that are alive, in dot order.
// A write is alive unless a change took it for its base, or a deletion that
// wins had not been seen by it.
func (h *history) modelVersions(k doc, have crdt.Vector) []*change {
	var present, alive []*change
	for _, c := range h.docs[k] {
		if have.Contains(c.Dot) {
			present = append(present, c)
		}
	}
	for _, c := range present {
		if m := c.mutation(k); m.Delete == crdt.NotDelete && m.Decision != crdt.DecisionKeep && !slices.ContainsFunc(present, func(o *change) bool {
			m := o.mutation(k)
			return m.Decision != crdt.DecisionKeep && slices.Contains(m.Context, c.Dot) || m.Delete == crdt.DeleteWins && !c.Deps.Contains(o.Dot)
		}) {
			alive = append(alive, c)
		}
	}
	slices.SortFunc(alive, func(a, b *change) int { return a.Dot.Compare(b.Dot) })
	return alive
}

// modelShown picks what a policy shows of a register.
func (n *node) modelShown(spec any, alive []*change) *change {
	rank := func(*change) int { return 0 }
	if m, ok := spec.(map[string]any); ok {
		list, _ := m["region-priority"].([]any)
		rank = func(c *change) int {
			if i := slices.Index(list, any(n.w.sc.regions[c.region])); i >= 0 {
				return -i
			}
			return -len(list)
		}
	}
	return slices.MaxFunc(alive, func(a, b *change) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
}

// checkModel compares a document in the store with the model.
func (n *node) checkModel(k doc, s crdt.State) {
	const check = "checkModel"
	alive := n.w.hist.modelVersions(k, n.have)
	var dots []crdt.Dot
	for _, h := range s.Heads().All() {
		if h.Delete == crdt.NotDelete {
			dots = append(dots, h.Dot)
		}
	}
	if !slices.EqualFunc(alive, dots, func(c *change, d crdt.Dot) bool { return c.Dot == d }) {
		n.w.fail(check, "%s has the versions %v of %s, the model %v", n.name, dots, k.ID, changeDots(alive))
		return
	}
	col, view := n.view(k, s)
	if view.Exists != (len(alive) > 0) {
		n.w.fail(check, "%s shows %s: %v, it has %d versions", n.name, k.ID, view.Exists, len(alive))
		return
	}
	if len(alive) == 0 {
		return
	}
	if len(alive) > 1 {
		n.w.stats.Conflicts++
	}
	if s.Type() == crdt.TypeRegister {
		n.checkRegister(k, col, alive, s, view)
	}
	if col != nil && col.name == tallies {
		n.checkTally(k, view)
	}
}

func changeDots(cs []*change) []crdt.Dot {
	out := make([]crdt.Dot, len(cs))
	for i, c := range cs {
		out[i] = c.Dot
	}
	return out
}

func (n *node) checkRegister(k doc, col *collection, alive []*change, s crdt.State, view crdt.View) {
	const check = "checkModel"
	for _, v := range s.Versions() {
		if v.Deleted {
			continue
		}
		c := n.w.hist.changes[v.Dot]
		want, _, err := value.DecodeBinary(c.mutation(k).Payload, crdt.DefaultLimits.Value)
		if err != nil || !value.Equal(want, v.Value) || v.Stamp != c.Stamp {
			n.w.fail(check, "%s has version %v of %s as %s, written was %s", n.name, v.Dot, k.ID, show(v.Value), show(want))
		}
	}
	if col == nil {
		return
	}
	shown := n.modelShown(col.policy, alive)
	want, _, _ := value.DecodeBinary(shown.mutation(k).Payload, crdt.DefaultLimits.Value)
	if !value.Equal(want, view.Value) {
		n.w.fail(check, "%s shows %s of %s, the model %s of %v", n.name, show(view.Value), k.ID, show(want), shown.Dot)
	}
}

// checkTally: the documents of this collection only ever get increments, so
// their counter is the sum of those that the region has.
func (n *node) checkTally(k doc, view crdt.View) {
	var want int64
	for _, c := range n.w.hist.docs[k] {
		if n.have.Contains(c.Dot) {
			want += c.incs[k]
		}
	}
	m, _ := view.Value.(map[string]any)
	got, ok := m["n"].(value.Counter)
	if !ok || int64(got) != want {
		n.w.fail("checkCounterSum", "%s has %s in %s, the increments sum up to %d", n.name, show(view.Value), k.ID, want)
	}
}

func show(v any) string { return string(value.Append(nil, v, value.Options{Types: true})) }

// collection is what the observer needs of one.
type collection struct {
	name   string
	policy any
}

// view shows a document as the region does.
func (n *node) view(k doc, s crdt.State) (*collection, crdt.View) {
	if k.Collection.IsZero() {
		return nil, s.View(conflict.View(conflict.LWW(), conflict.Context{ID: k.ID}, n.catalog.Region))
	}
	col, err := n.catalog.Collection(k.Collection.String())
	if err != nil {
		n.w.fail("catalog", "%s has a document of %v, which it does not know", n.name, k.Collection)
		return nil, crdt.View{}
	}
	return &collection{col.Name, col.Settings.Policy.Spec()}, s.View(n.catalog.Resolve(col, k.ID))
}

// render writes down all that a reader can see of a document.
func (n *node) render(k doc, s crdt.State) string {
	if !s.Heads().Visible() {
		return "nothing"
	}
	_, view := n.view(k, s)
	var b strings.Builder
	fmt.Fprintf(&b, "%s tag %s digest %x", show(view.Value), crdt.VersionTag(s.Heads().Dots()), s.Digest())
	for _, v := range s.Versions() {
		fmt.Fprintf(&b, " version %v %v %v", v.Dot, v.Stamp, v.Deleted)
		if v.Value != nil {
			b.WriteString(show(v.Value))
		}
	}
	for _, c := range view.Conflicts {
		fmt.Fprintf(&b, " conflict %q shown %d open %v pending %v %s", c.Path, c.Shown, c.Open, c.Pending, c.Reason)
		for _, v := range c.Versions {
			fmt.Fprintf(&b, " %v", v.Dot)
			if v.Value != nil {
				b.WriteString(show(v.Value))
			}
		}
	}
	return b.String()
}
