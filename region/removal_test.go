package region_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// without leaves a region out of those that a cluster's helpers look at.
func (c *cluster) without(name string) func() {
	all := c.names
	c.names = nil
	for _, n := range all {
		if n != name {
			c.names = append(c.names, n)
		}
	}
	return func() { c.names = all }
}

// remove removes a region, and waits until that is complete everywhere else.
func (c *cluster) remove(at, name string, force bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r, err := c.regions[at].RemoveRegion(c.t.Context(), core.RemoveRegion{Region: name, Force: force})
		if err != nil {
			c.t.Fatal(err)
		}
		if r.Removal.Done {
			break
		}
		if time.Now().After(end) {
			c.t.Fatalf("the removal of %s waits for %v", name, r.Waiting)
		}
	}
}

// allStable waits until all is stable that the first region holds.
func (c *cluster) allStable(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(100 * time.Millisecond) {
		st, err := c.regions[c.names[0]].Cluster(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		if maps.Equal(st.Stable, st.Vector) && maps.Equal(st.Held, st.Vector) {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("after %v stable is %+v, held %+v of %+v", d, st.Stable, st.Held, st.Vector)
		}
	}
}

// cutOff cuts all links of a region.
func (c *cluster) cutOff(name string, cut bool) {
	for _, n := range c.names {
		if n != name && cut {
			c.net.Cut(name, n)
		} else if n != name {
			c.net.Heal(name, n)
		}
	}
}

// die lets a region end without any word, with writes that nobody else has.
func (c *cluster) die(name string, unseen func()) {
	c.t.Helper()
	c.cutOff(name, true)
	unseen()
	c.stops[name]()
	c.stops[name] = func() {}
	time.Sleep(10 * time.Second) // it is not heard any more
}

// What a region that is gone for good held back goes on without it (I12): what
// is stable, and the end of the log.
func TestI12_RemovedRegionHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("c", "things", "1", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		c.die("c", func() {})
		defer c.without("c")()
		c.put("a", "things", "2", map[string]any{"n": int64(2)})
		c.settle(5 * time.Second)
		c.remove("a", "c", false)
		c.settle(5 * time.Second)
		c.allStable(10 * time.Second)
		for _, n := range c.names {
			if m := strings.Join(c.regions[n].Members(), " "); m != "a b" {
				t.Errorf("the members in %s are %s", n, m)
			}
		}
	})
}

// A region that can be heard hands over all that it took before it goes.
func TestRegionThatIsHeardLeavesWithNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.linked()
		var last core.Receipt
		for i := range 50 {
			last = c.put("c", "things", "1", map[string]any{"n": int64(i)})
		}
		c.remove("a", "c", false)
		_, err := c.regions["c"].Write(t.Context(), core.Write{Docs: []core.DocWrite{{Collection: "things", ID: "2", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}}}}})
		if !errors.Is(err, core.ErrRemoved) {
			t.Errorf("c goes on to write: %v", err)
		}
		back := c.without("c")
		c.settle(5 * time.Second)
		c.allStable(10 * time.Second)
		back()
		if !c.regions["b"].Have().Contains(last.Dot) {
			t.Errorf("b lacks %v", last.Dot)
		}
	})
}

// What is refused: no majority, oneself, a stranger; and removal by force.
func TestRemovalIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		a := c.regions["a"]
		for name, want := range map[string]error{"a": core.ErrInvalid, "x": core.ErrNotMember, "b": core.ErrNoMajority} {
			if _, err := a.RemoveRegion(t.Context(), core.RemoveRegion{Region: name}); !errors.Is(err, want) {
				t.Errorf("removing %s: %v, want %v", name, err, want)
			}
		}
		c.remove("a", "b", true)
		if m := strings.Join(a.Members(), " "); m != "a" {
			t.Errorf("the members are %s", m)
		}
		c.put("a", "things", "1", map[string]any{})
	})
}

