package core_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/region/verify"
	"github.com/meridiandb/meridian/transport/wire"
)

// behindLogs makes a cluster in which some regions hold a vault with the documents w and x, and
// z does not hold it. It returns copies of their stores from before z wrote, whose log does not
// reach back so far any more; those of "older a" and so on lack x.
func behindLogs(t *testing.T, holders ...string) (w *cluster, old map[string]*memstore.Store) {
	w = newCluster(t)
	w.keep = core.Retention{Changes: 1}
	names := append(slices.Clone(holders), "z")
	for _, name := range names {
		w.add(name, names...)
	}
	z := w.nodes["z"]
	w.run(3 * time.Second)
	w.nodes["a"].makeVault(holders...)
	w.run(2 * time.Second)
	w.nodes["a"].secret("w")
	w.run(2 * time.Second)
	old = map[string]*memstore.Store{}
	for _, name := range holders {
		old["older "+name] = w.nodes[name].st.Clone()
	}
	w.nodes["a"].secret("x")
	w.run(2 * time.Second)
	for _, name := range holders {
		old[name] = w.nodes[name].st.Clone()
	}
	for i := range 5 {
		z.write(fmt.Sprint("y", i))
		w.run(3 * time.Second)
	}
	if cut := z.status().Log.Cut; cut.Get(z.core.Replica()) < 3 {
		t.Fatalf("the log of z is cut up to %v", cut)
	}
	return w, old
}

// has reports whether a region has a document of the vault.
func (n *node) has(id string) bool {
	n.w.t.Helper()
	col, err := n.core.Catalog().Collection("vault")
	if err != nil {
		n.w.t.Fatalf("%s: %v", n.name, err)
	}
	b, err := n.st.Doc(store.DocKey{Collection: col.Incarnation, ID: id})
	if err != nil {
		n.w.t.Fatalf("%s: %v", n.name, err)
	}
	return b != nil
}

// durable is what the store says of itself, which has to be whole.
func (n *node) durable() core.Durable {
	n.w.t.Helper()
	d, err := core.ReadDurable(n.st)
	if err != nil {
		n.w.t.Fatalf("%s: %v", n.name, err)
	}
	r, err := verify.Store(n.w.t.Context(), n.st, nil)
	if err != nil || r.Found > 0 {
		n.w.t.Fatalf("%s: %v: %+v", n.name, err, r.Problems)
	}
	return d
}

// runUntil lets time pass until something holds.
func (w *cluster) runUntil(what string, holds func() bool) {
	w.t.Helper()
	for range 1000 {
		if holds() {
			return
		}
		w.run(core.TickEvery)
	}
	w.t.Fatal("it does not come to ", what)
}

// cut takes the link between two away.
func (w *cluster) cut(a, b *node) {
	w.down[pairOf(a, b)] = true
	w.unlink(a, b)
}

func (w *cluster) mend(a, b *node) {
	delete(w.down, pairOf(a, b))
	w.link(a, b)
}

// same checks that regions hold the same, take writes, and have documents of the vault.
func (w *cluster) same(nodes []*node, ids ...string) {
	w.t.Helper()
	for _, n := range nodes {
		if have := n.core.Have(); !have.Equal(w.nodes["z"].core.Have()) || n.fx.Writable != nil || n.durable().Snapshot != nil {
			w.t.Errorf("%s has %v, z %v; it takes no writes: %v", n.name, have, w.nodes["z"].core.Have(), n.fx.Writable)
			continue
		}
		for _, id := range ids {
			if !n.has(id) {
				w.t.Errorf("%s lacks %s", n.name, id)
			}
		}
		for _, p := range n.status().Peers {
			if p.Compared.Verdict == core.Different {
				w.t.Errorf("%s says that %s has other documents", n.name, p.Region)
			}
		}
	}
}

// The only region that holds a vault is behind the log of the other: it keeps its documents
// through the snapshot, is put back to no later state, and goes on writing. What it had
// written later is lost.
func TestI12_SoleHolderKeepsItsDocumentsThroughASnapshot(t *testing.T) {
	w, old := behindLogs(t, "a")
	a, z := w.nodes["a"], w.nodes["z"]
	lost := a.secret("lost")
	w.run(2 * time.Second)
	if !z.core.Have().Contains(lost) {
		t.Fatal("z has not heard of it")
	}
	a.start(old["a"])
	w.run(core.LogPatience + 10*time.Second)
	if !slices.Equal(w.snapshots, [][2]string{{"a", "z"}, {"a", "z"}}) { // it stops at the vault
		t.Errorf("snapshots were asked for: %v", w.snapshots)
	}
	w.same([]*node{a}, "x")
	if a.has("lost") || !a.core.Have().Contains(lost) {
		t.Errorf("it has %v, and what it lost: %v", a.core.Have(), a.has("lost"))
	}
	a.secret("more")
	w.run(2 * time.Second)
	w.same([]*node{a}, "x", "more")
}

