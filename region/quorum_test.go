package region_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/memnet"
)

const waitForAcks = 2 * time.Second

// putAcked writes and waits for acknowledgements. It returns who holds the
// write, and how long it took.
func (c *cluster) putAcked(name, id, quorum string) (holders []string, took time.Duration, met bool) {
	c.t.Helper()
	q, err := core.ParseQuorum(quorum)
	if err == nil {
		q, err = q.Resolve(c.regions[name].Members())
	}
	if err != nil {
		c.t.Fatal(err)
	}
	began := time.Now()
	rec, err := c.regions[name].Write(c.t.Context(), core.Write{Docs: []core.DocWrite{{
		Collection: "things", ID: id, Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"at": began.UnixMicro()}},
	}}, Await: waitForAcks})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), waitForAcks)
	defer cancel()
	holders, met = c.regions[name].Acked(ctx, rec.Dot, q)
	return holders, time.Since(began), met
}

func (c *cluster) gather(name, quorum string, wait time.Duration) (regions []string, took time.Duration, err error) {
	c.t.Helper()
	q, err := core.ParseQuorum(quorum)
	if err == nil {
		q, err = q.Resolve(c.regions[name].Members())
	}
	if err != nil {
		c.t.Fatal(err)
	}
	began := time.Now()
	regions, err = c.regions[name].Gather(c.t.Context(), q, wait)
	return regions, time.Since(began), err
}

// In a mesh at 40 ms one way an acknowledgement takes a round trip, to the
// millisecond, and that of the region itself nothing.
func TestAcksTakeARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("a", "things", "0", map[string]any{})
		c.settle(5 * time.Second)
		for quorum, want := range map[string]time.Duration{
			"1": 0, "2": 80 * time.Millisecond, "3": 80 * time.Millisecond, "majority": 80 * time.Millisecond,
			"all": 80 * time.Millisecond, "a": 0, "c": 80 * time.Millisecond, "b,c": 80 * time.Millisecond,
		} {
			holders, took, met := c.putAcked("a", "1", quorum)
			if !met || took != want {
				t.Errorf("acks=%s took %v, want %v; held by %v", quorum, took, want, holders)
			}
			time.Sleep(time.Second)
		}
		// Farther regions are not waited for when nearer ones are enough.
		c.net.SetBoth("a", "c", memnet.Condition{Delay: 150 * time.Millisecond})
		c.net.SetBoth("b", "c", memnet.Condition{Delay: 150 * time.Millisecond})
		time.Sleep(time.Second)
		if holders, took, _ := c.putAcked("a", "1", "2"); took != 80*time.Millisecond || !slices.Equal(holders, []string{"a", "b"}) {
			t.Errorf("acks=2 took %v, held by %v", took, holders)
		}
	})
}

// Acknowledgements of regions that are not linked with the writer take the way
// there and back at the most, and no gossip's period besides. (Links that were made
// while the regions came up can make it shorter.)
func TestAcksComePromptlyInEachTopology(t *testing.T) {
	const hop = 40 * time.Millisecond
	for _, tt := range []struct {
		spec topology.Spec
		from string
		want map[string]time.Duration
	}{
		{mesh, "a", map[string]time.Duration{"2": 2 * hop, "all": 2 * hop}},
		{topology.Spec{Kind: topology.Star, Hub: "c"}, "a", map[string]time.Duration{"2": 2 * hop, "3": 4 * hop, "all": 4 * hop, "e": 4 * hop}},
		{topology.Spec{Kind: topology.Star, Hub: "c"}, "c", map[string]time.Duration{"all": 2 * hop}},
		{topology.Spec{Kind: topology.Ring}, "a", map[string]time.Duration{"3": 2 * hop, "4": 4 * hop, "all": 4 * hop}},
	} {
		t.Run(fmt.Sprintf("%s from %s", tt.spec.Kind, tt.from), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, hop, tt.spec, "a", "b", "c", "d", "e")
				defer c.stop()
				c.put("a", "things", "0", map[string]any{})
				c.settle(5 * time.Second)
				for quorum, want := range tt.want {
					// The first after a while, and those that follow at once.
					time.Sleep(5*time.Second + 77*time.Millisecond)
					for range 3 {
						if holders, took, met := c.putAcked(tt.from, "1", quorum); !met || took > want {
							t.Errorf("acks=%s took %v, want %v at most; held by %v", quorum, took, want, holders)
						}
					}
				}
			})
		})
	}
}

