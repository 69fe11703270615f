package region_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// removed lets region c die with what it has not told anybody, and removes it.
func (c *cluster) removed(unseen func()) {
	c.t.Helper()
	c.die("c", unseen)
	back := c.without("c")
	c.settle(5 * time.Second)
	c.remove("a", "c", false)
	c.settle(5 * time.Second)
	c.allStable(10 * time.Second)
	back()
	c.cutOff("c", false)
}

// back takes region c back with the store that it has, and waits until it has brought in
// what it had.
func (c *cluster) back() *region.RejoinStatus {
	c.t.Helper()
	c.run("c")
	time.Sleep(5 * time.Second)
	if _, err := c.regions["a"].AddRegion(c.t.Context(), core.AddRegion{Region: "c", Address: "c:1"}); err != nil {
		c.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		st, err := c.regions["c"].Cluster(c.t.Context())
		if err == nil && c.regions["c"].Ready() == nil && st.Removed == "" && (st.Rejoin == nil || st.Rejoin.Left == 0) {
			c.settle(5 * time.Second)
			return st.Rejoin
		}
		if time.Now().After(end) {
			c.t.Fatalf("c does not come back: %v %+v %v", c.regions["c"].Ready(), st.Rejoin, err)
		}
	}
}

// everywhere looks at a document in all regions.
func (c *cluster) everywhere(col, id string, look func(name string, d region.Document)) {
	c.t.Helper()
	for _, n := range c.names {
		look(n, c.get(n, col, id))
	}
}

// kept is what the collection of things that have no place has of a document.
func (c *cluster) kept(col, id string) map[string]any {
	c.t.Helper()
	d, err := c.regions["a"].Get(c.t.Context(), core.SetAside, "c:"+col+":"+id)
	if err != nil || !d.View.Exists {
		c.t.Fatalf("%s/%s was not set aside: %v", col, id, err)
	}
	return d.View.Value.(map[string]any)
}

func counterOf(d region.Document) value.Counter {
	m, _ := d.View.Value.(map[string]any)
	n, _ := m["n"].(value.Counter)
	return n
}

// What a store had and no other is made anew once, whatever copies of it come back.
func TestCopyOfARemovedStoreBringsInNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("c", "things", "1", map[string]any{"n": value.Counter(1)})
		c.settle(5 * time.Second)
		c.removed(func() { c.edit("c", "things", "1", ops(`[{"op":"inc","path":"/n","value":10}]`)) })
		copied := c.stores["c"].Clone()
		if s := c.back(); s == nil || s.Documents != 1 {
			t.Errorf("c has brought in %+v", s)
		}
		back := c.without("c")
		c.remove("a", "c", false) // it leaves
		c.settle(5 * time.Second)
		back()
		c.stops["c"]()
		time.Sleep(10 * time.Second)
		c.stores["c"] = copied
		if s := c.back(); s != nil && s.Documents != 0 {
			t.Errorf("the copy has brought in %+v", s)
		}
		c.everywhere("things", "1", func(name string, d region.Document) {
			if n := counterOf(d); n != 11 {
				t.Errorf("%s counts %d, want 11", name, n)
			}
		})
	})
}

