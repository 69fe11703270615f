package core_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

func (n *node) put(id string) {
	n.w.t.Helper()
	edit := crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"by": n.name}}
	if rep := n.ask(core.Write{Docs: []core.DocWrite{{Collection: "things", ID: id, Edit: edit}}}); rep.Err != nil {
		n.w.t.Fatalf("%s: %v", n.name, rep.Err)
	}
}

// relink brings up the links that are down and can be had, removed regions included.
func (w *cluster) relink() {
	for _, a := range w.sorted() {
		for _, b := range w.sorted() {
			if a.name < b.name && !w.down[pairOf(a, b)] && (!a.hears(b) || !b.hears(a)) {
				w.unlink(a, b)
				a.step(core.LinkUp{Peer: b.name})
				b.step(core.LinkUp{Peer: a.name})
			}
		}
	}
}

func (n *node) hears(o *node) bool {
	return slices.ContainsFunc(n.status().Peers, func(p core.PeerStatus) bool { return p.Region == o.name && p.Linked })
}

// Two regions that were cut off together both have what either wrote. When they come back
// at the same moment, so that neither knows what the other claims, one of them brings it in.
func TestStoresThatComeBackTogetherBringInNothingTwice(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.run(3 * time.Second)
	w.nodes["a"].write("things")
	w.run(2 * time.Second)
	w.cutOff([]*node{w.nodes["d"], w.nodes["e"]}, "a", "b", "c")
	d, e := w.nodes["d"], w.nodes["e"]
	d.put("1")
	e.put("2")
	w.run(2 * time.Second)
	w.removeAndTakeBack("d", "e")
	w.cameBack(2, d, e)
}

// cutOff cuts regions off from others, not from each other.
func (w *cluster) cutOff(far []*node, from ...string) {
	for _, n := range far {
		for _, name := range from {
			w.cut(w.nodes[name], n)
		}
	}
}

// count adds to a counter in a collection that nothing else is in.
func (n *node) count(by int64) {
	n.w.t.Helper()
	edit := crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: "inc", Path: value.Pointer{"n"}, Value: by, HasValue: true}}}
	if rep := n.ask(core.Write{Docs: []core.DocWrite{{Collection: "counts", ID: "1", Edit: edit}}}); rep.Err != nil {
		n.w.t.Fatalf("%s: %v", n.name, rep.Err)
	}
}

// counted is what that counter shows.
func (n *node) counted() int64 {
	n.w.t.Helper()
	col, err := n.core.Catalog().Collection("counts")
	if err != nil {
		n.w.t.Fatal(err)
	}
	record, err := n.st.Doc(store.DocKey{Collection: col.Incarnation, ID: "1"})
	if err != nil {
		n.w.t.Fatal(err)
	}
	s, err := core.DecodeDocument(record)
	if err != nil {
		n.w.t.Fatal(err)
	}
	shown, _ := s.View(conflict.View(conflict.LWW(), conflict.Context{}, func(crdt.ReplicaID) string { return "" })).Value.(map[string]any)
	count, _ := shown["n"].(value.Counter)
	return int64(count)
}

// removeAndTakeBack lets a remove regions that are cut off, and adds them again.
func (w *cluster) removeAndTakeBack(names ...string) {
	w.t.Helper()
	w.removed(names...)
	clear(w.down)
	w.takeBack(names...)
	w.rejoin(40)
}

// removed cuts regions off and lets a remove them.
func (w *cluster) removed(names ...string) {
	w.t.Helper()
	for _, n := range w.sorted() {
		for _, o := range names {
			if n.name != o {
				w.cut(n, w.nodes[o])
			}
		}
	}
	w.run(5 * time.Second)
	a := w.nodes["a"]
	for _, name := range names {
		if rep := a.ask(core.RemoveRegion{Region: name}); rep.Err != nil {
			w.t.Fatal(rep.Err)
		}
	}
	w.run(3 * time.Second)
	if got := a.core.Members(); len(got) != len(w.nodes)-len(names) {
		w.t.Fatalf("the members are %v", got)
	}
}

