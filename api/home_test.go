package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
)

const (
	seats  = "/v1/collections/seats"
	aSeat  = seats + "/docs/1a"
	rtt    = 80 * time.Millisecond
	atHome = `{"home":"eu-west"}`
)

// homed runs a test with three regions 40 ms from each other, and a collection
// whose home is eu-west.
func homed(t *testing.T, settings string, test func(w *world)) {
	t.Helper()
	far(t, func(w *world) {
		w.do("PUT", seats, settings).gives(201)
		w.settle()
		w.reach()
		test(w)
	})
}

// reach waits until each region reaches every other one.
func (w *world) reach() {
	w.t.Helper()
	for range 1000 {
		all := true
		for _, a := range w.names {
			for _, b := range w.names {
				all = all && (a == b || w.regions[a].Reaches(b))
			}
		}
		if all {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("not all regions reach each other")
}

// homes is how it stands with the homes of the collection, in a region.
func (w *world) homes(name string) []homeState {
	var info struct{ Homes []homeState }
	w.on(name, "GET", seats, nil).gives(200).json(&info)
	return info.Homes
}

// granted waits until a region holds the home of a prefix, as all regions know it.
func (w *world) granted(name, prefix string) {
	w.t.Helper()
	for range 500 {
		all := true
		for _, n := range w.names {
			ok := false
			for _, h := range w.homes(n) {
				ok = ok || h.Region == name && h.Prefix == prefix && h.State == "granted"
			}
			all = all && ok
		}
		if all {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("%s does not become home of %q: %+v", name, prefix, w.homes(name))
}

func (w *world) cut(a, b string) { w.net.Cut(a, b) }

func TestWritesGoToTheirHome(t *testing.T) {
	homed(t, atHome, func(w *world) {
		var r *reply
		if d := took(func() { r = w.do("PUT", aSeat, `{"who":"ana"}`).with("If-None-Match", "*").gives(201) }); d != rtt {
			t.Errorf("a forwarded write took %v, want %v", d, rtt)
		}
		if r.Get(HeaderRegion) != "eu-west" || r.Get(HeaderVia) != "us-east" || r.etag() == "" {
			t.Errorf("answered by %q via %q, ETag %q", r.Get(HeaderRegion), r.Get(HeaderVia), r.etag())
		}
		if got := w.on("eu-west", "GET", aSeat, nil).gives(200).is(`{"who":"ana"}`); got.etag() != r.etag() {
			t.Errorf("the home has ETag %q, the writer got %q", got.etag(), r.etag())
		}
		// The token leads back to what was written.
		w.do("GET", aSeat, nil).with(HeaderToken, r.Get(HeaderToken)).gives(200).is(`{"who":"ana"}`)
		// Preconditions hold everywhere, whatever has arrived where.
		w.on("ap-south", "PUT", aSeat, `{}`).with("If-None-Match", "*").gives(412).as(precondition, "exists")
		w.on("ap-south", "PUT", aSeat, `{"who":"bob"}`).with("If-Match", r.etag()).gives(200)
		p := w.do("PUT", aSeat, `{"who":"eve"}`).with("If-Match", r.etag()).gives(412)
		if p.problem().Region != "eu-west" {
			t.Errorf("refused by %q", p.problem().Region)
		}
		// At home nothing is forwarded.
		if d := took(func() { r = w.on("eu-west", "DELETE", aSeat, nil).gives(204) }); d != 0 || r.Get(HeaderVia) != "" {
			t.Errorf("a write at home took %v, via %q", d, r.Get(HeaderVia))
		}
	})
}

func TestEachKindOfWriteGoesHome(t *testing.T) {
	homed(t, atHome, func(w *world) {
		base := w.do("PUT", aSeat, `{"n":1}`).gives(201)
		w.do("PATCH", aSeat, `{"m":1}`).with("Content-Type", MediaMergePatch).gives(200)
		w.do("PUT", aSeat, `{"n":2}`).with(HeaderBase, base.etag()).gives(200)
		w.on("eu-west", "GET", aSeat, nil).gives(200).is(`{"m":1,"n":2}`)
		created := w.do("POST", seats+"/docs", `{"new":true}`).gives(201)
		w.on("eu-west", "GET", created.Get("Location"), nil).gives(200).is(`{"new":true}`)
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"seats","id":"b","put":{}},{"collection":"carts","id":"b","put":{}}]}`).gives(200)
		w.on("eu-west", "GET", seats+"/docs/b", nil).gives(200)
		var v struct{ Versions []struct{ Dot string } }
		w.on("eu-west", "GET", aSeat+"/versions", nil).gives(200).json(&v)
		r := w.do("POST", aSeat+"/resolve?acks=all", `{"versions":["`+v.Versions[0].Dot+`"],"value":{"done":true}}`).gives(200)
		if got := r.Get(HeaderAcked); got != "eu-west,ap-south,us-east" {
			t.Errorf("acknowledged by %q", got)
		}
		w.do("DELETE", seats, nil).gives(204)
		w.on("eu-west", "GET", seats, nil).gives(404)
	})
}

func TestStrictHomeThatCannotBeReached(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{}`).gives(201)
		w.settle()
		w.cut("eu-west", "us-east")
		time.Sleep(5 * time.Second)
		// Through ap-south.
		if r := w.do("PUT", aSeat, `{"n":1}`).gives(200); r.Get(HeaderRegion) != "eu-west" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		w.cut("eu-west", "ap-south")
		time.Sleep(5 * time.Second)
		for _, name := range []string{"us-east", "ap-south"} {
			w.on(name, "PUT", aSeat, `{"n":2}`).gives(503).as(homeAway, "eu-west")
			w.on(name, "GET", aSeat, nil).gives(200)
			w.on(name, "PUT", aDoc, `{}`).gives(200) // others are not concerned
		}
		w.on("eu-west", "PUT", aSeat, `{"n":3}`).gives(200)
	})
}