// With the link between two cut, the third passes on changes and acknowledgements.
func TestAcksComeThroughARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("a", "things", "0", map[string]any{})
		c.net.Cut("a", "b")
		time.Sleep(10 * time.Second)
		if holders, took, met := c.putAcked("a", "1", "all"); !met || took != 160*time.Millisecond {
			t.Errorf("acks=all took %v through the relay; held by %v", took, holders)
		}
		c.net.Cut("a", "c")
		time.Sleep(10 * time.Second)
		if holders, took, met := c.putAcked("a", "1", "2"); met || took != waitForAcks || !slices.Equal(holders, []string{"a"}) {
			t.Errorf("cut off: met %v after %v by %v", met, took, holders)
		}
	})
}

// A thousand writers that wait share the acknowledgements.
func TestAcksOfManyWritersAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, topology.Spec{Kind: topology.Star, Hub: "b"}, "a", "b", "c")
		defer c.stop()
		c.put("a", "things", "0", map[string]any{})
		c.settle(5 * time.Second)
		time.Sleep(5 * time.Second)
		before := c.messages("a")
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if holders, took, met := c.putAcked("a", fmt.Sprint(i), "all"); !met || took != 160*time.Millisecond {
					t.Errorf("took %v, held by %v", took, holders)
				}
			})
		}
		wg.Wait()
		if n := c.messages("a") - before; n > 400 {
			t.Errorf("%d messages for a thousand writes at once", n)
		}
	})
}

// messages counts what a region got and sent on its links.
func (c *cluster) messages(name string) uint64 {
	return c.regions[name].Messages()
}

// What two regions have acknowledged survives the loss of the one that wrote it,
// and a kill of the other right after the answer.
func TestAcknowledgedWriteSurvivesTheWriter(t *testing.T) {
	for _, killed := range []string{"b", "c"} {
		t.Run("killed "+killed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
				c.put("a", "things", "0", map[string]any{})
				c.settle(5 * time.Second)
				c.net.Cut("a", "c") // so that b alone acknowledges
				holders, _, met := c.putAcked("a", "1", "2")
				if !met || !slices.Equal(holders, []string{"a", "b"}) {
					t.Fatalf("held by %v", holders)
				}
				c.stops["a"]() // for good
				c.stops[killed]()
				time.Sleep(time.Second)
				c.run(killed)
				defer func() { c.stops["b"](); c.stops["c"]() }()
				time.Sleep(10 * time.Second)
				for _, n := range []string{"b", "c"} {
					if !c.get(n, "things", "1").View.Exists {
						t.Errorf("%s does not have the write", n)
					}
				}
			})
		})
	}
}

