package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport/memnet"
)

const tea = "/v1/collections/stock/docs/tea"

func incBy(w *world, region, path string, by int) *call {
	return w.on(region, "PATCH", path, fmt.Sprintf(`[{"op":"inc","path":"/n","value":%d}]`, by)).with("Content-Type", MediaOps)
}

// stocked runs a test with three regions, 40 ms from each other, of which
// us-east has a stock of tea.
func stocked(t *testing.T, n int, test func(w *world)) {
	t.Helper()
	far(t, func(w *world) {
		w.do("PUT", "/v1/collections/stock", `{"bounds":{"/n":{"min":0}}}`).gives(201)
		w.do("PUT", tea, fmt.Sprintf(`{"n":%d}`, n)).gives(201)
		w.settle()
		test(w)
	})
}

func cutOff(w *world, name string) {
	for _, other := range three {
		if other != name {
			w.net.Cut(name, other)
		}
	}
}

func healAll(w *world) {
	for i, a := range three {
		for _, b := range three[:i] {
			w.net.Heal(a, b)
		}
	}
}

func TestBoundedCounterWaitsForNobodyWhileItsShareLasts(t *testing.T) {
	stocked(t, 10, func(w *world) {
		if d := took(func() { incBy(w, "us-east", tea, -3).gives(200) }); d != 0 {
			t.Errorf("a decrement within the share took %v", d)
		}
		// eu-west has none yet: one round trip for half of what there is.
		if d := took(func() { incBy(w, "eu-west", tea, -1).gives(200) }); d != 80*time.Millisecond {
			t.Errorf("the first decrement elsewhere took %v, want a round trip", d)
		}
		if d := took(func() { incBy(w, "eu-west", tea, -2).gives(200) }); d != 0 {
			t.Errorf("the next one took %v", d)
		}
		w.settle()
		for _, r := range three {
			w.on(r, "GET", tea, nil).gives(200).is(`{"n":4}`)
			w.on(r, "GET", tea+"?types=1", nil).gives(200).is(`{"n":{"$counter":4}}`)
		}
	})
}

func TestBoundedCounterInAPartition(t *testing.T) {
	stocked(t, 10, func(w *world) {
		incBy(w, "eu-west", tea, -1).gives(200) // has 4 left
		w.settle()
		cutOff(w, "eu-west")
		for range 4 {
			incBy(w, "eu-west", tea, -1).gives(200)
		}
		var r *reply
		if d := took(func() { r = incBy(w, "eu-west", tea, -1).with("Prefer", "wait=1").gives(409) }); d < time.Second {
			t.Errorf("it was refused after %v", d)
		}
		r.as(shareAway, "us-east")
		if s := r.problem().Share; s == nil || s.Here != 0 || s.Needed != 1 || s.Regions["us-east"] != 5 || s.Bound != "min" {
			t.Errorf("the problem says %+v", s)
		}
		incBy(w, "us-east", tea, -6).with("Prefer", "wait=0").gives(409) // as far as is known here, eu-west has 4
		// The 2 that are left are there whatever eu-west learns first: were all used up and more put
		// in, it could see the one before the other, and refuse at once.
		incBy(w, "us-east", tea, -3).gives(200)
		done := make(chan struct{})
		go func() {
			defer close(done)
			healAll(w)
		}()
		incBy(w, "eu-west", tea, -2).with("Prefer", "wait=20").gives(200)
		<-done
		w.settle()
		for _, r := range three {
			w.on(r, "GET", tea, nil).gives(200).is(`{"n":0}`)
			if d := took(func() { incBy(w, r, tea, -1).gives(409).as(noShare, "") }); d != 0 {
				t.Errorf("that it is used up is said after %v", d)
			}
		}
	})
}