// Two regions that were cut off together have what they wrote both; when both come back at
// the same moment one of them brings it in.
func TestTwoRemovedStoresBringInNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c", "d", "e")
		defer c.stop()
		c.put("a", "things", "1", map[string]any{"n": value.Counter(1), "list": []any{}})
		c.settle(5 * time.Second)
		for _, near := range []string{"a", "b", "c"} {
			c.net.Cut(near, "d")
			c.net.Cut(near, "e")
		}
		c.edit("d", "things", "1", ops(`[{"op":"inc","path":"/n","value":10},{"op":"insert","path":"/list/0","value":"d"}]`))
		c.edit("e", "things", "1", ops(`[{"op":"inc","path":"/n","value":100},{"op":"insert","path":"/list/0","value":"e"}]`))
		time.Sleep(5 * time.Second) // both have both
		for _, far := range []string{"d", "e"} {
			c.stops[far]()
			c.stops[far] = func() {}
		}
		time.Sleep(10 * time.Second)
		withD := c.without("d")
		withE := c.without("e")
		if _, err := c.regions["a"].RemoveRegion(t.Context(), core.RemoveRegion{Region: "d"}); err != nil {
			t.Fatal(err)
		}
		c.remove("a", "e", false)
		c.remove("a", "d", false)
		c.settle(5 * time.Second)
		c.allStable(10 * time.Second)
		withE()
		withD()
		c.cutOff("d", false)
		c.cutOff("e", false)
		c.run("d")
		c.run("e")
		time.Sleep(5 * time.Second)
		for _, far := range []string{"d", "e"} {
			if _, err := c.regions["a"].AddRegion(t.Context(), core.AddRegion{Region: far, Address: far + ":1"}); err != nil {
				t.Fatal(err)
			}
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			st, err := c.regions["d"].Cluster(t.Context())
			left := err != nil || c.regions["d"].Ready() != nil || st.Rejoin != nil && st.Rejoin.Left > 0
			st, err = c.regions["e"].Cluster(t.Context())
			if !left && err == nil && c.regions["e"].Ready() == nil && (st.Rejoin == nil || st.Rejoin.Left == 0) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("d and e do not come back: %v %v", c.regions["d"].Ready(), c.regions["e"].Ready())
			}
		}
		c.settle(5 * time.Second)
		c.everywhere("things", "1", func(name string, d region.Document) {
			if list := d.View.Value.(map[string]any)["list"].([]any); counterOf(d) != 111 || len(list) != 2 {
				t.Errorf("%s counts %d and lists %v, want 111 and two", name, counterOf(d), list)
			}
		})
	})
}

// The share of a removed region is kept for it, and it comes back with it: no bound is
// left, and what would leave it is set aside.
func TestRemovedRegionKeepsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.settings("stock", `{"bounds":{"/n":{"min":0}},"delete":"wins"}`)
		c.put("c", "stock", "1", map[string]any{"n": value.Counter(10)})
		c.settle(5 * time.Second)
		c.removed(func() { c.edit("c", "stock", "1", ops(`[{"op":"inc","path":"/n","value":-4}]`)) })
		// All of it was c's, and 4 are gone that nobody knows of.
		_, err := c.regions["a"].Write(t.Context(), core.Write{Docs: []core.DocWrite{{Collection: "stock", ID: "1", Edit: ops(`[{"op":"inc","path":"/n","value":-8}]`)}}})
		if !errors.Is(err, core.ErrNoShare) {
			t.Errorf("a spends what c had: %v", err)
		}
		if s := c.back(); s == nil || s.Documents != 1 || s.SetAside != 0 {
			t.Errorf("c has brought in %+v", s)
		}
		c.edit("c", "stock", "1", ops(`[{"op":"inc","path":"/n","value":-6}]`))
		c.settle(5 * time.Second)
		c.everywhere("stock", "1", func(name string, d region.Document) {
			if n := counterOf(d); n != 0 {
				t.Errorf("%s counts %d, want 0", name, n)
			}
		})
	})
}

