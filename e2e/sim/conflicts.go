package sim

import (
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
)

// checkConflictLog: what the log says stands in a document is what does by the
// reference, which is the same in all regions that have the same, and each has
// its record.
func (n *node) checkConflictLog(k doc, ref crdt.State) {
	const check = "checkI05SameConflicts"
	if k.Collection.IsZero() {
		return
	}
	found, _ := core.ConflictsIn(ref, func(c crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: len(c.Versions) - 1} })
	var want, got []journal.ID
	for i := range found {
		var dots []crdt.Dot
		for _, v := range found[i].Versions {
			dots = append(dots, v.Dot)
		}
		want = append(want, journal.IDOf(k.Collection, k.ID, found[i].Path, dots))
	}
	standing, err := conflictlog.StandingIn(n.store, k)
	if err != nil {
		n.w.fail(check, "%s: %v", n.name, err)
		return
	}
	for i := range standing {
		s := &standing[i]
		got = append(got, s.ID)
		r, err := conflictlog.Find(n.store, s.ID)
		if err != nil || r == nil || r.Seq != s.Seq || r.ID != s.ID || r.Settled != nil || r.Path != s.Path {
			n.w.fail(check, "%s has a conflict at %q of %s, and the record %+v: %v", n.name, s.Path, k.ID, r, err)
			return
		}
	}
	for _, ids := range [][]journal.ID{want, got} {
		slices.SortFunc(ids, func(a, b journal.ID) int { return cmp.Compare(a.String(), b.String()) })
	}
	if len(want) <= core.MaxConflictPaths && !slices.Equal(want, got) {
		n.w.fail(check, "%s says that the conflicts %v stand in %s, those that do are %v", n.name, got, k.ID, want)
	}
}