// A read across regions sees what any of them held when it began, also what
// this region would not have got by itself for a while.
func TestGatherSeesWhatOthersHold(t *testing.T) {
	const hop = 40 * time.Millisecond
	for _, tt := range []struct {
		spec          topology.Spec
		quorum        string
		writer        string
		took          time.Duration
		regionsAtMost int
	}{
		{mesh, "1", "", 0, 1},
		{mesh, "majority", "", 2 * hop, 5},
		{mesh, "all", "b", 2 * hop, 5},
		{mesh, "b", "b", 2 * hop, 5},
		{topology.Spec{Kind: topology.Star, Hub: "c"}, "2", "c", 2 * hop, 2},
		{topology.Spec{Kind: topology.Star, Hub: "c"}, "majority", "", 4 * hop, 5},
		{topology.Spec{Kind: topology.Star, Hub: "c"}, "e", "e", 4 * hop, 5},
		{topology.Spec{Kind: topology.Ring}, "3", "b", 2 * hop, 3},
		{topology.Spec{Kind: topology.Ring}, "all", "d", 4 * hop, 5},
	} {
		t.Run(fmt.Sprintf("%s/%s", tt.spec.Kind, tt.quorum), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, hop, tt.spec, "a", "b", "c", "d", "e")
				defer c.stop()
				c.put("a", "things", "0", map[string]any{})
				c.settle(5 * time.Second)
				for i := range 3 {
					if tt.writer != "" {
						c.put(tt.writer, "things", "1", map[string]any{"i": int64(i)})
					}
					regions, took, err := c.gather("a", tt.quorum, waitForAcks)
					if err != nil || took > tt.took || regions[0] != "a" || len(regions) > tt.regionsAtMost {
						t.Fatalf("%v after %v, %v; want %v at most", regions, took, err, tt.took)
					}
					if tt.writer == "" {
						continue
					}
					if got := c.get("a", "things", "1").View.Value.(map[string]any)["i"]; got != int64(i) {
						t.Errorf("read %v, want %d", got, i)
					}
				}
			})
		})
	}
}

// What live traffic has lost is fetched at once, not after the usual grace.
func TestGatherRepairsTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("a", "things", "0", map[string]any{})
		c.settle(5 * time.Second)
		// b writes while c hears nothing; then b goes, and what it wrote is in a alone.
		c.net.Cut("c", "a")
		c.net.Cut("c", "b")
		time.Sleep(10 * time.Second)
		c.put("b", "things", "1", map[string]any{"n": int64(1)})
		time.Sleep(100 * time.Millisecond)
		if _, took, err := c.gather("c", "2", time.Second); !errors.Is(err, core.ErrNoQuorum) || !strings.Contains(err.Error(), "only c") || took > 1200*time.Millisecond {
			t.Errorf("cut off: %v after %v", err, took)
		}
		c.stops["b"]()
		c.net.Heal("c", "a")
		regions, _, err := c.gather("c", "2", 10*time.Second)
		if err != nil || !slices.Equal(regions, []string{"c", "a"}) {
			t.Fatalf("%v: %v", regions, err)
		}
		if !c.get("c", "things", "1").View.Exists {
			t.Error("the read missed what a held")
		}
		c.run("b")
	})
}

func TestQuorumsParse(t *testing.T) {
	members := []string{"a", "b", "c", "d"}
	for in, want := range map[string]string{
		"1": "1", "4": "4", "majority": "3", "all": "4", "a": "a", "c,b,c": "b,c", "b ,a": "a,b",
		"5": "the cluster has 4", "x": `no region "x"`, "0": "at least 1", "": "give a number", "a,,b": "empty name",
		"99999999999999999999": "at least 1", "-1": `no region "-1"`, "Majority": `no region "Majority"`,
	} {
		q, err := core.ParseQuorum(in)
		if err == nil {
			if again, err := core.ParseQuorum(q.String()); err != nil || again.String() != q.String() {
				t.Errorf("%q is written as %q", in, q)
			}
			q, err = q.Resolve(members)
		}
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", in, err, want)
			}
			continue
		}
		if q.String() != want {
			t.Errorf("%q resolves to %v, want %s", in, q, want)
		}
	}
	both := core.Quorum{Count: 2, Regions: []string{"c"}}.And(core.Quorum{Count: 3, Regions: []string{"a", "c"}})
	for regions, want := range map[string]bool{"a b c": true, "a c": false, "a b d": false, "a b c d": true} {
		if both.Met(strings.Fields(regions)) != want {
			t.Errorf("%v met by %s: %v", both, regions, !want)
		}
	}
}
