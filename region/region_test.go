package region_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// cluster is some regions on one memory network. It lives in a synctest bubble.
type cluster struct {
	t       *testing.T
	net     *memnet.Network
	spec    topology.Spec
	names   []string
	regions map[string]*region.Region
	stores  map[string]*memstore.Store
	stops   map[string]func()
	metrics map[string]*prometheus.Registry
	log     *slog.Logger
	// retention of regions that are started from now on.
	retention core.Retention
	// clock is that of regions that are started from now on; nil is the bubble's.
	clock func() time.Time
	// callback is the function "app" of every region.
	callback func(region string, q conflict.Question) (conflict.Answer, error)
}

func start(t *testing.T, delay time.Duration, spec topology.Spec, names ...string) *cluster {
	t.Helper()
	c := &cluster{
		t: t, net: memnet.New(memnet.Options{}), spec: spec, names: names,
		regions: map[string]*region.Region{}, stores: map[string]*memstore.Store{}, stops: map[string]func(){},
		metrics: map[string]*prometheus.Registry{},
		log:     slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, a := range names {
		for _, b := range names {
			if a < b {
				c.net.SetBoth(a, b, memnet.Condition{Delay: delay})
			}
		}
	}
	for _, n := range names {
		c.stores[n] = memstore.New()
		c.run(n)
	}
	c.settle(5 * time.Second)
	return c
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (c *cluster) functions(name string) map[string]region.CallbackFunc {
	return map[string]region.CallbackFunc{"app": func(ctx context.Context, q conflict.Question) (conflict.Answer, error) {
		if c.callback == nil {
			return conflict.Answer{}, errors.New("there is no callback yet")
		}
		return c.callback(name, q)
	}}
}

// run starts a region on its store.
func (c *cluster) run(name string) {
	c.t.Helper()
	tr, err := c.net.Transport(name, transport.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	peers := map[string]string{}
	for _, n := range c.names {
		if n != name {
			peers[n] = memnet.Addr(n)
		}
	}
	c.metrics[name] = prometheus.NewRegistry()
	r, err := region.New(region.Config{
		Region: name, Cluster: "test", Peers: peers, Topology: c.spec, Logger: c.log, Metrics: c.metrics[name],
		Callbacks: c.functions(name), Retention: c.retention, Clock: c.clock,
	}, c.stores[name], tr)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	c.regions[name] = r
	c.stops[name] = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("region %s: %v", name, err)
		}
	}
}

func (c *cluster) stop() {
	for _, n := range c.names {
		c.stops[n]()
	}
}

// settle lets virtual time pass, at most d, until all regions hold the same.
func (c *cluster) settle(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); ; {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		first := c.regions[c.names[0]].Have()
		same := first.Len() >= len(c.names)
		for _, n := range c.names {
			same = same && c.regions[n].Have().Compare(first) == crdt.Equal && c.regions[n].Ready() == nil
		}
		if same {
			return
		}
		if time.Now().After(end) {
			for _, n := range c.names {
				c.t.Logf("%s holds %v", n, c.regions[n].Have())
			}
			c.t.Fatalf("not converged within %v", d)
		}
	}
}

// linked waits until each region hears each other one.
func (c *cluster) linked() {
	c.t.Helper()
	for _, n := range c.names {
		for up := false; !up; time.Sleep(10 * time.Millisecond) {
			st, err := c.regions[n].Cluster(c.t.Context())
			if err != nil {
				c.t.Fatal(err)
			}
			up = !slices.ContainsFunc(st.Regions, func(r region.RegionStatus) bool { return r.Link.State != region.LinkStateUp })
		}
	}
}

func (c *cluster) put(name, col, id string, v map[string]any) core.Receipt {
	c.t.Helper()
	r, err := c.regions[name].Write(context.Background(), core.Write{Docs: []core.DocWrite{{
		Collection: col, ID: id, Edit: crdt.Edit{Kind: crdt.EditPut, Value: v},
	}}})
	if err != nil {
		c.t.Fatalf("put %s/%s in %s: %v", col, id, name, err)
	}
	return r
}

func (c *cluster) get(name, col, id string) region.Document {
	c.t.Helper()
	d, err := c.regions[name].Get(context.Background(), col, id)
	if err != nil {
		c.t.Fatalf("get %s/%s in %s: %v", col, id, name, err)
	}
	return d
}

func (c *cluster) settings(col, settings string) {
	c.t.Helper()
	s, err := core.ParseSettings([]byte(settings))
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.regions[c.names[0]].PutCollection(context.Background(), core.PutCollection{Name: col, Settings: s}); err != nil {
		c.t.Fatal(err)
	}
	c.settle(5 * time.Second)
}

