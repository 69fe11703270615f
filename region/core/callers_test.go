package core_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport/wire"
)

// A new region whose only address is one of nobody is reached by those that were told of it.
func TestNewRegionIsReachedByThoseThatListIt(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	w.run(3 * time.Second)
	a.write("x")
	if rep := a.ask(core.AddRegion{Region: "d", Address: "d:1"}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	w.run(2 * time.Second)
	d := w.add("d", "d", "nobody")
	s := w.add("s", "s", "d") // has heard of d, and is no member
	if !d.core.Open() {
		t.Fatal("it is not open")
	}
	for _, n := range []*node{a, s} {
		n.step(core.LinkUp{Peer: "d"})
		d.step(core.LinkUp{Peer: n.name})
		w.deliver(n, d)
	}
	if len(d.closed) != 1 || d.closed[0].Peer != "s" || !errors.Is(d.closed[0].Err, core.ErrNotMember) {
		t.Errorf("it closes %v", d.closed)
	}
	d.step(core.LinkDown{Peer: "s"})
	w.run(3 * time.Second)
	d.write("z")
	if got := d.core.Members(); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("its members are %v", got)
	}
	w.link(b, d)
	w.run(2 * time.Second)
	if !b.core.Have().Equal(d.core.Have()) {
		t.Errorf("b has %v, d %v", b.core.Have(), d.core.Have())
	}
}

// A region that takes a snapshot belongs to a cluster, of which it knows nothing yet: who meets
// nobody else is not the first of a new one.
func TestNewRegionThatMeetsACopyingOneFoundsNothing(t *testing.T) {
	for _, copying := range []bool{false, true} {
		w := newCluster(t)
		d := w.add("d", "d", "x")
		d.step(core.LinkUp{Peer: "x"})
		d.step(core.Received{Peer: "x", Message: wire.Hello{
			MinVersion: wire.MinVersion, MaxVersion: wire.Version, Cluster: "test", Region: "x", Replica: crdt.ReplicaID{9}, Copying: copying,
		}})
		w.run(time.Minute)
		if err := d.fx.Writable; errors.Is(err, core.ErrCatchingUp) != copying {
			t.Errorf("x takes a snapshot: %v, d takes writes: %v", copying, err)
		}
	}
}

// Members that were added and have not joined do not keep others out.
func TestSeveralRegionsAreAddedBeforeTheFirstJoins(t *testing.T) {
	w := newCluster(t, "a", "b")
	w.run(3 * time.Second)
	for _, name := range []string{"d", "e", "f", "g"} {
		if rep := w.nodes["a"].ask(core.AddRegion{Region: name, Address: name + ":1"}); rep.Err != nil {
			t.Fatal(rep.Err)
		}
		w.run(time.Second)
	}
	for _, n := range w.sorted() {
		if p := n.core.Pending(); len(p) > 0 {
			t.Errorf("%s does not let %v in", n.name, p)
		}
	}
}