func TestUpperBound(t *testing.T) {
	far(t, func(w *world) {
		w.on("eu-west", "PUT", "/v1/collections/seats", `{"bounds":{"/n":{"min":0,"max":3}}}`).gives(201)
		w.settle()
		const doc = "/v1/collections/seats/docs/1"
		// What there is to begin with is eu-west's, which made the collection.
		incBy(w, "us-east", doc, 2).gives(409).as(noShare, "write it without the counter first")
		w.do("PUT", doc, `{}`).gives(201)
		incBy(w, "us-east", doc, 2).gives(200)
		incBy(w, "us-east", doc, 2).with("Prefer", "wait=1").gives(409)
		w.settle()
		incBy(w, "ap-south", doc, 1).gives(200)
		w.settle()
		incBy(w, "ap-south", doc, 1).gives(409).as(noShare, "max")
		incBy(w, "us-east", doc, -1).gives(200)
		incBy(w, "us-east", doc, 1).gives(200)
		incBy(w, "us-east", doc, -1).gives(200)
		w.settle()
		incBy(w, "ap-south", doc, 1).gives(200)
		w.settle()
		w.do("GET", doc, nil).gives(200).is(`{"n":3}`)
	})
}

func TestBoundsAreSettings(t *testing.T) {
	alone(t, func(w *world) {
		const c = "/v1/collections/b"
		for _, bad := range []string{
			`[]`, `{"n":{"min":0}}`, `{"":{"min":0}}`, `{"/n":{}}`, `{"/n":{"min":1}}`, `{"/n":{"max":-1}}`, `{"/n":{"min":0.5}}`,
			`{"/n":{"min":0},"/n/m":{"min":0}}`, `{"/n":{"least":0}}`, `{"/n":{"max":9007199254740993}}`,
		} {
			w.do("PUT", c, `{"bounds":`+bad+`}`).gives(422).as(invalid, "bounds")
		}
		w.do("PUT", c, `{"type":"register","bounds":{"/n":{"min":0}}}`).gives(422).as(invalid, "bounds")
		w.do("PUT", c, `{"delete":"edit-wins","bounds":{"/n":{"min":0}}}`).gives(422).as(invalid, "delete")
		w.do("PUT", c, `{"bounds":{"/n":{"min":0},"/a/b":{"max":5}}}`).gives(201)
		var settings struct {
			Bounds json.RawMessage
			Delete string
		}
		w.do("GET", c, nil).gives(200).json(&settings)
		if string(settings.Bounds) != `{"/a/b":{"max":5},"/n":{"min":0}}` || settings.Delete != "wins" {
			t.Errorf("the bounds are %s, deletions: %s", settings.Bounds, settings.Delete)
		}
		w.do("PUT", c, `{}`).gives(409).as(exists, "bounds")
		w.do("PUT", c, `{"policy":"lww","bounds":{"/n":{"min":0},"/a/b":{"max":5}}}`).gives(200)
		w.do("PUT", "/v1/collections/made/docs/x", `{}`).gives(201)
		w.do("PUT", "/v1/collections/made", `{"bounds":{"/n":{"min":0}}}`).gives(409).as(exists, "bounds")
	})
}