func TestPreferredHomeThatCannotBeReached(t *testing.T) {
	homed(t, `{"home":{"region":"eu-west","mode":"prefer"}}`, func(w *world) {
		if r := w.do("PUT", aSeat, `{"n":1}`).gives(201); r.Get(HeaderRegion) != "eu-west" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		w.settle()
		w.cut("eu-west", "us-east")
		w.cut("eu-west", "ap-south")
		time.Sleep(5 * time.Second)
		if r := w.do("PUT", aSeat, `{"n":2}`).gives(200); r.Get(HeaderRegion) != "us-east" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
	})
}

func TestRequestIsCarriedOutOnceOrTheClientIsToldItMayHaveBeen(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{"n":{"$counter":0}}`).gives(201)
		w.settle()
		var wg sync.WaitGroup
		wg.Go(func() {
			w.do("PATCH", aSeat, `[{"op":"inc","path":"/n","value":1}]`).with("Content-Type", MediaOps).gives(503).as(timeout, "eu-west")
		})
		time.Sleep(50 * time.Millisecond) // it is there, the answer is under way
		w.cut("eu-west", "us-east")
		wg.Wait()
		w.on("eu-west", "GET", aSeat, nil).gives(200).is(`{"n":1}`)
	})
}

func TestFirstStrictHomeNeedsEveryRegion(t *testing.T) {
	far(t, func(w *world) {
		w.do("PUT", aSeat, `{"from":"us-east"}`).gives(201)
		w.settle()
		w.cut("ap-south", "us-east")
		w.cut("ap-south", "eu-west")
		time.Sleep(5 * time.Second)
		w.do("PUT", seats, atHome).gives(200)
		time.Sleep(5 * time.Second)
		// ap-south does not know and goes on; so eu-west must not begin.
		w.on("ap-south", "PUT", aSeat, `{"from":"ap-south"}`).gives(200)
		for _, name := range []string{"us-east", "eu-west"} {
			w.on(name, "PUT", aSeat, `{}`).with("Prefer", "wait=1").gives(503).as(homePending, "eu-west")
		}
		w.net.Heal("ap-south", "us-east")
		w.net.Heal("ap-south", "eu-west")
		w.granted("eu-west", "")
		w.do("GET", aSeat+"?read=home", nil).gives(200).is(`{"from":"ap-south"}`)
		w.on("ap-south", "PUT", aSeat, `{"from":"home"}`).gives(200)
		w.settle()
		var v struct{ Versions []struct{} }
		if w.do("GET", aSeat+"/versions", nil).gives(200).json(&v); len(v.Versions) != 1 {
			t.Errorf("%d versions, want one: the home had seen what ap-south wrote", len(v.Versions))
		}
	})
}

func TestHomeMovesWithEverythingItTook(t *testing.T) {
	homed(t, atHome, func(w *world) {
		tag := w.do("PUT", aSeat, `{"n":0}`).gives(201).etag()
		w.on("ap-south", "PUT", seats, `{"home":"ap-south"}`).gives(200)
		for i, name := range []string{"us-east", "eu-west", "ap-south", "us-east"} {
			r := w.on(name, "PUT", aSeat, fmt.Sprintf(`{"n":%d}`, i)).with("If-Match", tag).gives(200)
			if r.Get(HeaderRegion) != "ap-south" {
				t.Errorf("write %d was answered by %q via %q", i, r.Get(HeaderRegion), r.Get(HeaderVia))
			}
			tag = r.etag()
		}
		if h := w.homes("eu-west"); len(h) != 1 || h[0].Epoch != 2 || h[0].State != "granted" || h[0].Region != "ap-south" {
			t.Errorf("homes %+v", h)
		}
		// Given up, everybody writes again.
		w.do("POST", seats+"/home", `{"region":"us-east"}`).gives(200)
		w.granted("us-east", "")
		w.do("PUT", seats, `{}`).gives(200)
		w.settle()
		if r := w.on("eu-west", "PUT", aSeat, `{}`).gives(200); r.Get(HeaderRegion) != "eu-west" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
	})
}

func TestForcedMoveSaysWhatMayBeLost(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{"n":0}`).gives(201)
		w.settle()
		w.cut("eu-west", "us-east")
		w.cut("eu-west", "ap-south")
		time.Sleep(5 * time.Second)
		w.on("eu-west", "PUT", aSeat, `{"n":"late"}`).gives(200)
		w.do("POST", seats+"/home", `{"region":"ap-south"}`).gives(503).as(homeAway, "eu-west")
		var out struct {
			Home    homeState
			MayLose *mayLose `json:"may_lose"`
		}
		w.do("POST", seats+"/home", `{"region":"ap-south","force":true}`).gives(200).json(&out)
		if out.Home.Region != "ap-south" || !out.Home.Forced || out.MayLose == nil || out.MayLose.Region != "eu-west" || out.MayLose.LastHeard == nil {
			t.Errorf("the forced move answers %+v", out)
		}
		time.Sleep(time.Second) // until us-east has heard
		if r := w.do("PUT", aSeat, `{"n":1}`).gives(200); r.Get(HeaderRegion) != "ap-south" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		w.net.Heal("eu-west", "us-east")
		w.net.Heal("eu-west", "ap-south")
		w.settle()
		// What the former home took is there, beside what came after.
		if r := w.on("eu-west", "PUT", aSeat, `{"n":2}`).gives(200); r.Get(HeaderRegion) != "ap-south" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		var log struct{ Conflicts []struct{ Document string } }
		if w.do("GET", "/v1/conflicts?collection=seats", nil).gives(200).json(&log); len(log.Conflicts) == 0 {
			t.Error("no record of the writes that the former home took")
		}
	})
}

