package core_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport/wire"
)

// behindSnapshot makes a cluster in which c is away while b lost its store and took a
// snapshot of a: the log of b begins behind what c holds, that of a does not.
func behindSnapshot(t *testing.T) (w *cluster, a, b, c *node) {
	w = newCluster(t)
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "c"} {
		w.add(name, "a", "b", "c")
	}
	a, b, c = w.nodes["a"], w.nodes["b"], w.nodes["c"]
	w.run(3 * time.Second)
	for _, o := range []*node{a, b} {
		w.down[pairOf(c, o)] = true
		w.unlink(c, o)
	}
	for i := range 5 {
		a.write(fmt.Sprint("x", i))
		w.run(time.Second)
	}
	b.start(memstore.New())
	w.run(3 * time.Second)
	if !b.core.Have().Covers(a.core.Have()) || !slices.Equal(w.snapshots, [][2]string{{"b", "a"}}) {
		t.Fatalf("b has %v of %v, snapshots were asked for: %v", b.core.Have(), a.core.Have(), w.snapshots)
	}
	w.snapshots = nil
	w.down[pairOf(b, c)] = false
	w.link(b, c)
	return w, a, b, c
}

// A region that is behind the log of the first that it hears waits for another one's: its
// own copies of documents may be the last whole ones, and the log brings them up to date.
func TestI12_ASnapshotIsTakenOnlyIfNoLogDoes(t *testing.T) {
	w, a, b, c := behindSnapshot(t)
	w.run(core.LogPatience / 2)
	if len(w.snapshots) > 0 || c.core.Have().Covers(b.core.Have()) {
		t.Fatalf("c has %v, snapshots were asked for: %v", c.core.Have(), w.snapshots)
	}
	w.down[pairOf(a, c)] = false
	w.link(a, c)
	w.run(5 * time.Second)
	if len(w.snapshots) > 0 || !c.core.Have().Covers(a.core.Have()) {
		t.Errorf("c has %v of %v, snapshots were asked for: %v", c.core.Have(), a.core.Have(), w.snapshots)
	}
}

// One that does not come is not waited for for ever.
func TestI12_ASnapshotIsTakenIfTheLogStaysAway(t *testing.T) {
	w, _, b, c := behindSnapshot(t)
	w.run(core.LogPatience + 5*time.Second)
	if !slices.Equal(w.snapshots, [][2]string{{"c", "b"}}) || !c.core.Have().Covers(b.core.Have()) {
		t.Errorf("c has %v of %v, snapshots were asked for: %v", c.core.Have(), b.core.Have(), w.snapshots)
	}
}

// Nor is a removed region that asks again and again to be let in.
func TestI12_ASnapshotIsTakenThoughARemovedRegionAsks(t *testing.T) {
	w := newCluster(t)
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "c", "d"} {
		w.add(name, "a", "b", "c", "d")
	}
	a, b, c, d := w.nodes["a"], w.nodes["b"], w.nodes["c"], w.nodes["d"]
	w.run(3 * time.Second)
	w.removed("d")
	w.run(3 * time.Second)
	image := c.st.Clone()
	for i := range 5 {
		a.write(fmt.Sprint("x", i))
		c.write(fmt.Sprint("y", i))
		w.run(time.Second)
	}
	for _, o := range []*node{a, b} {
		w.unlink(c, o)
	}
	c.start(image)
	w.down[pairOf(a, d)], w.down[pairOf(b, d)], w.down[pairOf(c, d)] = false, false, false
	w.link(b, c)
	w.link(a, c)
	for range 100 {
		w.unlink(c, d)
		c.step(core.LinkUp{Peer: "d"})
		d.step(core.LinkUp{Peer: "c"})
		w.run(time.Second / 2)
	}
	if !c.core.Have().Covers(a.core.Have()) || len(w.snapshots) == 0 {
		t.Errorf("c has %v of %v, snapshots were asked for: %v", c.core.Have(), a.core.Have(), w.snapshots)
	}
}

// Regions that are equally far behind do not take snapshots of each other: both would clear
// their stores before either could give anything.
func TestI12_ASnapshotIsOfOneThatHoldsMore(t *testing.T) {
	w := newCluster(t)
	w.keep = core.Retention{Changes: 1}
	for _, name := range []string{"a", "b", "z"} {
		w.add(name, "a", "b", "z")
	}
	a, b, z := w.nodes["a"], w.nodes["b"], w.nodes["z"]
	w.run(3 * time.Second)
	oldA, oldB := a.st.Clone(), b.st.Clone()
	for i := range 5 {
		z.write(fmt.Sprint("x", i))
		w.run(3 * time.Second)
	}
	if cut := z.status().Log.Cut; cut.Get(z.core.Replica()) < 3 {
		t.Fatalf("the log of z is cut up to %v", cut)
	}
	all := a.core.Have()

	// a and b are put back, below the log of z, and a writes before it meets z.
	w.down[pairOf(a, z)], w.down[pairOf(b, z)] = true, true
	w.nodes = map[string]*node{"a": a, "b": b}
	a.startAs(oldA, true)
	b.startAs(oldB, true)
	w.run(3 * time.Second)
	a.write("y")
	w.run(time.Second)
	if have := b.core.Have(); have.Covers(all) || !have.Equal(a.core.Have()) {
		t.Fatalf("a has %v, b %v", a.core.Have(), have)
	}
	// They meet z, which does not get what a has written yet.
	w.down = map[[2]string]bool{}
	w.nodes["z"] = z
	for _, n := range []*node{a, b} {
		w.unlink(n, z)
		w.link(n, z)
	}
	for range 50 {
		for _, n := range []*node{a, b} {
			n.out["z"] = slices.DeleteFunc(n.out["z"], func(m wire.Message) bool {
				switch m.(type) {
				case wire.Changes, wire.CatchUp:
					return true
				}
				return false
			})
		}
		w.run(core.TickEvery)
	}
	for _, n := range []*node{a, b} {
		if s := n.status(); s.Snapshot != nil {
			t.Errorf("%s clears its store, and nobody has what it needs: %+v", n.name, s.Snapshot)
		}
	}
	w.unlink(a, z)
	w.link(a, z)
	w.run(10 * time.Second)
	for _, s := range w.snapshots {
		if s[1] != "z" {
			t.Errorf("%s takes a snapshot of %s", s[0], s[1])
		}
	}
	if have := z.core.Have(); len(w.snapshots) == 0 || !have.Covers(all) || !a.core.Have().Equal(have) || !b.core.Have().Equal(have) {
		t.Errorf("a has %v, b %v, z %v, snapshots were asked for: %v", a.core.Have(), b.core.Have(), have, w.snapshots)
	}
}
