package core_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// isLog reports whether a message brings changes.
func isLog(m wire.Message) bool { return m.Kind() == wire.KindChanges || m.Kind() == wire.KindCatchUp }

// snapshot is the one that a store, which need not be whole, is taking, nil if it takes none.
func (n *node) snapshot() *core.DurableSnapshot {
	n.w.t.Helper()
	d, err := core.ReadDurable(n.st)
	if err != nil {
		n.w.t.Fatalf("%s: %v", n.name, err)
	}
	return d.Snapshot
}

// copyInTwo lets b copy the store of another region in two segments: the documents of the vault
// come after more has happened, which does not come as changes.
func (w *cluster) copyInTwo(b *node, more func()) {
	w.t.Helper()
	w.part = 1
	begun := func() bool { s := b.snapshot(); return s != nil && s.Documents > 0 }
	w.drops = func(_, to *node, m wire.Message) bool {
		return to == b && (isLog(m) || m.Kind() == wire.KindSnapshotPart && begun())
	}
	b.start(memstore.New())
	w.runUntil("a copy", begun)
	more()
	w.drops = func(_, to *node, m wire.Message) bool { return to == b && isLog(m) }
	b.start(b.st)
	w.runUntil("the end of the copy", func() bool { s := b.snapshot(); return s != nil && s.Replaying })
}

// behind makes a cluster of z and regions that hold things, in which some happen, and returns copies of
// their stores that the log of z does not reach back to any more.
func behind(t *testing.T, happen func(w *cluster), holders ...string) (w *cluster, old map[string]*memstore.Store) {
	t.Helper()
	w = newCluster(t)
	w.keep = core.Retention{Changes: 1}
	names := append(slices.Clone(holders), "z")
	for _, name := range names {
		w.add(name, names...)
	}
	w.run(3 * time.Second)
	happen(w)
	w.run(2 * time.Second)
	old = map[string]*memstore.Store{}
	for _, name := range holders {
		old[name] = w.nodes[name].st.Clone()
	}
	for _, name := range []string{"y0", "y1", "y2", "y3", "y4"} {
		w.nodes["z"].write(name)
		w.run(3 * time.Second)
	}
	return w, old
}

// makeSafe makes another collection that some regions hold.
func (n *node) makeSafe(regions ...string) {
	n.w.t.Helper()
	s := core.DefaultSettings()
	s.Regions = regions
	if rep := n.ask(core.PutCollection{Name: "safe", Settings: s}); rep.Err != nil {
		n.w.t.Fatal(rep.Err)
	}
}

// Documents of b, which takes a snapshot, have a change of a that a itself has lost since, and nobody
// has in its log. They are not without it then: a takes it from them.
func TestI05_WhatCopiedDocumentsHaveIsNotLost(t *testing.T) {
	w, _ := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	old := a.st.Clone()
	w.copyInTwo(b, func() {
		d := a.secret("d")
		w.run(time.Second)
		if !z.core.Have().Contains(d) {
			t.Fatal("z has not heard of it")
		}
	})
	a.start(old)
	w.drops = nil
	w.run(2 * time.Minute)
	w.same([]*node{a, b}, "x", "d")
	b.secret("of b")
	w.run(5 * time.Second)
	w.same([]*node{a, b}, "x", "d", "of b")
}

