package core_test

import (
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport/wire"
)

// isLog reports whether a message brings changes.
func isLog(m wire.Message) bool { return m.Kind() == wire.KindChanges || m.Kind() == wire.KindCatchUp }

// copyInTwo lets b copy the store of another region in two segments: the documents of the vault
// come after more has happened, which does not come as changes.
func (w *cluster) copyInTwo(b *node, more func()) {
	w.t.Helper()
	w.part = 1
	snapshot := func() *core.DurableSnapshot {
		d, err := core.ReadDurable(b.st)
		if err != nil {
			w.t.Fatal(err)
		}
		return d.Snapshot
	}
	begun := func() bool { s := snapshot(); return s != nil && s.Documents > 0 }
	w.drops = func(_, to *node, m wire.Message) bool {
		return to == b && (isLog(m) || m.Kind() == wire.KindSnapshotPart && begun())
	}
	b.start(memstore.New())
	w.runUntil("a copy", begun)
	more()
	w.drops = func(_, to *node, m wire.Message) bool { return to == b && isLog(m) }
	b.start(b.st)
	w.runUntil("the end of the copy", func() bool { s := snapshot(); return s != nil && s.Replaying })
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

// Two that keep the same are joined by a third, which is new and has nothing: each of them
// knows that the other has no more.
func TestI12_HoldersKeepTheirCopiesWhileAnotherOneJoins(t *testing.T) {
	w := newCluster(t)
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "z"} {
		w.add(name, "a", "b", "z")
	}
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	w.run(3 * time.Second)
	a.makeVault("a", "b", "c")
	w.run(2 * time.Second)
	a.secret("x")
	w.run(2 * time.Second)
	oldA, oldB := a.st.Clone(), b.st.Clone()
	for _, name := range []string{"y0", "y1", "y2", "y3", "y4"} {
		z.write(name)
		w.run(3 * time.Second)
	}
	w.drops = func(_, _ *node, m wire.Message) bool { return m.Kind() == wire.KindSnapshotRequest }
	a.start(oldA)
	b.start(oldB)
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
