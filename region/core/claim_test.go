package core_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
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
	for _, far := range []string{"d", "e"} {
		for _, near := range []string{"a", "b", "c"} {
			w.down[[2]string{near, far}] = true
			w.unlink(w.nodes[near], w.nodes[far])
		}
	}
	d, e := w.nodes["d"], w.nodes["e"]
	d.put("1")
	e.put("2")
	w.run(2 * time.Second)
	w.down[pairOf(d, e)] = true
	w.unlink(d, e)
	w.run(5 * time.Second)
	a := w.nodes["a"]
	for _, name := range []string{"d", "e"} {
		if rep := a.ask(core.RemoveRegion{Region: name}); rep.Err != nil {
			t.Fatal(rep.Err)
		}
	}
	w.run(3 * time.Second)
	if got := a.core.Members(); len(got) != 3 {
		t.Fatalf("the members are %v", got)
	}
	clear(w.down)
	for _, name := range []string{"d", "e"} {
		if rep := a.ask(core.AddRegion{Region: name, Address: name + ":1"}); rep.Err != nil {
			t.Fatal(rep.Err)
		}
	}
	for range 40 {
		w.run(time.Second / 2)
		w.relink()
	}
	documents := 0
	for _, n := range []*node{d, e} {
		s := n.status()
		documents += s.Rebased.Documents
		if n.fx.Writable != nil || s.Rebased.Left != 0 || !n.core.Have().Equal(a.core.Have()) {
			t.Errorf("%s is not back: %v, %+v, have %v, a has %v", n.name, n.fx.Writable, s.Rebased, n.core.Have(), a.core.Have())
		}
	}
	if documents != 2 {
		t.Errorf("%d documents were brought in, two were written", documents)
	}
}