// The store of a removed region is refused until the region is added again. Then
// it comes back as a new replica, and what only it had is written anew: none is lost.
func TestI02_RemovedStoreComesBackAsANewReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.settings("reg", `{"type":"register","policy":"siblings"}`)
		c.put("a", "things", "both", map[string]any{"x": int64(0), "n": value.Counter(1), "list": []any{"one"}})
		c.put("a", "things", "theirs", map[string]any{"x": int64(0)})
		c.put("a", "things", "gone", map[string]any{"x": int64(0), "y": "kept"})
		c.put("a", "reg", "r", map[string]any{"x": int64(0)})
		c.settle(5 * time.Second)
		var unseen core.Receipt
		c.die("c", func() {
			c.put("c", "things", "both", map[string]any{"x": int64(1), "n": int64(11), "list": []any{"one", "c"}, "c": true})
			c.put("c", "things", "mine", map[string]any{"x": int64(1)})
			c.put("c", "things", "gone", map[string]any{"x": int64(1), "y": "kept"})
			c.put("c", "fresh", "1", map[string]any{"x": int64(1)})
			c.put("c", "things", "both", map[string]any{"x": int64(2), "n": int64(12), "list": []any{"one", "c"}, "c": true})
			unseen = c.put("c", "reg", "r", map[string]any{"c": int64(1)})
		})
		back := c.without("c")
		c.put("a", "things", "both", map[string]any{"x": int64(7), "n": int64(101), "list": []any{"a", "one"}, "a": true})
		c.put("b", "things", "theirs", map[string]any{"x": int64(7)})
		c.put("a", "reg", "r", map[string]any{"a": int64(1)})
		if _, err := c.regions["a"].Write(t.Context(), core.Write{Docs: []core.DocWrite{{Collection: "things", ID: "gone", Edit: crdt.Edit{Kind: crdt.EditDelete}}}}); err != nil {
			t.Fatal(err)
		}
		c.settle(5 * time.Second)
		c.remove("a", "c", false)
		c.settle(5 * time.Second)
		c.allStable(10 * time.Second) // what was concurrent is trimmed
		if err := c.regions["a"].Lost(unseen.Have); !errors.Is(err, core.ErrWriteLost) {
			t.Errorf("the write of c is not lost: %v", err)
		}
		back()

		c.cutOff("c", false)
		c.run("c")
		time.Sleep(5 * time.Second)
		st, err := c.regions["c"].Cluster(t.Context())
		if err != nil || !strings.Contains(st.Removed, "region add c") {
			t.Errorf("c says %q: %v", st.Removed, err)
		}
		if err := c.regions["c"].Ready(); !errors.Is(err, core.ErrRemoved) {
			t.Errorf("c is ready: %v", err)
		}
		if _, err := c.regions["b"].AddRegion(t.Context(), core.AddRegion{Region: "c", Address: "c:1"}); err != nil {
			t.Fatal(err)
		}
		c.settle(30 * time.Second)
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			st, err = c.regions["c"].Cluster(t.Context())
			if err == nil && st.Rejoin != nil && st.Rejoin.Left == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("c has not brought in what it had: %+v %v", st.Rejoin, err)
			}
		}
		c.settle(5 * time.Second)
		if st.Replica == unseen.Dot.Replica.String() || st.Removed != "" || st.Rejoin.SetAside != 0 {
			t.Errorf("c is %v, removed %q, %+v", st.Replica, st.Removed, st.Rejoin)
		}
		for _, n := range c.names {
			both := c.get(n, "things", "both").View
			v := both.Value.(map[string]any)
			if v["n"] != value.Counter(112) || v["a"] != true || v["c"] != true || len(v["list"].([]any)) != 3 {
				t.Errorf("%s shows %v", n, v)
			}
			if len(both.Conflicts) != 1 || both.Conflicts[0].Path != "/x" || len(both.Conflicts[0].Versions) != 2 {
				t.Errorf("%s has the conflicts %+v", n, both.Conflicts)
			}
			for id, x := range map[string]int64{"theirs": 7, "mine": 1, "gone": 1} {
				if got := c.get(n, "things", id).View.Value.(map[string]any)["x"]; got != x {
					t.Errorf("%s of %s is %v in %s, want %d", "x", id, got, n, x)
				}
			}
			if got := c.get(n, "things", "gone").View.Value.(map[string]any)["y"]; got != "kept" {
				t.Errorf("y of gone is %v in %s", got, n)
			}
			if d := c.get(n, "fresh", "1"); !d.View.Exists {
				t.Errorf("%s lacks what was written to a collection that only c had", n)
			}
			if d := c.get(n, "reg", "r"); len(d.Versions) != 2 {
				t.Errorf("%s has the versions %+v of the register", n, d.Versions)
			}
		}
		if st, err := c.regions["a"].Cluster(t.Context()); err != nil || len(st.Members) != 3 || st.Members[2].State != region.MemberActive {
			t.Errorf("a lists %+v: %v", st.Members, err)
		}
		c.allStable(10 * time.Second)
	})
}
