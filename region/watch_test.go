package region_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
)

// What somebody says of a document is heard once in every region, along the links
// that there are, and nowhere else.
func TestPresenceReachesEachRegionOnce(t *testing.T) {
	for name, spec := range map[string]topology.Spec{"mesh": mesh, "ring": {Kind: topology.Ring}, "star": {Kind: topology.Star, Hub: "b"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 40*time.Millisecond, spec, "a", "b", "c", "d")
				defer c.stop()
				c.put("a", "things", "0", map[string]any{})
				c.settle(5 * time.Second)
				col, err := c.regions["a"].Collection("things")
				if err != nil {
					t.Fatal(err)
				}
				key := store.DocKey{Collection: col.Incarnation, ID: "0"}
				watchers := map[string]*region.Watcher{}
				for n, r := range c.regions {
					watchers[n] = r.NewWatcher()
					watchers[n].Watch(key)
					defer watchers[n].Close()
				}
				other := c.regions["b"].NewWatcher()
				other.Watch(store.DocKey{Collection: col.Incarnation, ID: "1"})
				defer other.Close()
				for _, text := range []string{"one", "two"} {
					watchers["a"].Say(key, []byte(text))
					time.Sleep(time.Second)
				}
				for n, w := range watchers {
					var heard []string
					for _, m := range w.Take().Heard {
						heard = append(heard, string(m.Data))
					}
					want := []string{"one", "two"}
					if n == "a" {
						want = nil
					}
					if !slices.Equal(heard, want) {
						t.Errorf("%s heard %q", n, heard)
					}
				}
				if n := other.Take(); len(n.Heard) > 0 {
					t.Errorf("who watches another document heard %v", n.Heard)
				}
			})
		})
	}
}

// A watcher is told of what is committed, by whomever, and not of other documents.
func TestWatchersHearOfCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		c.put("a", "things", "0", map[string]any{})
		c.settle(5 * time.Second)
		col, err := c.regions["b"].Collection("things")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // until nothing is left to be trimmed
		w := c.regions["b"].NewWatcher()
		key := store.DocKey{Collection: col.Incarnation, ID: "0"}
		w.Watch(key)
		before := c.regions["b"].Commits()
		c.put("a", "things", "1", map[string]any{})
		time.Sleep(time.Second)
		if n := w.Take(); len(n.Changed) > 0 {
			t.Errorf("it was told of %v", n.Changed)
		}
		c.put("a", "things", "0", map[string]any{"n": int64(1)})
		<-w.Signal()
		if n := w.Take(); !n.Changed[key] || n.Held || c.regions["b"].Commits() <= before {
			t.Errorf("%+v", n)
		}
		w.WatchHolders()
		receipt, err := c.regions["b"].Write(t.Context(), core.Write{Docs: []core.DocWrite{{
			Collection: "things", ID: "0", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(2)}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		held := c.regions["b"].Holders([]crdt.Dot{receipt.Dot})
		time.Sleep(time.Second)
		if later := c.regions["b"].Holders([]crdt.Dot{receipt.Dot}); len(held) > 0 || !slices.Equal(later, []string{"a"}) || !w.Take().Held {
			t.Errorf("held by %v, later by %v", held, later)
		}
		w.Close()
		c.put("a", "things", "0", map[string]any{"n": int64(3)})
		time.Sleep(time.Second)
		if n := w.Take(); len(n.Changed) > 0 {
			t.Error("a closed watcher is told of changes")
		}
	})
}