func TestRestoredHomeHasNoAuthority(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{"n":0}`).gives(201)
		w.settle()
		w.stops["eu-west"]()
		w.stores["eu-west"] = memstore.New()
		w.start("eu-west")
		w.settle()
		w.reach()
		w.do("PUT", aSeat, `{}`).gives(503).as(noAuthority, "eu-west")
		w.on("eu-west", "GET", aSeat+"?read=home", nil).gives(503).as(noAuthority, "grant it again")
		w.do("POST", seats+"/home", `{"region":"eu-west"}`).gives(200)
		w.granted("eu-west", "")
		w.do("PUT", aSeat, `{"n":1}`).gives(200)
		if h := w.homes("us-east"); h[0].Epoch != 2 || h[0].Forced {
			t.Errorf("homes %+v", h)
		}
	})
}

func TestPrefixesHaveHomes(t *testing.T) {
	const both = `{"home":[{"region":"eu-west","prefix":"eu:"},{"region":"ap-south","prefix":"ap:"}]}`
	homed(t, both, func(w *world) {
		for id, home := range map[string]string{"eu:1": "eu-west", "ap:1": "ap-south", "us:1": "us-east"} {
			if r := w.do("PUT", seats+"/docs/"+id, `{}`).gives(201); r.Get(HeaderRegion) != home {
				t.Errorf("%s was written in %q", id, r.Get(HeaderRegion))
			}
		}
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"seats","id":"eu:2","put":{}},{"collection":"seats","id":"ap:2","put":{}}]}`).
			gives(422).as(severalHomes, "ap-south")
		w.do("DELETE", seats, nil).gives(422).as(severalHomes, "move them")
		// A longer prefix inside a home of its own.
		w.do("POST", seats+"/home", `{"region":"us-east","prefix":"eu:x"}`).gives(200)
		w.granted("us-east", "eu:x")
		for id, home := range map[string]string{"eu:x1": "us-east", "eu:y1": "eu-west"} {
			if r := w.on("ap-south", "PUT", seats+"/docs/"+id, `{}`).gives(201); r.Get(HeaderRegion) != home {
				t.Errorf("%s was written in %q", id, r.Get(HeaderRegion))
			}
		}
		var info struct{ Home []map[string]string }
		w.do("GET", seats, nil).gives(200).json(&info)
		if len(info.Home) != 3 || info.Home[2]["prefix"] != "eu:x" {
			t.Errorf("home is %v", info.Home)
		}
	})
}