// The same of a change that all regions hold, and z has not even heard of: b does not wait for it.
func TestI12_CopyStartsOverIfNobodyHasWhatMakesItWhole(t *testing.T) {
	w, _ := behindLogs(t, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	old := a.st.Clone()
	w.copyInTwo(b, func() {
		w.cut(a, z)
		a.write("d")
		w.run(time.Second)
	})
	a.start(old)
	w.drops = nil
	w.mend(a, z)
	w.run(2 * time.Minute)
	w.same([]*node{a, b}, "x")
}

// What comes behind a kept collection may be held by others only: any region goes on with the copy there.
func TestI12_CopyGoesOnBehindAKeptCollection(t *testing.T) {
	w, old := behind(t, func(w *cluster) {
		w.nodes["b"].makeVault("a", "b")
		w.nodes["b"].makeSafe("b")
		w.run(2 * time.Second)
		w.nodes["a"].secret("x")
	}, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	w.cut(a, b)
	b.start(memstore.New())
	w.run(core.LogPatience) // it has come to the vault, and waits for a
	a.start(old["a"])
	w.mend(a, b)
	begun := func() bool { return a.snapshot() != nil }
	w.drops = func(from, to *node, m wire.Message) bool {
		return from == b && to == a && m.Kind() == wire.KindStatus && begun()
	}
	w.runUntil("a snapshot", begun)
	w.runUntil("its end", func() bool {
		if len(a.closed) > 0 { // it has heard of an earlier store of b
			a.closed = nil
			w.unlink(a, b)
			w.link(a, b)
		}
		return !begun()
	})
	w.drops = nil
	w.run(2 * time.Minute)
	w.same([]*node{a, b}, "x")
}

// Of three that hold the same, and have to take a snapshot, one is ahead: it does not wait for the
// others to give it a collection that is empty, as they wait for it.
func TestI12_EmptyCollectionIsNotWaitedFor(t *testing.T) {
	w, old := behind(t, func(w *cluster) {
		w.nodes["a"].makeSafe("a", "b", "c")
		w.nodes["a"].makeVault("a", "b", "c")
		w.run(2 * time.Second)
		w.nodes["a"].secret("x")
	}, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	for _, n := range []*node{a, b, c} {
		n.start(old[n.name])
	}
	begun := func() bool { return a.snapshot() != nil }
	w.drops = func(from, to *node, m wire.Message) bool {
		return m.Kind() == wire.KindStatus && (from == b && to == c || from == c && to == b)
	}
	w.run(time.Second) // b and c begin to count later
	w.drops = nil
	w.runUntil("a snapshot", begun)
	if b.snapshot() != nil || c.snapshot() != nil {
		t.Fatal("it is not ahead")
	}
	w.run(2 * time.Minute)
	w.same([]*node{a, b, c}, "x")
}

// Two that keep the same are joined by a third, which is new and has nothing: each of them
// knows that the other has no more.
func TestI12_HoldersKeepTheirCopiesWhileAnotherOneJoins(t *testing.T) {
	w, old := behind(t, func(w *cluster) {
		w.nodes["a"].makeVault("a", "b", "c")
		w.run(2 * time.Second)
		w.nodes["a"].secret("x")
	}, "a", "b")
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	w.drops = func(_, _ *node, m wire.Message) bool { return m.Kind() == wire.KindSnapshotRequest }
	a.start(old["a"])
	b.start(old["b"])
	w.run(2 * time.Second)
	w.cut(a, b)
	w.mend(a, b)
	for range 40 { // what they tell takes a while, so that both begin before they hear of it
		w.run(4*core.TickEvery, a, b)
		w.run(core.TickEvery)
	}
	if a.durable().Snapshot == nil || b.durable().Snapshot == nil {
		t.Fatal("they do not take snapshots")
	}
	if rep := z.ask(core.AddRegion{Region: "c", Address: "c:1"}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	w.drops = nil
	c := w.add("c", "c", "z")
	for range 60 {
		w.run(2 * time.Second)
		for _, o := range []*node{a, b, z} {
			if p, linked := o.core.Members(), c.hears(o); !linked && len(p) > 0 {
				w.link(c, o)
			}
		}
	}
	w.same([]*node{a, b, c}, "x")
}

// The hub of a star lost its store, and copies that of a. What it holds with b it needs of b, which lacks
// some of that copy: b gets it from a, as the hub passes nothing on.
func TestI12_RegionsLinkAroundAHubThatCopiesASnapshot(t *testing.T) {
	w := newCluster(t)
	w.keep, w.spec = core.Retention{Changes: 1}, topology.Spec{Kind: topology.Star, Hub: "h"}
	w.down[[2]string{"a", "b"}] = true
	for _, name := range []string{"a", "b", "h"} {
		w.add(name, "a", "b", "h")
	}
	a, b, h := w.nodes["a"], w.nodes["b"], w.nodes["h"]
	w.run(3 * time.Second)
	b.makeVault("b", "h")
	w.run(2 * time.Second)
	b.secret("x")
	for _, name := range []string{"y0", "y1", "y2"} {
		a.write(name)
		w.run(3 * time.Second)
	}
	w.cut(a, h)
	w.cut(b, h)
	a.write("of-a")
	b.write("of-b")
	w.run(time.Second)
	w.mend(a, h)
	h.start(memstore.New())
	w.runUntil("a copy", func() bool { s := h.snapshot(); return s != nil && s.Documents > 0 })
	w.mend(b, h)
	w.run(5 * time.Second) // they know that it is back
	w.runUntil("a link of a and b", func() bool { return slices.Contains(a.plan.Peers(), "b") && slices.Contains(b.plan.Peers(), "a") })
	w.mend(a, b)
	w.run(2 * time.Minute)
	for _, n := range []*node{a, b, h} {
		if have := n.core.Have(); !have.Equal(a.core.Have()) || n.fx.Writable != nil {
			t.Errorf("%s has %v, a %v; it takes no writes: %v", n.name, have, a.core.Have(), n.fx.Writable)
		}
	}
	if !h.has("x") {
		t.Error("h lacks x")
	}
	if got := a.plan.Peers(); !slices.Equal(got, []string{"h"}) {
		t.Errorf("a goes on to link with %v", got)
	}
}
