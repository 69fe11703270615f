package region_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport/memnet"
)

// vault makes a collection that a and b hold, with a document.
func (c *cluster) vault() {
	c.t.Helper()
	c.settings("vault", `{"regions":["a","b"]}`)
	c.put("a", "vault", "old", map[string]any{"n": int64(1)})
	c.settle(5 * time.Second)
}

// What nobody has any more is given up also where a link is silent now and then, for
// longer than one that is taken for dead.
func TestLostBodyIsGivenUpOverALinkThatIsSilentNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.vault()
		old := c.stores["a"].Clone()
		c.net.Cut("a", "b")
		lost := c.put("a", "vault", "lost", map[string]any{"n": int64(2)})
		if err := c.regions["c"].Wait(t.Context(), lost.Have); err != nil { // it has the placeholder
			t.Fatal(err)
		}
		c.stops["a"]()
		c.stores["a"] = old
		c.net.Heal("a", "b")
		c.run("a")
		for end := time.Now().Add(time.Minute); !c.regions["b"].Have().Contains(lost.Dot) || c.regions["a"].Ready() != nil; {
			if time.Now().After(end) {
				t.Fatalf("a holds %v, %v; b holds %v", c.regions["a"].Have(), c.regions["a"].Ready(), c.regions["b"].Have())
			}
			c.net.SetBoth("a", "b", memnet.Condition{Delay: 2800 * time.Millisecond})
			time.Sleep(3 * time.Second)
			c.net.SetBoth("a", "b", memnet.Condition{Delay: time.Millisecond})
			time.Sleep(3 * time.Second)
		}
		c.settle(10 * time.Second)
		for _, n := range []string{"a", "b"} {
			c.get(n, "vault", "old")
			if d := c.get(n, "vault", "lost"); d.View.Exists {
				t.Errorf("%s has %v", n, d.View.Value)
			}
		}
	})
}

// A body that a holder still has is not given up, however long the others want it.
func TestBodyThatAHolderHasIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.vault()
		c.net.Cut("a", "b")
		late := c.put("a", "vault", "late", map[string]any{"n": int64(2)})
		time.Sleep(5 * time.Minute)
		if c.regions["b"].Have().Contains(late.Dot) {
			t.Error("b goes on without what it cannot get")
		}
		c.net.Heal("a", "b")
		c.settle(10 * time.Second)
		c.get("b", "vault", "late")
	})
}

// If all that held a collection lose their stores, they do not wait for each other.
func TestHoldersThatAllLostTheirStoresGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.vault()
		c.retention = core.Retention{Changes: 1, Age: time.Second}
		for _, n := range c.names {
			c.stops[n]()
			c.run(n)
		}
		c.settle(time.Minute)
		for i := range 20 {
			c.put("a", "open", fmt.Sprint(i), map[string]any{"n": int64(i)})
		}
		time.Sleep(time.Minute) // the logs are cut
		for _, n := range []string{"a", "b"} {
			c.stops[n]()
			c.stores[n] = memstore.New()
		}
		for _, n := range []string{"a", "b"} {
			c.run(n)
		}
		c.settle(time.Minute)
		if d := c.get("a", "vault", "old"); d.View.Exists {
			t.Errorf("what nobody has is there: %v", d.View.Value)
		}
		c.get("a", "open", "7")
		c.put("b", "vault", "new", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		c.get("a", "vault", "new")
	})
}

// A region that has met no other does not know who is to hold a collection, and that it
// will not need a snapshot, which would delete it.
func TestCollectionsOfSomeRegionsAreMadeAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b")
		defer c.stop()
		c.stops["a"]()
		c.stores["a"] = memstore.New()
		c.net.Cut("a", "b")
		c.run("a")
		time.Sleep(5 * time.Second) // it begins on its own
		c.put("a", "open", "1", map[string]any{"n": int64(1)})
		s, err := core.ParseSettings([]byte(`{"regions":["a"]}`))
		if err != nil {
			t.Fatal(err)
		}
		put := core.PutCollection{Name: "vault", Settings: s}
		if _, err := c.regions["a"].PutCollection(t.Context(), put); !errors.Is(err, core.ErrCatchingUp) {
			t.Errorf("alone it says %v", err)
		}
		c.net.Heal("a", "b")
		c.settle(time.Minute)
		if _, err := c.regions["a"].PutCollection(t.Context(), put); err != nil {
			t.Error(err)
		}
	})
}

// The only copy of a collection is not given up for a snapshot: it is kept through it.
func TestOnlyCopyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.retention = core.Retention{Changes: 1, Age: time.Second}
		for _, n := range c.names {
			c.stops[n]()
			c.run(n)
		}
		c.settle(time.Minute)
		s, err := core.ParseSettings([]byte(`{"regions":["a"]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.regions["a"].PutCollection(t.Context(), core.PutCollection{Name: "vault", Settings: s}); err != nil {
			t.Fatal(err)
		}
		c.put("a", "vault", "1", map[string]any{"n": int64(1)})
		old := c.stores["a"].Clone()
		for i := range 20 {
			c.put("b", "open", fmt.Sprint(i), map[string]any{"n": int64(i)})
		}
		time.Sleep(time.Minute) // the logs are cut
		c.stops["a"]()
		c.stores["a"] = old
		c.run("a")
		c.settle(2 * time.Minute)
		if !c.get("a", "vault", "1").View.Exists || !c.get("a", "open", "7").View.Exists {
			t.Error("the only copy is gone, or there was no snapshot")
		}
		c.put("a", "vault", "2", map[string]any{"n": int64(2)})
	})
}

// A holder that took a snapshot may have nothing but the placeholder of the last change
// of a replica in its log, as the donor was another region. Who asks it for the body
// takes a snapshot of its documents.
func TestBodyThatIsInNoLogComesByASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		s, err := core.ParseSettings([]byte(`{"regions":["b","c"]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.regions["c"].PutCollection(t.Context(), core.PutCollection{Name: "vault", Settings: s}); err != nil {
			t.Fatal(err)
		}
		c.settle(5 * time.Second)
		c.retention = core.Retention{Changes: 1, Age: time.Second}
		for _, n := range c.names {
			c.stops[n]()
			c.run(n)
		}
		c.settle(time.Minute)
		for i := range 20 {
			c.put("c", "open", fmt.Sprint(i), map[string]any{"n": int64(i)})
		}
		time.Sleep(10 * time.Second)
		old := c.stores["c"].Clone()
		c.put("c", "vault", "last", map[string]any{"n": int64(1)})
		time.Sleep(time.Minute) // the logs are cut
		c.stops["b"]()
		c.stores["b"] = memstore.New()
		c.run("b")
		c.settle(time.Minute)
		c.stops["c"]()
		c.stores["c"] = old
		c.run("c")
		c.settle(time.Minute)
		for _, n := range []string{"b", "c"} {
			if !c.get(n, "vault", "last").View.Exists {
				t.Errorf("%s lost it", n)
			}
		}
	})
}