func TestWhatIsDoneToBoundedCounters(t *testing.T) {
	inWorld(t, three, nil, func(w *world) {
		w.do("PUT", "/v1/collections/b", `{"bounds":{"/n":{"min":0},"/a/m":{"min":-2,"max":9}}}`).gives(201)
		const doc = "/v1/collections/b/docs/1"
		w.do("PUT", doc, `{"n":5,"a":{"m":-2},"x":1}`).gives(201)
		w.do("GET", doc+"?types=1", nil).gives(200).is(`{"a":{"m":{"$counter":-2}},"n":{"$counter":5},"x":1}`)
		for _, bad := range []string{`{"n":-1}`, `{"a":{"m":-3}}`, `{"a":{"m":10}}`} {
			w.do("PATCH", doc, bad).with("Content-Type", MediaMergePatch).gives(409).as(noShare, "")
		}
		for _, bad := range []string{`{"n":"many"}`, `{"n":1.5}`, `{"a":{"m":{}}}`} {
			w.do("PATCH", doc, bad).with("Content-Type", MediaMergePatch).gives(422).as(refused, "counter")
		}
		ops := func(status int, ops string) *reply {
			return w.do("PATCH", doc, ops).with("Content-Type", MediaOps).gives(status)
		}
		ops(422, `[{"op":"inc","path":"/n","value":-1,"min":1}]`).as(refused, "bounds")
		ops(422, `[{"op":"inc","path":"/x","value":-1,"min":0}]`).as(refused, "bounds")
		ops(200, `[{"op":"inc","path":"/n","value":-1,"min":0}]`)
		ops(200, `[{"op":"inc","path":"/a/m","value":1,"min":-2,"max":9}]`)
		w.do("PATCH", doc, `[{"op":"replace","path":"/n","value":7}]`).with("Content-Type", MediaJSONPatch).gives(200)
		w.do("PUT", doc, `{"n":6,"a":{"m":0},"x":2}`).gives(200)
		w.do("GET", doc+"?types=1", nil).gives(200).is(`{"a":{"m":{"$counter":0}},"n":{"$counter":6},"x":2}`)
		for _, hidden := range []string{`{"\u0000shares":{}}`, `{"\u0000shares":1,"n":1}`} {
			w.do("PUT", "/v1/collections/b/docs/2", hidden).gives(422).as(refused, "reserved")
			w.do("PUT", "/v1/collections/plain/docs/2", hidden).gives(422).as(refused, "reserved")
		}
		ops(422, `[{"op":"unset","path":"/\u0000shares"}]`).as(refused, "reserved")
		w.do("PUT", doc, `{"x":3}`).gives(200) // all of it is this region's
		w.do("PUT", doc, `{"n":4,"x":3}`).gives(200)
		w.settle()
		incBy(w, "eu-west", doc, -1).gives(200)
		w.settle()
		ops(422, `[{"op":"unset","path":"/n"}]`).as(refused, "goes with its document")
		w.do("GET", doc, nil).gives(200).is(`{"n":3,"x":3}`)
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"b","id":"1","ops":[{"op":"inc","path":"/n","value":-1}]},{"collection":"b","id":"3","put":{"n":1}}]}`).gives(200)
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"b","id":"1","ops":[{"op":"inc","path":"/n","value":-1}]},{"collection":"b","id":"3","ops":[{"op":"inc","path":"/n","value":-2}]}]}`).gives(409)
		w.settle()
		w.do("GET", doc, nil).gives(200).is(`{"n":2,"x":3}`)
	})
}

func TestDeletionGathersAllShares(t *testing.T) {
	stocked(t, 10, func(w *world) {
		incBy(w, "eu-west", tea, -1).gives(200)
		incBy(w, "ap-south", tea, -1).gives(200)
		w.settle()
		cutOff(w, "eu-west")
		w.do("DELETE", tea, nil).with("Prefer", "wait=1").gives(409).as(shareAway, "eu-west")
		incBy(w, "eu-west", tea, -1).gives(200)
		healAll(w)
		w.do("DELETE", tea, nil).with("Prefer", "wait=20").gives(204)
		w.settle()
		// What others had is gone with it.
		w.do("PUT", tea, `{"n":2}`).gives(201)
		w.settle()
		for _, other := range three[:2] {
			cutOff(w, other)
			incBy(w, other, tea, -1).with("Prefer", "wait=0").gives(409)
			healAll(w)
		}
		w.settle()
		incBy(w, "eu-west", tea, -2).gives(200)
		w.settle()
		w.do("GET", tea, nil).gives(200).is(`{"n":0}`)
	})
}

// An edit that did not know of a deletion does not bring shares back that another
// region has again, in a document made since. It is in the conflict log.
func TestDeletionWinsWithBounds(t *testing.T) {
	far(t, func(w *world) {
		w.do("PUT", "/v1/collections/stock", `{"bounds":{"/n":{"min":0,"max":20}}}`).gives(201)
		w.do("PUT", tea, `{}`).gives(201)
		w.settle()
		incBy(w, "ap-south", tea, 20).with("Prefer", "wait=5").gives(200)
		w.settle()
		cutOff(w, "eu-west")
		w.on("eu-west", "PATCH", tea, `{"late":true}`).with("Content-Type", MediaMergePatch).gives(200)
		w.on("ap-south", "DELETE", tea, nil).gives(204)
		time.Sleep(time.Second) // of virtual time: the deletion is in us-east
		w.do("PUT", tea, `{"n":20}`).gives(201)
		healAll(w)
		w.settle()
		for _, name := range three {
			w.on(name, "GET", tea, nil).gives(200).is(`{"n":20}`)
		}
		incBy(w, "ap-south", tea, 1).gives(409).as(noShare, "max")
		if p := w.conflictPage("?collection=stock"); len(p.Conflicts) != 1 {
			t.Errorf("%d conflicts in the log", len(p.Conflicts))
		}
	})
}