func TestReadAtHomeSeesTheLastWrite(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{"n":0}`).gives(201)
		for i := range 5 {
			want := fmt.Sprintf(`{"n":%d}`, i)
			w.on("ap-south", "PUT", aSeat, want).gives(200)
			var r *reply
			if d := took(func() { r = w.do("GET", aSeat+"?read=home", nil).gives(200).is(want) }); d != rtt {
				t.Errorf("it took %v, want %v", d, rtt)
			}
			if r.Get(HeaderRegion) != "eu-west" || r.Get(HeaderRead) != "eu-west" {
				t.Errorf("answered by %q, read %q", r.Get(HeaderRegion), r.Get(HeaderRead))
			}
		}
		if r := w.do("HEAD", aSeat+"?read=home", nil).gives(200); r.body != "" || r.etag() == "" {
			t.Errorf("HEAD gives %q, ETag %q", r.body, r.etag())
		}
		w.do("GET", aDoc+"?read=home", nil).gives(422).as(invalid, "no home")
	})
}

func TestUnmetTokenIsForwarded(t *testing.T) {
	far(t, func(w *world) {
		w.reach()
		w.cut("us-east", "ap-south")
		time.Sleep(5 * time.Second)
		token := w.on("eu-west", "PUT", aDoc, `{"n":1}`).gives(200).Get(HeaderToken)
		// It would be here in 40 ms, but the client wants no wait.
		r := w.do("GET", aDoc+"?fallback=forward", nil).with(HeaderToken, token).gives(200).is(`{"n":1}`)
		if r.Get(HeaderRegion) != "eu-west" || r.Get(HeaderVia) != "us-east" {
			t.Errorf("answered by %q via %q", r.Get(HeaderRegion), r.Get(HeaderVia))
		}
		// With a wait, this region catches up first.
		token = w.on("eu-west", "PUT", aDoc, `{"n":2}`).gives(200).Get(HeaderToken)
		r = w.do("GET", aDoc+"?fallback=forward", nil).with(HeaderToken, token).with("Prefer", "wait=1").gives(200).is(`{"n":2}`)
		if r.Get(HeaderRegion) != "us-east" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		// Writes and lists go, too.
		token = w.on("eu-west", "PUT", aDoc, `{"n":3}`).gives(200).Get(HeaderToken)
		if r := w.do("PUT", aDoc+"?fallback=forward", `{"n":4}`).with(HeaderToken, token).gives(200); r.Get(HeaderRegion) != "eu-west" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		if r := w.do("GET", "/v1/collections/carts/docs?fallback=forward", nil).with(HeaderToken, token).gives(200); r.Get(HeaderRegion) != "eu-west" && r.Get(HeaderRegion) != "us-east" {
			t.Errorf("answered by %q", r.Get(HeaderRegion))
		}
		// Nobody has it.
		w.cut("us-east", "eu-west")
		token = w.on("eu-west", "PUT", aDoc, `{"n":5}`).gives(200).Get(HeaderToken)
		time.Sleep(5 * time.Second)
		w.do("GET", aDoc+"?fallback=forward", nil).with(HeaderToken, token).gives(503).as(behind, "lacks")
		w.do("GET", aDoc+"?fallback=maybe", nil).gives(400).as(malformedRequest, "forward")
	})
}

func TestHomesInEveryTopology(t *testing.T) {
	five := []string{"af-south", "ap-south", "eu-west", "sa-east", "us-east"}
	for _, spec := range []topology.Spec{{Kind: topology.Ring}, {Kind: topology.Star, Hub: "sa-east"}} {
		tune := func(rc *region.Config, _ *Config) { rc.Topology = spec }
		t.Run(string(spec.Kind), func(t *testing.T) {
			inWorld(t, five, tune, func(w *world) {
				w.reach()
				w.do("PUT", seats, `{"home":"ap-south"}`).gives(201)
				w.settle()
				for _, name := range five {
					if r := w.on(name, "PUT", seats+"/docs/"+name, `{}`).gives(201); r.Get(HeaderRegion) != "ap-south" {
						t.Errorf("%s: answered by %q", name, r.Get(HeaderRegion))
					}
				}
			})
		})
	}
}

func TestHomeSettingsAreChecked(t *testing.T) {
	far(t, func(w *world) {
		for body, says := range map[string]string{
			`{"home":"nowhere"}`:                                                        "no region",
			`{"home":{"mode":"x"}}`:                                                     "needs a region",
			`{"home":{"region":"eu-west","mode":"x"}}`:                                  "strict",
			`{"home":{"region":"eu-west","what":1}}`:                                    "what",
			`{"home":[{"region":"eu-west"},{"region":"us-east"}]}`:                      "two homes",
			`{"home":{"region":"eu-west","prefix":"` + strings.Repeat("x", 200) + `"}}`: "prefix",
			`{"home":7}`: "home",
		} {
			w.do("PUT", seats, body).gives(422).as(invalid, says)
		}
		w.do("POST", "/v1/collections/carts/home", `{}`).gives(400).as(malformedRequest, "region")
		w.do("POST", "/v1/collections/carts/home", `{"region":"nowhere"}`).gives(422).as(invalid, "no region")
		w.do("POST", "/v1/collections/nosuch/home", `{"region":"eu-west"}`).gives(404).as(unknownColl, "nosuch")
		for in, out := range map[string]string{
			`"eu-west"`:                                                `"eu-west"`,
			`{"region":"eu-west","mode":"strict"}`:                     `"eu-west"`,
			`{"region":"eu-west","mode":"prefer"}`:                     `{"region":"eu-west","mode":"prefer"}`,
			`[{"region":"eu-west","prefix":"a"}]`:                      `{"region":"eu-west","mode":"strict","prefix":"a"}`,
			`[{"region":"us-east","prefix":"b"},{"region":"eu-west"}]`: `[{"region":"eu-west","mode":"strict"},{"region":"us-east","mode":"strict","prefix":"b"}]`,
		} {
			s, err := core.ParseSettings([]byte(`{"home":` + in + `}`))
			if err != nil {
				t.Fatal(err)
			}
			b, err := s.MarshalJSON()
			if err != nil || !strings.Contains(string(b), `"home":`+out) {
				t.Errorf("home %s is written as %s: %v", in, b, err)
			}
		}
	})
}

func TestKeyOfAForwardedWriteIsKnownAtHome(t *testing.T) {
	homed(t, atHome, func(w *world) {
		w.do("PUT", aSeat, `{"n":{"$counter":0}}`).gives(201)
		for i, name := range []string{"us-east", "ap-south", "eu-west", "us-east"} {
			r := w.on(name, "PATCH", aSeat, `[{"op":"inc","path":"/n","value":1}]`).with("Content-Type", MediaOps).
				with(HeaderKey, "a-key").gives(200)
			if repeated := r.Get(HeaderRepeated) != ""; repeated != (i > 0) || r.Get(HeaderRegion) != "eu-west" {
				t.Errorf("request %d: repeated %v, answered by %q", i, repeated, r.Get(HeaderRegion))
			}
		}
		w.do("GET", aSeat+"?read=home", nil).gives(200).is(`{"n":1}`)
	})
}

func TestHundredWritersCreateOneDocument(t *testing.T) {
	homed(t, atHome, func(w *world) {
		var mu sync.Mutex
		statuses := map[int]int{}
		var wg sync.WaitGroup
		for i := range 99 {
			wg.Go(func() {
				res := w.on(three[i%3], "PUT", aSeat, fmt.Sprintf(`{"who":%d}`, i)).with("If-None-Match", "*")
				rec := newRecorder()
				res.handler.ServeHTTP(rec, res.r)
				mu.Lock()
				statuses[rec.status]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusPreconditionFailed] != 98 {
			t.Errorf("the writers were answered %v", statuses)
		}
	})
}

func newRecorder() *capture { return &capture{header: http.Header{}} }