// A strict home of a removed region is claimed by another without it; what it had taken there
// and nobody else has is set aside, since the new home decides.
func TestHomeOfARemovedRegionIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.settings("seats", `{"home":{"region":"c","mode":"strict"}}`)
		time.Sleep(5 * time.Second)
		c.put("c", "seats", "1", map[string]any{"who": "ann"})
		c.settle(5 * time.Second)
		c.removed(func() { c.put("c", "seats", "1", map[string]any{"who": "bob"}) })
		write := core.Write{Docs: []core.DocWrite{{Collection: "seats", ID: "1", Edit: put(`{"who":"eve"}`)}}}
		if _, err := c.regions["a"].Write(t.Context(), write); !errors.Is(err, core.ErrNotHome) {
			t.Errorf("a takes a write without being the home: %v", err)
		}
		if _, err := c.regions["a"].SetHome(t.Context(), core.SetHome{Collection: "seats", Region: "a"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := c.regions["a"].Write(t.Context(), write); err != nil {
			t.Errorf("a is not the home: %v", err)
		}
		if s := c.back(); s == nil || s.SetAside != 1 {
			t.Errorf("c has brought in %+v", s)
		}
		c.everywhere("seats", "1", func(name string, d region.Document) {
			if who := d.View.Value.(map[string]any)["who"]; who != "eve" {
				t.Errorf("%s shows %v", name, who)
			}
		})
		if k := c.kept("seats", "1"); k["value"].(map[string]any)["who"] != "bob" || !strings.Contains(k["reason"].(string), "home") {
			t.Errorf("set aside is %v", k)
		}
	})
}

// A deletion that wins takes what was written without having seen it, also when that comes with
// a store that was removed; it is set aside. If the document was written anew
// meanwhile, and the deletion is forgotten, both are there.
func TestDeletionWinsOverARemovedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.settings("drafts", `{"delete":"wins"}`)
		for _, id := range []string{"gone", "again"} {
			c.put("a", "drafts", id, map[string]any{"x": int64(0)})
		}
		c.settle(5 * time.Second)
		c.removed(func() {
			c.put("c", "drafts", "gone", map[string]any{"x": int64(1)})
			c.put("c", "drafts", "again", map[string]any{"x": int64(1)})
			c.edit("a", "drafts", "gone", crdt.Edit{Kind: crdt.EditDelete})
			c.edit("a", "drafts", "again", crdt.Edit{Kind: crdt.EditDelete})
			c.put("a", "drafts", "again", map[string]any{"x": int64(2)})
		})
		c.back()
		if x := c.kept("drafts", "gone")["value"].(map[string]any)["x"]; x != int64(1) {
			t.Errorf("x was set aside as %v", x)
		}
		c.everywhere("drafts", "again", func(name string, d region.Document) {
			if len(d.View.Conflicts) != 1 || len(d.View.Conflicts[0].Versions) != 2 {
				t.Errorf("%s shows %+v", name, d.View)
			}
		})
	})
}

// The changes of an Automerge document are taken as they are: text merges with
// what others wrote meanwhile.
func TestRemovedStoreBringsInText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.settings("notes", `{"type":"automerge"}`)
		c.edit("a", "notes", "both", ops(`[{"op":"set","path":"/t","value":{"$text":"one two"}}]`))
		c.edit("a", "notes", "gone", ops(`[{"op":"set","path":"/t","value":{"$text":"one two"}}]`))
		c.settle(5 * time.Second)
		c.removed(func() {
			c.edit("c", "notes", "both", ops(`[{"op":"splice","path":"/t","index":7,"insert":" three"}]`))
			c.edit("c", "notes", "gone", ops(`[{"op":"splice","path":"/t","index":7,"insert":" three"}]`))
			c.edit("c", "notes", "mine", ops(`[{"op":"set","path":"/t","value":{"$text":"new"}}]`))
			c.edit("a", "notes", "both", ops(`[{"op":"splice","path":"/t","index":0,"insert":"zero "}]`))
			c.edit("a", "notes", "gone", crdt.Edit{Kind: crdt.EditDelete})
		})
		if s := c.back(); s == nil || s.Documents != 3 || s.SetAside != 0 {
			t.Errorf("c has brought in %+v", s)
		}
		for id, want := range map[string]string{"both": "zero one two three", "gone": "one two three", "mine": "new"} {
			c.everywhere("notes", id, func(name string, d region.Document) {
				if got := string(value.Append(nil, d.View.Value, value.Options{})); got != `{"t":"`+want+`"}` {
					t.Errorf("%s shows %s of %s, want %q", name, got, id, want)
				}
			})
		}
	})
}