// A collection is deleted where all shares of its documents can be had, or not at all.
func TestCollectionWhoseSharesAreAwayStays(t *testing.T) {
	stocked(t, 10, func(w *world) {
		w.do("PUT", "/v1/collections/stock/docs/salt", `{"n":1}`).gives(201)
		incBy(w, "eu-west", tea, -1).gives(200)
		w.settle()
		cutOff(w, "eu-west")
		if d := took(func() {
			w.do("DELETE", "/v1/collections/stock", nil).with("Prefer", "wait=1").gives(409).as(shareAway, "eu-west")
		}); d < time.Second || d > time.Second+2*core.TickEvery {
			t.Errorf("it was refused after %v", d)
		}
		// Nothing of it is gone: its documents fit one change.
		w.do("GET", tea, nil).gives(200).is(`{"n":9}`)
		incBy(w, "us-east", tea, -1).gives(200)
		incBy(w, "eu-west", tea, -1).gives(200)
		time.AfterFunc(time.Second, func() { healAll(w) })
		w.do("DELETE", "/v1/collections/stock", nil).with("Prefer", "wait=20").gives(204)
		w.settle()
		w.on("eu-west", "GET", "/v1/collections/stock", nil).gives(404)
	})
}

// A strict home takes all writes; what other regions have of the bounds they give
// to it, and the bounds hold wherever the home moves.
func TestStrictHomeGetsTheSharesOfOthers(t *testing.T) {
	stocked(t, 10, func(w *world) {
		incBy(w, "ap-south", tea, -1).gives(200) // has some now
		w.settle()
		w.do("POST", "/v1/collections/stock/home", `{"region":"eu-west"}`).gives(200)
		granted(w, "eu-west")
		for _, n := range three {
			if r := incBy(w, n, tea, -2).gives(200); r.Get(HeaderRegion) != "eu-west" {
				t.Errorf("answered by %q", r.Get(HeaderRegion))
			}
		}
		incBy(w, "us-east", tea, -4).gives(409).as(noShare, "")
		w.do("GET", tea, nil).with("Meridian-Token", incBy(w, "us-east", tea, 1).gives(200).Get(HeaderToken)).gives(200).is(`{"n":4}`)
		// What is with a region that is cut off cannot be spent, nor is the bound broken.
		w.do("POST", "/v1/collections/stock/home", `{"region":"us-east"}`).gives(200)
		granted(w, "us-east")
		cutOff(w, "eu-west")
		incBy(w, "us-east", tea, -4).with("Prefer", "wait=1").gives(409).as(shareAway, "eu-west")
		healAll(w)
		incBy(w, "us-east", tea, -4).with("Prefer", "wait=20").gives(200)
		incBy(w, "ap-south", tea, -1).with("Prefer", "wait=20").gives(409).as(noShare, "")
		w.settle()
		w.on("ap-south", "GET", tea, nil).gives(200).is(`{"n":0}`)
	})
}

// granted waits until all regions know that one has the home of the stock.
func granted(w *world, home string) {
	w.t.Helper()
	for _, n := range three {
		for i := 0; ; i++ {
			var info struct{ Homes []homeState }
			w.on(n, "GET", "/v1/collections/stock", nil).gives(200).json(&info)
			if len(info.Homes) == 1 && info.Homes[0].Region == home && info.Homes[0].State == "granted" {
				break
			}
			if time.Sleep(10 * time.Millisecond); i > 1000 {
				w.t.Fatalf("%s knows the homes %+v", n, info.Homes)
			}
		}
	}
	w.reach()
}