// So it does if its process ends in any phase of that.
func TestI12_KeptDocumentsSurviveRestarts(t *testing.T) {
	w, old := behindLogs(t, "a")
	a, z := w.nodes["a"], w.nodes["z"]
	a.start(old["a"])
	seen := map[string]int{}
	w.runUntil("the end of the snapshot", func() bool {
		s := a.durable().Snapshot
		if s == nil {
			return len(seen) > 0
		}
		phase := fmt.Sprintf("%v.%v.%d", s.Clearing, s.Replaying, s.Documents)
		if seen[phase]++; seen[phase] == 1 {
			if kept := s.Kept; len(kept) != 1 {
				t.Errorf("%s: kept are %v", phase, kept)
			}
			a.start(a.st)
			z.write(phase) // so that the next part is of another moment
		}
		return false
	})
	if len(seen) < 3 {
		t.Errorf("there were restarts in %v", seen)
	}
	w.run(5 * time.Second)
	w.same([]*node{a}, "x")
	a.secret("more")
	w.run(2 * time.Second)
	w.same([]*node{a}, "x", "more")
}

// And if the snapshot has to start over, since its donor was put back.
func TestI12_KeptDocumentsStayWhereASnapshotStartsOver(t *testing.T) {
	w, old := behindLogs(t, "a")
	a, z := w.nodes["a"], w.nodes["z"]
	oldZ := z.st.Clone()
	z.write("more")
	w.run(time.Second)
	a.start(old["a"])
	have := a.core.Have()
	w.runUntil("a copy", func() bool { s := a.durable().Snapshot; return s != nil && s.Documents > 0 })
	w.cut(a, z)
	z.start(oldZ)
	w.mend(a, z)
	again := false
	w.runUntil("the end of the snapshot", func() bool {
		s := a.durable().Snapshot
		if s != nil && s.Documents == 0 {
			for _, kept := range s.Kept {
				again = again || kept.Equal(have)
			}
		}
		return s == nil
	})
	if !again {
		t.Error("it did not start over, or keeps the documents as of another moment")
	}
	w.run(5 * time.Second)
	w.same([]*node{a}, "x")
}

// Two holders that are both behind the log of a region that does not hold the vault keep
// their copies: neither could give its own to the other, which has cleared its store for it.
func TestI12_HoldersThatAreBothBehindKeepTheirCopies(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	a.start(old["a"])
	b.start(old["b"])
	w.run(core.LogPatience + 30*time.Second)
	w.same([]*node{a, b}, "x")
	a.secret("of a")
	b.secret("of b")
	w.run(15 * time.Second)
	w.same([]*node{a, b}, "x", "of a", "of b")
}

// A holder with less than another one waits until that is there, and copies what it has kept.
func TestI12_HolderWithLessCopiesWhatTheOtherKept(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	a.secret("x2")
	w.run(2 * time.Second)
	oldA := a.st.Clone()
	for i := range 5 {
		z.write(fmt.Sprint("later", i))
		w.run(3 * time.Second)
	}
	w.down[pairOf(a, b)], w.down[pairOf(a, z)] = true, true
	a.start(oldA)
	b.start(old["b"])
	w.run(core.LogPatience + time.Minute)
	if s := b.durable().Snapshot; s != nil || !errors.Is(b.fx.Writable, core.ErrOnlyCopy) {
		t.Errorf("it takes a snapshot: %+v; it takes no writes: %v", s, b.fx.Writable)
	}
	w.mend(a, b)
	w.mend(a, z)
	w.run(core.LogPatience + time.Minute)
	w.same([]*node{a, b}, "x", "x2")
}