var mesh = topology.Spec{Kind: topology.Mesh}

func specs(hub string) []topology.Spec {
	return []topology.Spec{mesh, {Kind: topology.Ring}, {Kind: topology.Star, Hub: hub}}
}

// A write is at the peer half a round trip after it is durable, to the millisecond.
func TestWriteArrivesAfterOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		rec := c.put("a", "things", "1", map[string]any{"n": int64(1)})
		began := time.Now()
		for _, n := range []string{"b", "c"} {
			if err := c.regions[n].Wait(t.Context(), rec.Have); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d != 40*time.Millisecond {
				t.Errorf("%s has it after %v, want 40ms", n, d)
			}
			if got := c.get(n, "things", "1"); got.View.Value.(map[string]any)["n"] != int64(1) {
				t.Errorf("%s shows %v", n, got.View.Value)
			}
		}
	})
}

func TestConvergenceInEachTopology(t *testing.T) {
	for _, spec := range specs("b") {
		t.Run(string(spec.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 10*time.Millisecond, spec, "a", "b", "c", "d", "e")
				defer c.stop()
				for i := range 20 {
					for _, n := range c.names {
						c.put(n, "things", fmt.Sprint(i%5), map[string]any{n: int64(i)})
					}
				}
				c.settle(5 * time.Second)
				for i := range 5 {
					want := c.get("a", "things", fmt.Sprint(i))
					for _, n := range c.names {
						if got := c.get(n, "things", fmt.Sprint(i)); got.Tag != want.Tag {
							t.Errorf("document %d in %s has version %s, in a %s", i, n, got.Tag, want.Tag)
						}
					}
				}
			})
		})
	}
}

// Both sides of a cut keep writing, and hold the same again when it is healed.
func TestPartitionHeals(t *testing.T) {
	for _, spec := range specs("a") {
		t.Run(string(spec.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, 10*time.Millisecond, spec, "a", "b", "c")
				defer c.stop()
				c.settings("reg", `{"type":"register","policy":"lww"}`)
				c.net.Cut("a", "b")
				c.net.Cut("a", "c")
				for i := range 100 {
					c.put("a", "reg", "x", map[string]any{"a": int64(i)})
					time.Sleep(10 * time.Millisecond)
					c.put("b", "reg", "x", map[string]any{"b": int64(i)})
					time.Sleep(100 * time.Millisecond)
				}
				if n := len(c.get("a", "reg", "x").Versions); n != 1 {
					t.Errorf("%d versions in a during the cut, want 1", n)
				}
				c.net.Heal("a", "b")
				c.net.Heal("a", "c")
				c.settle(10 * time.Second)
				for _, n := range c.names {
					d := c.get(n, "reg", "x")
					if len(d.Versions) != 2 {
						t.Errorf("%d versions in %s, want 2", len(d.Versions), n)
					}
					if got := d.View.Value.(map[string]any)["b"]; got != int64(99) {
						t.Errorf("%s shows %v, want b's last, the greatest stamp", n, d.View.Value)
					}
				}
			})
		})
	}
}

// With one link of a mesh cut, the third region passes on what the two write.
func TestRelayAroundACutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.linked()
		c.net.Cut("a", "b")
		began := time.Now()
		rec := c.put("a", "things", "1", map[string]any{"n": int64(1)})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.regions["b"].Wait(ctx, rec.Have); err != nil {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		// Once the relay is in place it costs the two hops and nothing more.
		time.Sleep(5 * time.Second)
		began = time.Now()
		rec = c.put("a", "things", "1", map[string]any{"n": int64(2)})
		if err := c.regions["b"].Wait(t.Context(), rec.Have); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 20*time.Millisecond {
			t.Errorf("through the relay it took %v, want 20ms", d)
		}
	})
}

// A region that starts again goes on where it was.
func TestI01_RestartContinuesTheSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		first := c.put("a", "things", "1", map[string]any{"n": int64(1)})
		c.stops["a"]()
		c.run("a")
		c.settle(10 * time.Second)
		second := c.put("a", "things", "1", map[string]any{"n": int64(2)})
		if second.Dot.Replica != first.Dot.Replica || second.Dot.Seq != first.Dot.Seq+1 {
			t.Errorf("after %v comes %v", first.Dot, second.Dot)
		}
		c.settle(5 * time.Second)
	})
}