// A store that is lost takes its share with it, until the one that follows it
// is known to hold all that is left.
func TestShareOfALostStoreIsTakenOver(t *testing.T) {
	stocked(t, 10, func(w *world) {
		incBy(w, "eu-west", tea, -1).gives(200)
		w.settle()
		w.stops["eu-west"]()
		w.stores["eu-west"] = w.stores["eu-west"].Clone()
		backup := w.stores["eu-west"].Clone()
		w.start("eu-west")
		w.settle()
		incBy(w, "eu-west", tea, -1).gives(200)
		w.settle()
		w.stops["eu-west"]()
		w.stores["eu-west"] = backup
		w.start("eu-west")
		for i := 0; w.regions["eu-west"].Ready() != nil; i++ {
			if time.Sleep(10 * time.Millisecond); i > 1000 {
				t.Fatal("eu-west does not come back")
			}
		}
		time.Sleep(5 * time.Second)
		w.settle()
		incBy(w, "us-east", tea, -4).gives(200)
		w.settle()
		if d := took(func() { incBy(w, "eu-west", tea, -3).gives(200) }); d != 0 {
			t.Errorf("what the store before had is not taken over within %v", d)
		}
		w.settle()
		w.do("GET", tea, nil).gives(200).is(`{"n":1}`)
	})
}

// TestBoundHoldsThroughCuts lets clients in three regions race for 10,000 items
// while links are cut: nobody sees less than none, what was sold is what is
// missing, and a region refuses nothing while its own share lasts.
func TestBoundHoldsThroughCuts(t *testing.T) {
	const stock, clients = 10_000, 8
	rng := rand.New(rand.NewPCG(7, 1))
	inWorld(t, three, nil, func(w *world) {
		for i, a := range three {
			for _, b := range three[:i] {
				w.net.SetBoth(a, b, memnet.Condition{Delay: time.Duration(5+rng.IntN(50)) * time.Millisecond})
			}
		}
		w.do("PUT", "/v1/collections/stock", `{"bounds":{"/n":{"min":0}}}`).gives(201)
		w.do("PUT", tea, fmt.Sprintf(`{"n":%d}`, stock)).gives(201)
		w.settle()
		var sold, refusals, over atomic.Int64
		var wg, cuts sync.WaitGroup
		stop := make(chan struct{})
		cuts.Go(func() {
			for {
				a := three[rng.IntN(3)]
				if rng.IntN(2) == 0 {
					cutOff(w, a)
				} else {
					w.net.Cut(a, three[(rng.IntN(2)+1)%3])
				}
				select {
				case <-stop:
					healAll(w)
					return
				case <-time.After(time.Duration(200+rng.IntN(1500)) * time.Millisecond):
				}
				healAll(w)
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rng.IntN(800)) * time.Millisecond):
				}
			}
		})
		for i := range 3 * clients {
			name := three[i%3]
			r := rand.New(rand.NewPCG(7, uint64(10+i)))
			wg.Go(func() {
				for done := 0; done < 5; {
					n := 1 + r.IntN(3)
					_, rep := incBy(w, name, tea, -n).with("Prefer", "wait=1").send()
					switch rep.status {
					case 200:
						sold.Add(int64(n))
					case 409:
						refusals.Add(1)
						p := rep.problem()
						if p.Share == nil || p.Share.Here >= int64(n) {
							t.Errorf("%s refuses %d: %s", name, n, rep.body)
						}
						if p.Type == noShare.uri() {
							done++
						}
					default:
						t.Errorf("%s: %d %s", name, rep.status, rep.body)
						return
					}
					var doc struct{ N int64 }
					w.on(name, "GET", tea, nil).gives(200).json(&doc)
					if doc.N < 0 {
						over.Add(1)
					}
					time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		close(stop)
		cuts.Wait()
		w.settle()
		t.Logf("%d sold, %d refusals", sold.Load(), refusals.Load())
		if over.Load() > 0 {
			t.Errorf("%d reads saw less than nothing", over.Load())
		}
		for _, r := range three {
			w.on(r, "GET", tea, nil).gives(200).is(fmt.Sprintf(`{"n":%d}`, stock-sold.Load()))
		}
		if left := stock - sold.Load(); left < 0 || left > 2 {
			t.Errorf("%d are left", left)
		}
		if refusals.Load() == 0 {
			t.Error("nothing was ever refused")
		}
		var status struct{ Shares region.ShareStatus }
		w.do("GET", "/v1/cluster", nil).gives(200).json(&status)
		if status.Shares.Given == 0 || status.Shares.Waiting != 0 {
			t.Errorf("us-east says %+v", status.Shares)
		}
	})
}
