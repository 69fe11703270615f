package core_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
)

// forced asks a region to remove others by force.
func (n *node) forced(names ...string) {
	n.w.t.Helper()
	for _, name := range names {
		if rep := n.ask(core.RemoveRegion{Region: name, Force: true}); rep.Err != nil {
			n.w.t.Fatalf("%s removes %s: %v", n.name, name, rep.Err)
		}
	}
}

// putBack starts regions on older copies of their stores, while the others are gone.
func (w *cluster) putBack(images map[string]*memstore.Store) {
	for _, n := range w.sorted() {
		for _, o := range w.sorted() {
			w.unlink(n, o)
		}
	}
	for _, n := range w.sorted() {
		if images[n.name] == nil {
			delete(w.nodes, n.name)
		}
	}
	for _, n := range w.sorted() {
		n.start(images[n.name])
	}
}

// Stores that were put back wait for those who could vouch for them. If these are gone for
// good an operator gives them up, in one region: the others are vouched for by that one.
func TestRegionsThatWerePutBackGiveUpThoseThatAreGone(t *testing.T) {
	for _, left := range [][]string{{"a"}, {"a", "b"}} {
		w := newCluster(t, "a", "b", "c", "d")
		w.run(3 * time.Second)
		w.nodes["a"].write("x")
		w.run(2 * time.Second)
		images := map[string]*memstore.Store{}
		for _, name := range left {
			images[name] = w.nodes[name].st.Clone()
		}
		w.putBack(images)
		a := w.nodes["a"]
		gone := slices.DeleteFunc([]string{"b", "c", "d"}, func(s string) bool { return images[s] != nil })
		if rep := a.ask(core.RemoveRegion{Region: "d", Force: true}); !errors.Is(rep.Err, core.ErrCatchingUp) {
			t.Errorf("%v: a has just started, and gives d up: %v", left, rep.Err)
		}
		w.run(10 * time.Second)
		if rep := a.ask(core.RemoveRegion{Region: "d"}); !errors.Is(rep.Err, core.ErrCatchingUp) {
			t.Errorf("%v: without force a gives d up: %v", left, rep.Err)
		}
		a.forced(gone[1:]...)
		w.run(2 * time.Second)
		if !errors.Is(a.fx.Writable, core.ErrCatchingUp) {
			t.Errorf("%v: a waits for %s no more, which nobody gave up: %v", left, gone[0], a.fx.Writable)
		}
		a.forced(gone[0])
		w.run(2 * time.Second)
		for _, n := range w.sorted() {
			n.write("y-" + n.name)
			if got := n.core.Members(); !slices.Equal(got, left) {
				t.Errorf("%v: the members in %s are %v", left, n.name, got)
			}
		}
	}
}

// A region that had told what nobody else has, and is gone, keeps those from writing that it
// had told it before they had ever written.
func TestRegionsGiveUpWhatTheyWereToldOf(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	w.run(time.Second)
	c.write("x")
	image := a.st.Clone()
	w.unlink(a, c)
	w.unlink(a, b)
	a.start(image)
	w.deliver(c, a) // its hello, and no more
	w.unlink(a, c)
	w.unlink(b, c)
	delete(w.nodes, "c")
	w.run(10 * time.Second)
	if !errors.Is(a.fx.Writable, core.ErrCatchingUp) {
		t.Fatalf("a does not wait for what c has: %v", a.fx.Writable)
	}
	a.forced("c")
	w.run(2 * time.Second)
	a.write("y")
	w.run(2 * time.Second)
	if got := b.core.Members(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the members in b are %v", got)
	}
}

// A region that is heard is not given up: it may yet vouch. Nor does a region give up others
// that has nothing itself.
func TestRegionsThatAreHeardAreNotGivenUp(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	w.run(3 * time.Second)
	w.nodes["a"].write("x")
	w.run(2 * time.Second)
	w.putBack(map[string]*memstore.Store{"a": w.nodes["a"].st.Clone(), "b": w.nodes["b"].st.Clone()})
	w.run(10 * time.Second)
	if rep := w.nodes["a"].ask(core.RemoveRegion{Region: "b", Force: true}); !errors.Is(rep.Err, core.ErrCatchingUp) {
		t.Errorf("a gives up b, which it hears: %v", rep.Err)
	}
	w.putBack(map[string]*memstore.Store{"a": memstore.New()})
	w.run(10 * time.Second)
	if rep := w.nodes["a"].ask(core.RemoveRegion{Region: "b", Force: true}); !errors.Is(rep.Err, core.ErrCatchingUp) {
		t.Errorf("an empty region gives up all that there is: %v", rep.Err)
	}
}

// Who gave a region up, and takes writes at last, does not remove it if others have done
// that, and added it again.
func TestRegionThatCameBackIsGivenUpNoMore(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	a, b, c, d := w.nodes["a"], w.nodes["b"], w.nodes["c"], w.nodes["d"]
	w.run(3 * time.Second)
	if rep := a.ask(core.AddRegion{Region: "e", Address: "e:1"}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	w.run(2 * time.Second)
	cut := func(n *node, from ...*node) {
		for _, o := range from {
			w.cut(n, o)
		}
	}
	cut(c, a, b, d)
	cut(d, a, b)
	c.write("y")
	d.write("x")
	// It is told of what c and d have alone, and no more.
	e := w.add("e", "a", "c", "d", "e")
	w.deliver(c, e)
	w.deliver(d, e)
	cut(e, c, d)
	w.run(10 * time.Second)
	e.forced("d")
	w.run(time.Second)
	if !errors.Is(e.fx.Writable, core.ErrCatchingUp) {
		t.Fatalf("e does not wait for c: %v", e.fx.Writable)
	}
	cut(e, a, b)
	for _, o := range []*node{a, b} {
		delete(w.down, pairOf(c, o))
		w.link(c, o)
	}
	w.run(3 * time.Second)
	w.removeAndTakeBack("d")
	for _, n := range w.sorted() {
		n.write("z-" + n.name)
		if got := n.core.Members(); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
			t.Errorf("the members in %s are %v", n.name, got)
		}
	}
}

// A store that was put back to before it met anybody does not know whether there is a cluster: it does
// not give up the one region that could tell.
func TestRegionThatHoldsNothingOfOthersGivesUpNobody(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	w.cut(a, b)
	w.run(3 * time.Second)
	a.write("x")
	image := a.st.Clone()
	delete(w.down, pairOf(a, b))
	w.link(a, b)
	w.run(5 * time.Second)
	w.putBack(map[string]*memstore.Store{"a": image})
	w.run(10 * time.Second)
	rep := a.ask(core.RemoveRegion{Region: "b", Force: true})
	if !errors.Is(rep.Err, core.ErrCatchingUp) || !strings.Contains(rep.Err.Error(), "a cluster of its own") {
		t.Errorf("a gives b up: %v", rep.Err)
	}
	a.members = []string{"a"}
	a.start(a.st)
	w.run(10 * time.Second)
	a.write("y")
}