// A store that was copied back is a new replica at once, takes no writes as long as
// it meets nobody, and gets what it lost.
func TestI02_CopiedStoreIsANewReplicaBeforeItMeetsAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		kept := c.put("a", "things", "1", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		old := c.stores["a"].Clone()
		c.put("a", "things", "2", map[string]any{"n": int64(2)})
		c.settle(5 * time.Second)
		c.stops["a"]()
		c.net.Cut("a", "b")
		c.stores["a"] = old
		c.run("a")
		time.Sleep(time.Minute)
		write := core.Write{Docs: []core.DocWrite{{Collection: "things", ID: "3", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}}}}}
		if _, err := c.regions["a"].Write(t.Context(), write); !errors.Is(err, core.ErrCatchingUp) {
			t.Errorf("a write while nobody was met: %v", err)
		}
		alone, err := c.regions["a"].Cluster(t.Context())
		if err != nil || alone.Replica == kept.Dot.Replica.String() {
			t.Errorf("alone it is the replica %v (%v), as before", alone.Replica, err)
		}
		// A crash makes it no other replica again.
		c.stops["a"]()
		c.stores["a"] = c.stores["a"].Crash()
		c.run("a")
		c.net.Heal("a", "b")
		c.settle(20 * time.Second)
		if !c.get("a", "things", "2").View.Exists {
			t.Error("the lost write did not come back")
		}
		if next := c.put("a", "things", "3", map[string]any{"n": int64(3)}); next.Dot.Replica.String() != alone.Replica {
			t.Errorf("it writes %v, it was %v", next.Dot, alone.Replica)
		}
		c.settle(5 * time.Second)
	})
}

// A store that was rolled back without knowing gets a new replica id and its lost
// changes back when it meets one that knows better.
func TestI02_RolledBackStoreIsANewReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		c.put("a", "things", "1", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		old := c.stores["a"].Image()
		lost := c.put("a", "things", "2", map[string]any{"n": int64(2)})
		c.settle(5 * time.Second)
		c.stops["a"]()
		c.stores["a"] = old
		c.run("a")
		c.settle(10 * time.Second)
		if !c.get("a", "things", "2").View.Exists {
			t.Error("the lost write did not come back")
		}
		next := c.put("a", "things", "3", map[string]any{"n": int64(3)})
		if next.Dot.Replica == lost.Dot.Replica {
			t.Error("the replica id is used again")
		}
		c.settle(5 * time.Second)
	})
}

// A store that was rolled back without knowing and has used lost dots again, while
// nobody could tell it, takes no more writes and changes nothing elsewhere.
func TestI01_ForkedStoreIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.put("a", "things", "1", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		old := c.stores["a"].Image()
		c.put("a", "things", "1", map[string]any{"n": int64(2)})
		c.put("a", "things", "1", map[string]any{"n": int64(3)})
		c.settle(5 * time.Second)
		c.stops["a"]()
		c.net.Cut("a", "b")
		c.net.Cut("a", "c")
		c.stores["a"] = old
		c.run("a")
		for c.regions["a"].Ready() != nil {
			time.Sleep(100 * time.Millisecond)
		}
		c.put("a", "things", "1", map[string]any{"n": int64(99)})
		c.net.Heal("a", "b")
		c.net.Heal("a", "c")
		time.Sleep(10 * time.Second)
		if err := c.regions["a"].Ready(); !errors.Is(err, core.ErrFenced) {
			t.Errorf("the forked store is ready: %v", err)
		}
		for _, n := range []string{"b", "c"} {
			if got := c.get(n, "things", "1").View.Value.(map[string]any)["n"]; got != int64(3) {
				t.Errorf("%s shows %v", n, got)
			}
		}
	})
}

// A failed commit is answered with an error, nothing of it is seen, and the
// region goes on when there is room again.
func TestI03_FailedCommitIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		before := c.put("a", "things", "1", map[string]any{"n": int64(1)})
		c.settle(5 * time.Second)
		c.stores["a"].FailNext(memstore.Fault{Err: store.ErrFull})
		_, err := c.regions["a"].Write(t.Context(), core.Write{Docs: []core.DocWrite{{
			Collection: "things", ID: "1", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(2)}},
		}}})
		if !errors.Is(err, store.ErrFull) || !errors.Is(err, region.ErrStorage) {
			t.Fatalf("error %v", err)
		}
		for _, n := range c.names {
			if d := c.get(n, "things", "1"); d.View.Value.(map[string]any)["n"] != int64(1) {
				t.Errorf("%s shows %v", n, d.View.Value)
			}
		}
		time.Sleep(2 * time.Second)
		after := c.put("a", "things", "1", map[string]any{"n": int64(3)})
		if after.Dot.Seq != before.Dot.Seq+1 {
			t.Errorf("after %v comes %v", before.Dot, after.Dot)
		}
		c.settle(5 * time.Second)
	})
}

