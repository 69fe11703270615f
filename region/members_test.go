package region_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/memnet"
)

// alarms reports whether a region warns that another one is away.
func alarms(t *testing.T, r *region.Region, about string) bool {
	t.Helper()
	s, err := r.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Alarms {
		if strings.Contains(a, about+" was not heard for") {
			return true
		}
	}
	return false
}

// Who has been away for long is warned about, as the log is kept for it (I12).
func TestI12_RegionThatIsAwayForLongIsWarnedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, topology.Spec{Kind: topology.Mesh}, "a", "b")
		defer c.stop()
		c.stops["b"]()
		delete(c.stops, "b")
		time.Sleep(core.DefaultAway / 2)
		if alarms(t, c.regions["a"], "b") {
			t.Error("a warns about b too early")
		}
		time.Sleep(core.DefaultAway/2 + time.Minute)
		if !alarms(t, c.regions["a"], "b") {
			t.Error("a does not warn about b")
		}
		c.run("b")
		c.settle(5 * time.Second)
		if alarms(t, c.regions["a"], "b") {
			t.Error("a warns about b though it is back")
		}
	})
}

// An addition counts in the region that made it at once, and in the others when
// it has come there.
func TestAddedRegionIsMemberEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, topology.Spec{Kind: topology.Ring}, "a", "b")
		defer c.stop()
		got, err := c.regions["a"].AddRegion(t.Context(), core.AddRegion{Region: "d", Address: "d:1"})
		if err != nil || !got.Added || got.Member.Added.IsZero() {
			t.Fatalf("%+v %v", got, err)
		}
		c.settle(time.Second)
		for _, name := range c.names {
			if m := strings.Join(c.regions[name].Members(), " "); m != "a b d" {
				t.Errorf("the members in %s are %s", name, m)
			}
		}
		if _, err := c.regions["b"].AddRegion(t.Context(), core.AddRegion{Region: "e"}); err == nil {
			t.Error("a region without an address was added")
		}
		if got, err := c.regions["b"].AddRegion(t.Context(), core.AddRegion{Region: "d"}); err != nil || got.Added {
			t.Errorf("added again: %+v %v", got, err)
		}
		if _, err := c.regions["b"].SetTopology(t.Context(), topology.Spec{Kind: topology.Star, Hub: "x"}); err == nil {
			t.Error("a stranger is a hub")
		}
	})
}

// The only region whose address a new one has may be gone: those that were told of it dial it.
func TestNewRegionJoinsThoughTheOnlyAddressItHasIsOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, time.Millisecond, topology.Spec{Kind: topology.Mesh}, "b", "c")
		defer c.stop()
		for _, name := range []string{"a", "d"} { // before and behind those in the order of names
			if _, err := c.regions["b"].AddRegion(t.Context(), core.AddRegion{Region: name, Address: memnet.Addr(name)}); err != nil {
				t.Fatal(err)
			}
			c.stores[name] = memstore.New()
			c.names = []string{name, "nobody"}
			c.run(name)
			c.names = []string{"b", "c", name}
			c.settle(10 * time.Second)
		}
		c.names = []string{"a", "b", "c", "d"}
		c.settle(10 * time.Second)
		c.linked()
	})
}