// takeBack lets a add regions again.
func (w *cluster) takeBack(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if rep := w.nodes["a"].ask(core.AddRegion{Region: name, Address: name + ":1"}); rep.Err != nil {
			w.t.Fatal(rep.Err)
		}
	}
}

// rejoin lets half seconds pass, and brings links up after each.
func (w *cluster) rejoin(halves int) {
	for range halves {
		w.run(time.Second / 2)
		w.relink()
	}
}

// cameBack checks that regions hold what a does, and have brought in so many documents.
func (w *cluster) cameBack(want int, back ...*node) {
	w.t.Helper()
	documents := 0
	for _, n := range back {
		s := n.status()
		documents += s.Rebased.Documents
		if a := w.nodes["a"]; n.fx.Writable != nil || s.Rebased.Left != 0 || !n.core.Have().Equal(a.core.Have()) {
			w.t.Errorf("%s is not back: %v, %+v, have %v, a has %v", n.name, n.fx.Writable, s.Rebased, n.core.Have(), a.core.Have())
		}
	}
	if documents != want {
		w.t.Errorf("%d documents were brought in, not %d", documents, want)
	}
}

// Nor is anything lost of replicas that nobody knew who went on: both stores have what
// either wrote, and neither waits for the others to have it.
func TestStoresThatNobodyKnewComeBack(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.cutOff([]*node{w.nodes["d"], w.nodes["e"]}, "a", "b", "c")
	w.run(5 * time.Second)
	w.nodes["a"].write("things")
	d, e := w.nodes["d"], w.nodes["e"]
	d.put("1")
	e.put("2")
	w.run(5 * time.Second)
	w.removeAndTakeBack("d", "e")
	w.cameBack(2, d, e)
}

// A store that comes back leaves to another one what that has claimed, and has more of the same:
// in a collection that the other one brings in, on top of what it brings in. It waits for that.
func TestStoreWaitsForWhatItsChangesBuildOn(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.run(3 * time.Second)
	w.nodes["a"].write("things")
	w.run(2 * time.Second)
	d, e := w.nodes["d"], w.nodes["e"]
	w.cutOff([]*node{d, e}, "a", "b", "c")
	e.count(3)
	w.run(2 * time.Second)
	w.cut(d, e)
	e.count(4)
	w.removed("d", "e")
	w.takeBack("d", "e")
	for _, n := range w.sorted() {
		w.down[pairOf(n, d)] = n == e
		w.down[pairOf(n, e)] = true
	}
	w.rejoin(20)
	if s := d.status(); s.Rebased.Left == 0 {
		t.Fatalf("d did not wait for e, which could have the same: %+v", s.Rebased)
	}
	clear(w.down)
	w.rejoin(40)
	w.cameBack(2, d, e)
	for _, n := range []*node{d, e} {
		if s := n.status(); s.Rebased.SetAside != 0 {
			t.Errorf("%s has no place for what it brings in: %+v", n.name, s.Rebased)
		}
	}
	if got := w.nodes["a"].counted(); got != 7 {
		t.Errorf("3 and 4 are %d", got)
	}
}

// What a region that goes on has lost with its store, only a removed one has: nobody takes it any
// more, since it does not hold back what is stable. It comes back with it.
func TestStoreComesBackWithWhatAnotherOneHasLost(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	w.run(3 * time.Second)
	w.nodes["a"].write("things")
	w.run(2 * time.Second)
	c, d := w.nodes["c"], w.nodes["d"]
	w.cutOff([]*node{c, d}, "a", "b")
	c.put("1")
	c.count(3)
	w.run(2 * time.Second)
	w.cut(c, d)
	delete(w.down, pairOf(w.nodes["a"], c))
	delete(w.down, pairOf(w.nodes["b"], c))
	c.start(memstore.New())
	w.rejoin(10)
	w.removeAndTakeBack("d")
	w.cameBack(2, d)
	if got := w.nodes["a"].counted(); got != 3 {
		t.Errorf("3 is %d", got)
	}
}