// A region whose clock is set back, after its disk was full, takes writes again
// when it would have.
func TestClockSetBackDoesNotKeepTheDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		c.stops["a"]()
		var offset atomic.Int64
		c.clock = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		c.run("a")
		c.settle(5 * time.Second)
		c.stores["a"].FailNext(memstore.Fault{Err: store.ErrFull})
		write := core.Write{Docs: []core.DocWrite{{
			Collection: "things", ID: "1", Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}},
		}}}
		if _, err := c.regions["a"].Write(t.Context(), write); !errors.Is(err, store.ErrFull) {
			t.Fatalf("error %v", err)
		}
		offset.Store(-int64(time.Hour))
		time.Sleep(2 * time.Second)
		if _, err := c.regions["a"].Write(t.Context(), write); err != nil {
			t.Error(err)
		}
		c.settle(5 * time.Second)
	})
}

func TestI09_WriteWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 40*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.net.Cut("a", "b")
		c.net.Cut("a", "c")
		began := time.Now()
		c.put("a", "things", "1", map[string]any{"n": int64(1)})
		if d := time.Since(began); d != 0 {
			t.Errorf("the write took %v of virtual time", d)
		}
	})
}

// A batch is seen whole or not at all, wherever one looks.
func TestI13_BatchIsAtomic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		put := func(id string, n int64) core.DocWrite {
			return core.DocWrite{Collection: "accounts", ID: id, Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": n}}}
		}
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := int64(1); i <= 200; i++ {
				if _, err := c.regions["a"].Write(t.Context(), core.Write{Docs: []core.DocWrite{put("x", i), put("y", -i)}}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
			close(stop)
		}()
		for open := true; open; {
			select {
			case <-stop:
				open = false
			case <-time.After(time.Millisecond):
			}
			page, err := c.regions["b"].List(t.Context(), "accounts", region.ListOptions{Limit: 10})
			if errors.Is(err, core.ErrUnknownCollection) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var sum int64
			for _, d := range page.Documents {
				sum += d.View.Value.(map[string]any)["n"].(int64)
			}
			if sum != 0 {
				t.Fatalf("sum %d: half of a batch is visible", sum)
			}
		}
		<-done
		// An error in one document leaves all as they were.
		bad := put("y", 1)
		bad.If.Absent = true
		if _, err := c.regions["a"].Write(t.Context(), core.Write{Docs: []core.DocWrite{put("x", 7), bad}}); !errors.Is(err, core.ErrPrecondition) {
			t.Errorf("error %v", err)
		}
		if d := c.get("a", "accounts", "x"); d.View.Value.(map[string]any)["n"] != int64(200) {
			t.Errorf("x is %v", d.View.Value)
		}
	})
}

// A collection created on both sides of a cut keeps both incarnations.
func TestCollectionsBornTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b")
		defer c.stop()
		c.net.Cut("a", "b")
		c.put("a", "carts", "1", map[string]any{"from": "a"})
		s := core.DefaultSettings()
		s.Type, s.Policy = crdt.TypeRegister, conflict.Siblings()
		if _, err := c.regions["b"].PutCollection(t.Context(), core.PutCollection{Name: "carts", Settings: s}); err != nil {
			t.Fatal(err)
		}
		c.put("b", "carts", "1", map[string]any{"from": "b"})
		c.net.Heal("a", "b")
		c.settle(10 * time.Second)
		for _, n := range c.names {
			if got := c.get(n, "carts", "1").View.Value.(map[string]any)["from"]; got != "b" {
				t.Errorf("%s shows %v under the name, want the explicitly made one", n, got)
			}
			cols, err := c.regions[n].Collections()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(cols, func(c *core.Collection) bool { return c.Shadowed })
			if len(cols) != 2 || i < 0 {
				t.Fatalf("%s has %d collections", n, len(cols))
			}
			if got := c.get(n, cols[i].Incarnation.String(), "1").View.Value.(map[string]any)["from"]; got != "a" {
				t.Errorf("%s shows %v under the other incarnation", n, got)
			}
		}
	})
}

// A peer that is down for many writes costs no memory, and catches up from the log.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 10*time.Millisecond, mesh, "a", "b", "c")
		defer c.stop()
		c.stops["c"]()
		for i := range 3000 {
			c.put([]string{"a", "b"}[i%2], "things", fmt.Sprint(i%100), map[string]any{"n": int64(i)})
		}
		c.run("c")
		c.settle(20 * time.Second)
		st, err := c.regions["c"].Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Inbox.Changes != 0 {
			t.Errorf("%d changes are left in the inbox", st.Inbox.Changes)
		}
	})
}
