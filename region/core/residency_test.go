package core_test

import (
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// makeVault makes a collection that some regions hold.
func (n *node) makeVault(regions ...string) {
	n.w.t.Helper()
	s := core.DefaultSettings()
	s.Regions = regions
	if rep := n.ask(core.PutCollection{Name: "vault", Settings: s}); rep.Err != nil {
		n.w.t.Fatal(rep.Err)
	}
}

// secret writes to it.
func (n *node) secret(id string) crdt.Dot {
	n.w.t.Helper()
	edit := crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(1)}}
	if rep := n.ask(core.Write{Docs: []core.DocWrite{{Collection: "vault", ID: id, Edit: edit}}}); rep.Err != nil {
		n.w.t.Fatal(rep.Err)
	}
	return crdt.Dot{Replica: n.core.Replica(), Seq: n.core.Have().Get(n.core.Replica())}
}

// What a change did is lost: b and d hold the vault, d's store went before b had it, and
// a had passed on its placeholder. They go on without it; but if a's store, too, was put back to
// before it had the placeholder, what the former one had sent is dropped like what waits
// in the inbox, whether the link is made anew or stands.
func TestI12_PlaceholdersOfAFormerStoreAreDropped(t *testing.T) {
	for name, tt := range map[string]struct{ putBack, unaware bool }{
		"it stays": {}, "a link anew": {putBack: true}, "a link that stands": {putBack: true, unaware: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCluster(t, "a", "b", "d")
			a, b, d := w.nodes["a"], w.nodes["b"], w.nodes["d"]
			w.run(3 * time.Second)
			d.makeVault("b", "d")
			w.run(2 * time.Second)
			oldA, oldD := a.st.Clone(), d.st.Clone()
			a.write("known")
			w.run(2*time.Second, d)

			w.down[pairOf(b, d)] = true
			w.unlink(b, d)
			x := d.secret("x")
			w.deliver(d, a)
			d.start(oldD)
			w.run(3 * time.Second)
			if !a.core.Have().Contains(x) || b.core.Have().Contains(x) || d.core.Have().Contains(x) {
				t.Fatalf("%v: a has %v, b %v, d %v", x, a.core.Have(), b.core.Have(), d.core.Have())
			}
			if tt.putBack {
				former := a.core.Replica()
				a.startAs(oldA, tt.unaware)
				if tt.unaware != (a.core.Replica() == former) {
					t.Fatal("it knows by itself that it was put back, or does not")
				}
				w.run(3 * time.Second)
				if a.core.Replica() == former || !b.core.Have().Contains(crdt.Dot{Replica: a.core.Replica(), Seq: 1}) {
					t.Fatal("b does not know the new replica of a")
				}
			}
			delete(w.down, pairOf(b, d))
			w.link(b, d)
			w.run(30 * time.Second)
			for _, n := range []*node{b, d} {
				if lost := n.core.Have().Contains(x); lost == tt.putBack {
					t.Errorf("%s has %v: %v", n.name, x, lost)
				}
			}
		})
	}
}

// The same where the placeholder reaches one holder only, as there is no link between
// the other one and who has it: they need not wait for that.
func TestLostBodyIsGivenUpWhereOneHolderHasNotEvenThePlaceholder(t *testing.T) {
	w := newCluster(t, "a", "b", "d")
	a, b, d := w.nodes["a"], w.nodes["b"], w.nodes["d"]
	w.run(3 * time.Second)
	d.makeVault("b", "d")
	w.run(2 * time.Second)
	old := d.st.Clone()
	w.down[pairOf(b, d)] = true
	w.unlink(b, d)
	x := d.secret("x")
	w.deliver(d, a)
	w.down[pairOf(a, d)] = true
	delete(w.down, pairOf(b, d))
	d.start(old)
	w.run(30 * time.Second)
	a.write("y")
	w.run(3 * time.Second)
	for _, n := range []*node{b, d} {
		if have := n.core.Have(); !have.Contains(x) || !have.Covers(a.core.Have()) {
			t.Errorf("%s has %v of %v, %v is lost", n.name, have, a.core.Have(), x)
		}
	}
}