// A holder that has cleared its store, and was to keep its copy, takes that of another one
// which did the same and has written since: what that wrote is not lost.
func TestI12_KeptCopyGivesWayToOneThatHasGoneOn(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	a.start(old["a"])
	b.start(old["b"])
	w.runUntil("a snapshot", func() bool { return a.durable().Snapshot != nil })
	w.cut(a, z)
	w.drops = func(from, _ *node, m wire.Message) bool { return from == a && m.Kind() == wire.KindSnapshotRequest }
	w.runUntil("writes of b", func() bool { return b.durable().Snapshot == nil && b.fx.Writable == nil })
	w.drops = nil
	b.secret("y")
	w.run(core.TickEvery)
	w.mend(a, z)
	w.runUntil("a snapshot that replaces all", func() bool { s := a.durable().Snapshot; return s != nil && len(s.Kept) == 0 })
	w.run(core.LogPatience + 30*time.Second)
	w.same([]*node{a, b}, "x", "y")
}

// A holder that hears that another one has more, but cannot have that of it yet, waits for
// the copy that the other one keeps.
func TestI12_HolderDoesNotKeepLessThanAnotherHas(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	a.start(old["older a"])
	b.start(old["b"])
	w.drops = func(from, to *node, m wire.Message) bool {
		return from == b && to == a && (m.Kind() == wire.KindChanges || m.Kind() == wire.KindCatchUp)
	}
	w.runUntil("a snapshot", func() bool { return a.durable().Snapshot != nil })
	w.drops = nil
	if kept := a.durable().Snapshot.Kept; len(kept) > 0 {
		t.Errorf("it keeps %v, b has %v", kept, b.core.Have())
	}
	w.run(time.Minute)
	w.same([]*node{a, b}, "w", "x")
}

// A holder that lost its store waits for one that keeps its documents, however long that takes.
func TestI12_KeptCollectionIsNotTakenForLost(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	a.start(old["a"])
	b.start(memstore.New())
	w.runUntil("a snapshot", func() bool { return a.durable().Snapshot != nil })
	w.cut(a, z)
	w.run(time.Minute)
	if a.durable().Snapshot == nil || b.durable().Snapshot == nil {
		t.Fatal("one of them has gone on")
	}
	w.mend(a, z)
	w.run(time.Minute)
	w.same([]*node{a, b}, "x")
}

// One that waits for several collections says so of all: who is to keep them has to know it of each.
func TestI12_SeveralCollectionsAreKeptForOneThatLostItsStore(t *testing.T) {
	w := newCluster(t)
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "z"} {
		w.add(name, "a", "b", "z")
	}
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	w.run(3 * time.Second)
	a.makeVault("a", "b")
	s := core.DefaultSettings()
	s.Regions = []string{"a", "b"}
	a.ask(core.PutCollection{Name: "safe", Settings: s})
	a.secret("x")
	edit := crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(1)}}
	a.ask(core.Write{Docs: []core.DocWrite{{Collection: "safe", ID: "1", Edit: edit}}})
	w.run(2 * time.Second)
	old := a.st.Clone()
	for i := range 5 {
		z.write(fmt.Sprint("y", i))
		w.run(3 * time.Second)
	}
	a.start(old)
	b.start(memstore.New())
	w.run(2 * time.Minute)
	w.same([]*node{a, b}, "x")
}

// A holder that is put back does not keep its copy while another one, in a snapshot that it
// takes, has copied a later one.
func TestI12_HolderDoesNotKeepLessThanAnotherHasCopied(t *testing.T) {
	w, old := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	w.part = 1
	edit := crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(1)}}
	for _, id := range []string{"1", "2"} {
		z.ask(core.Write{Docs: []core.DocWrite{{Collection: "y0", ID: id, Edit: edit}}})
	}
	w.run(time.Second)
	open, err := a.core.Catalog().Collection("y0")
	if err != nil {
		t.Fatal(err)
	}
	copied := func() bool { // the vault, and some of what comes after it
		d, err := b.st.Doc(store.DocKey{Collection: open.Incarnation, ID: "1"})
		return err == nil && d != nil
	}
	w.drops = func(_, to *node, m wire.Message) bool {
		return to == b && m.Kind() == wire.KindSnapshotPart && copied()
	}
	b.start(memstore.New())
	w.runUntil("a copy of the vault", copied)
	a.start(old["older a"])
	w.run(core.LogPatience)
	if s := a.durable().Snapshot; s != nil || b.durable().Snapshot == nil {
		t.Errorf("it takes a snapshot: %+v; b does: %+v", s, b.durable().Snapshot)
	}
	w.drops = nil
	w.run(2 * time.Minute)
	w.same([]*node{a, b}, "w", "x")
}
