package core_test

import (
	"slices"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/core"
)

// Two ask for the removal of a region at a time, one by force and the other one so that it is
// asked to leave first: what some freeze for stays due, whichever was later.
func TestRemovalThatIsDueStaysDue(t *testing.T) {
	for _, by := range [][2]string{{"a", "b"}, {"b", "a"}} {
		w := newCluster(t, "a", "b", "c", "d", "e")
		w.run(3 * time.Second)
		w.nodes["a"].write("things")
		w.run(2 * time.Second)
		w.nodes[by[0]].forced("e")
		rep := w.nodes[by[1]].ask(core.RemoveRegion{Region: "e"})
		if rep.Err != nil {
			t.Fatal(rep.Err)
		}
		if r, _ := rep.Result.(core.RemovalReceipt); !r.Removal.Waits {
			t.Fatalf("%s does not ask e to leave: %+v", by[1], r)
		}
		for _, n := range w.sorted() {
			if e := w.nodes["e"]; n != e {
				w.cut(n, e)
			}
		}
		w.run(5 * time.Second)
		for _, name := range []string{"a", "b", "c", "d"} {
			if got := w.nodes[name].core.Members(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
				t.Errorf("by force in %s, then in %s: the members in %s are %v", by[0], by[1], name, got)
			}
		}
	}
}