// A store leaves to another one what that had claimed before it, also if its own claim was made
// before its region was removed again, with more that nobody else has.
func TestStoreRemovedAgainLeavesToOthersWhatTheyHadClaimed(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.run(3 * time.Second)
	w.nodes["a"].write("things")
	w.run(2 * time.Second)
	b, d, e := w.nodes["b"], w.nodes["d"], w.nodes["e"]
	w.cutOff([]*node{d, e}, "a", "b", "c")
	e.count(3)
	w.run(2 * time.Second)
	w.removed("d", "e")
	w.takeBack("d", "e")
	w.run(time.Second)
	for _, n := range w.sorted() {
		w.cut(n, b)
		w.down[pairOf(n, e)] = n == b || n == d
	}
	w.rejoin(10)
	if s := e.status(); s.Rebased.Left == 0 {
		t.Fatalf("e did not wait: %+v", s.Rebased)
	}
	w.down[pairOf(b, d)] = false // that has not heard of the claim of e
	w.rejoin(10)
	if s := d.status(); s.Rebased.Left == 0 || d.fx.Writable != nil {
		t.Fatalf("d has not come back and waited: %v, %+v", d.fx.Writable, s.Rebased)
	}
	w.cut(b, d)
	d.put("1")
	for _, n := range w.sorted() {
		w.down[pairOf(n, b)], w.down[pairOf(n, e)] = n == d, n == d
	}
	w.rejoin(10)
	w.removeAndTakeBack("d")
	w.cameBack(2, d, e)
	if got := w.nodes["a"].counted(); got != 3 {
		t.Errorf("3 was brought in as %d", got)
	}
}

// What a deletion had overruled before its region was removed is not brought in, also if another
// store has the same and had not heard of the deletion. It is in the conflict log of who had.
func TestStoreLeavesWhatADeletionHadOverruled(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.run(3 * time.Second)
	a, d, e := w.nodes["a"], w.nodes["d"], w.nodes["e"]
	s := core.DefaultSettings()
	s.Delete = crdt.DeleteWins
	if rep := a.ask(core.PutCollection{Name: "things", Settings: s}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	a.put("1")
	w.run(2 * time.Second)
	w.cutOff([]*node{d, e}, "a", "b", "c")
	d.put("1")
	w.run(2 * time.Second)
	if !e.core.Have().Covers(d.core.Have()) {
		t.Fatalf("e has %v, d %v", e.core.Have(), d.core.Have())
	}
	w.cut(d, e)
	a.deleteThing("1")
	w.drops = func(from, _ *node, m wire.Message) bool { return from == d && isLog(m) }
	w.mend(a, d)
	w.runUntil("the deletion in d", func() bool { return d.core.Have().Covers(a.core.Have()) })
	w.cut(a, d)
	w.drops = nil
	w.removed("d", "e")
	clear(w.down)
	for _, n := range w.sorted() {
		w.down[pairOf(n, e)] = true
	}
	w.takeBack("d", "e")
	w.rejoin(10)
	clear(w.down)
	w.rejoin(40)
	w.cameBack(0, d, e)
	for _, n := range []*node{d, e} {
		if s := n.status(); s.Rebased.SetAside != 0 {
			t.Errorf("%s has set aside what a deletion had overruled: %+v", n.name, s.Rebased)
		}
	}
	records, _, err := conflictlog.List(d.st.Snapshot(), conflictlog.Filter{}, 0, 10)
	if err != nil || !slices.ContainsFunc(records, func(r *journal.Record) bool {
		return r.Kind == journal.Overruled && r.Document == "1"
	}) {
		t.Errorf("the conflict log of d has %+v, %v", records, err)
	}
}

func (n *node) deleteThing(id string) {
	n.w.t.Helper()
	edit := crdt.Edit{Kind: crdt.EditDelete}
	if rep := n.ask(core.Write{Docs: []core.DocWrite{{Collection: "things", ID: id, Edit: edit}}}); rep.Err != nil {
		n.w.t.Fatalf("%s: %v", n.name, rep.Err)
	}
}

// Nobody has ever heard of the replica of a region that was removed, whose store is put back: its next
// one has nothing itself, and what it has nobody takes. It is told so before it waits for that.
func TestStoreThatNobodyKnewComesBackAsAnotherReplica(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	d := w.nodes["d"]
	for _, near := range []string{"a", "b", "c"} {
		w.cut(w.nodes[near], d)
	}
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "c"} {
		w.nodes[name].start(w.nodes[name].st)
	}
	w.run(core.LogPatience)
	image := d.st.Clone()
	w.removed("d")
	for i := range 5 {
		w.nodes["a"].write(fmt.Sprint("x", i))
		w.run(time.Second)
	}
	d.start(image)
	w.takeBack("d")
	clear(w.down)
	w.rejoin(60)
	w.cameBack(0, d)
}

// A region that was removed alone brings in at once what it has. A store that was put back to before
// that has the same, and claims it though it was never removed: it leaves it to that region.
func TestStoreThatWasNotRemovedLeavesItToTheOneThatWas(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d", "e")
	w.run(3 * time.Second)
	w.nodes["a"].write("things")
	w.run(2 * time.Second)
	d, e := w.nodes["d"], w.nodes["e"]
	image := e.st.Clone()
	w.removed("d")
	for _, name := range []string{"a", "b", "c"} {
		w.cut(w.nodes[name], e)
	}
	e.start(image)
	delete(w.down, pairOf(d, e))
	w.rejoin(4)
	d.count(3)
	w.run(2 * time.Second)
	if !e.core.Have().Covers(d.core.Have()) {
		t.Fatalf("e has %v, d %v", e.core.Have(), d.core.Have())
	}
	w.cut(d, e)
	w.takeBack("d")
	w.run(time.Second)
	b := w.nodes["b"]
	for _, name := range []string{"a", "c"} {
		w.cut(b, w.nodes[name])
	}
	delete(w.down, pairOf(b, e))
	w.rejoin(20)
	if s := e.status(); s.Rebased.Left == 0 || e.fx.Writable != nil {
		t.Fatalf("e has not come back and waited: %v, %+v", e.fx.Writable, s.Rebased)
	}
	delete(w.down, pairOf(w.nodes["a"], d))
	w.rejoin(20)
	if s := d.status(); s.Rebased.Left != 0 || s.Rebased.Documents == 0 {
		t.Fatalf("d has brought in nothing: %v, %+v", d.fx.Writable, s.Rebased)
	}
	clear(w.down)
	w.rejoin(40)
	w.cameBack(1, d, e)
	if got := w.nodes["a"].counted(); got != 3 {
		t.Errorf("3 was brought in as %d", got)
	}
}

// A store is lost that had claimed what another one has, too, before it brought that in: nobody can
// tell, so the other one keeps it for people to look at, also if it comes back long after.
func TestStoreKeepsWhatALostOneHadClaimed(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			w := newCluster(t, "a", "b", "c", "d", "e")
			w.run(3 * time.Second)
			w.nodes["a"].write("things")
			w.run(2 * time.Second)
			d, e := w.nodes["d"], w.nodes["e"]
			w.cutOff([]*node{d, e}, "a", "b", "c")
			e.put("1")
			e.count(3)
			w.run(2 * time.Second)
			w.removed("d", "e")
			w.takeBack("d")
			if !late {
				w.takeBack("e")
			}
			for _, n := range w.sorted() {
				w.cut(n, w.nodes["b"]) // so that no claim is stable
				w.down[pairOf(n, d)], w.down[pairOf(n, e)] = n == e || n.name == "b", true
			}
			w.rejoin(20)
			if s := d.status(); s.Rebased.Left == 0 || d.fx.Writable != nil {
				t.Fatalf("d has not come back and waited: %v, %+v", d.fx.Writable, s.Rebased)
			}
			d.start(memstore.New())
			for _, n := range w.sorted() {
				w.down[pairOf(n, w.nodes["b"])], w.down[pairOf(n, d)] = n == e, n == e
			}
			w.rejoin(20)
			if d.fx.Writable != nil {
				t.Fatal(d.fx.Writable)
			}
			if late {
				w.takeBack("e")
			}
			clear(w.down)
			w.rejoin(40)
			w.cameBack(2, e)
			if s := e.status(); s.Rebased.SetAside != 2 {
				t.Errorf("%d documents were kept for people to look at", s.Rebased.SetAside)
			}
		})
	}
}
