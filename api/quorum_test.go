package api

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/transport/memnet"
)

var three = []string{"ap-south", "eu-west", "us-east"}

// far runs a test with three regions, 40 ms from each other.
func far(t *testing.T, test func(w *world)) {
	t.Helper()
	inWorld(t, three, nil, func(w *world) {
		for i, a := range three {
			for _, b := range three[:i] {
				w.net.SetBoth(a, b, memnet.Condition{Delay: 40 * time.Millisecond})
			}
		}
		w.do("PUT", aDoc, `{}`).gives(201)
		w.settle()
		w.meet()
		test(w)
	})
}

// took is how long the request takes.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func TestAcksOnEachKindOfWrite(t *testing.T) {
	far(t, func(w *world) {
		const rtt = 80 * time.Millisecond
		writes := map[string]func(query string) *call{
			"put": func(q string) *call { return w.do("PUT", aDoc+q, `{"n":`+"1"+`}`) },
			"patch": func(q string) *call {
				return w.do("PATCH", aDoc+q, `{"m":1}`).with("Content-Type", MediaMergePatch)
			},
			"post":  func(q string) *call { return w.do("POST", "/v1/collections/carts/docs"+q, `{}`) },
			"batch": func(q string) *call { return w.do("POST", "/v1/batch"+q, `{"docs":[{"collection":"carts","put":{}}]}`) },
			"resolve": func(q string) *call {
				var v struct{ Versions []struct{ Dot string } }
				w.do("GET", aDoc+"/versions", nil).gives(200).json(&v)
				return w.do("POST", aDoc+"/resolve"+q, `{"versions":["`+v.Versions[0].Dot+`"],"value":{"a":1}}`)
			},
		}
		status := map[string]int{"put": 200, "patch": 200, "post": 201, "batch": 200, "resolve": 200, "delete": 204}
		for name, write := range writes {
			for acks, want := range map[string]time.Duration{"1": 0, "2": rtt, "3": rtt, "majority": rtt, "all": rtt, "eu-west": rtt, "us-east": 0} {
				c := write("?acks=" + acks)
				var r *reply
				if d := took(func() { r = c.gives(status[name]) }); d != want {
					t.Errorf("%s?acks=%s took %v, want %v", name, acks, d, want)
				}
				if got := r.Get(HeaderAcked); !strings.HasPrefix(got, "us-east") || want > 0 && got == "us-east" || acks == "eu-west" && !strings.Contains(got, acks) {
					t.Errorf("%s?acks=%s: acknowledged by %q", name, acks, got)
				}
			}
			if r := write("").gives(status[name]); r.Get(HeaderAcked) != "" {
				t.Errorf("%s without acks: %q", name, r.Get(HeaderAcked))
			}
		}
		if r := w.do("DELETE", aDoc+"?acks=all", nil).gives(204); r.Get(HeaderAcked) != "us-east,ap-south,eu-west" {
			t.Errorf("delete: %q", r.Get(HeaderAcked))
		}
	})
}

func TestUnmetAcksAre202AndTheWriteStands(t *testing.T) {
	far(t, func(w *world) {
		w.net.Cut("us-east", "ap-south")
		w.net.Cut("eu-west", "ap-south")
		for _, c := range []*call{
			w.do("PUT", aDoc+"?acks=3", `{"n":1}`),
			w.do("PATCH", aDoc+"?acks=all", `{"m":1}`).with("Content-Type", MediaMergePatch),
			w.do("POST", "/v1/collections/carts/docs?acks=ap-south,eu-west", `{}`),
			w.do("POST", "/v1/batch?acks=3", `{"docs":[{"collection":"carts","put":{}}]}`),
			w.do("DELETE", aDoc+"?acks=3", nil),
		} {
			var r *reply
			if d := took(func() { r = c.gives(202) }); d != DefaultWait {
				t.Errorf("%s took %v", c.r.Method, d)
			}
			var body struct {
				Dot, Wanted string
				Acked       []string
			}
			r.json(&body)
			if r.Get(HeaderAcked) != "us-east,eu-west" || strings.Join(body.Acked, ",") != "us-east,eu-west" || body.Wanted != c.r.URL.Query().Get("acks") || body.Dot == "" {
				t.Errorf("%s: %q, %s", c.r.Method, r.Get(HeaderAcked), r.body)
			}
		}
		if d := took(func() { w.do("PUT", aDoc+"?acks=3", `{}`).with("Prefer", "wait=5").gives(202) }); d != 5*time.Second {
			t.Errorf("with wait=5 it took %v", d)
		}
		w.do("PUT", aDoc+"?acks=2", `{"b":1}`).gives(200)
		w.net.Heal("us-east", "ap-south")
		w.net.Heal("eu-west", "ap-south")
		w.settle()
		w.on("ap-south", "GET", aDoc, nil).gives(200).is(`{"b":1}`)
	})
}

func TestImpossibleAcksAreRefusedBeforeWriting(t *testing.T) {
	far(t, func(w *world) {
		for acks, says := range map[string]string{
			"4": "the cluster has 3", "0": "at least 1", "": "give a number", "mars": "no region \"mars\"", "eu-west,": "empty name",
			"-1": "no region", "99999999999999999999": "at least 1",
		} {
			w.do("PUT", "/v1/collections/carts/docs/new?acks="+acks, `{}`).gives(422).as(invalid, says)
			w.do("POST", "/v1/batch?acks="+acks, `{"docs":[{"collection":"carts","id":"new","put":{}}]}`).gives(422).as(invalid, says)
			w.do("GET", aDoc+"?read="+acks, nil).gives(422).as(invalid, says)
		}
		w.do("PUT", "/v1/collections/carts/docs/new?acks=1&acks=2", `{}`).gives(400)
		w.do("PUT", "/v1/collections/carts?acks=2", `{}`).gives(400)
		w.do("GET", "/v1/collections/carts/docs/new", nil).gives(404)
	})
}

func TestCollectionsAskForAcks(t *testing.T) {
	far(t, func(w *world) {
		put := func(name, settings string, status int) *reply {
			return w.do("PUT", "/v1/collections/"+name, settings).gives(status)
		}
		for _, acks := range []string{`4`, `0`, `-1`, `1.5`, `"mars"`, `true`, `[]`} {
			put("bad", `{"acks":`+acks+`}`, 422).as(invalid, "region")
		}
		put("two", `{"acks":2}`, 201)
		put("named", `{"acks":"eu-west"}`, 201)
		put("one", `{"acks":1}`, 201)
		if b := w.do("GET", "/v1/collections/named", nil).gives(200).body; !strings.Contains(b, `"acks":"eu-west"`) {
			t.Error(b)
		}
		w.settle()
		w.net.Cut("us-east", "eu-west")
		w.net.Cut("ap-south", "eu-west")
		synctest.Wait()
		if r := w.do("PUT", "/v1/collections/two/docs/a", `{}`).gives(201); r.Get(HeaderAcked) != "us-east,ap-south" {
			t.Errorf("two: %q", r.Get(HeaderAcked))
		}
		if r := w.do("PUT", "/v1/collections/one/docs/a", `{}`).gives(201); r.Get(HeaderAcked) != "" {
			t.Errorf("one: %q", r.Get(HeaderAcked))
		}
		w.do("PUT", "/v1/collections/named/docs/a", `{}`).gives(202)
		w.do("PUT", "/v1/collections/named/docs/a?acks=1", `{}`).gives(200)
		r := w.do("POST", "/v1/batch", `{"docs":[{"collection":"two","put":{}},{"collection":"named","put":{}},{"collection":"two","put":{}}]}`).gives(202)
		if r.Get(HeaderAcked) != "us-east,ap-south" || !strings.Contains(r.body, `"wanted":"2 and eu-west"`) {
			t.Errorf("batch: %q, %s", r.Get(HeaderAcked), r.body)
		}
	})
}

func TestReadsAcrossRegions(t *testing.T) {
	far(t, func(w *world) {
		const rtt = 80 * time.Millisecond
		for read, want := range map[string]time.Duration{
			"local": 0, "1": 0, "us-east": 0, "quorum": rtt, "majority": rtt, "2": rtt, "all": rtt, "eu-west": rtt, "eu-west,ap-south": rtt,
		} {
			var r *reply
			if d := took(func() { r = w.do("GET", aDoc+"?read="+read, nil).gives(200) }); d != want {
				t.Errorf("read=%s took %v, want %v", read, d, want)
			}
			names := strings.Split(r.Get(HeaderRead), ",")
			if names[0] != "us-east" || want > 0 && len(names) < 2 || read == "all" && len(names) != 3 {
				t.Errorf("read=%s was answered by %v", read, names)
			}
		}
		if r := w.do("GET", aDoc, nil).gives(200); r.Get(HeaderRead) != "" {
			t.Error("a plain read says who answered")
		}
		// What another region wrote just now is on its way; the read waits for it.
		w.on("eu-west", "PUT", aDoc, `{"n":1}`).gives(200)
		w.do("GET", aDoc+"?read=eu-west", nil).gives(200).is(`{"n":1}`)
		w.on("eu-west", "PUT", aDoc+"?acks=majority", `{"n":2}`).gives(200)
		w.do("GET", aDoc+"?read=quorum", nil).gives(200).is(`{"n":2}`)
		w.do("GET", aDoc+"/versions?read=quorum", nil).gives(200)
		w.do("GET", "/v1/collections/carts/docs?read=quorum", nil).gives(400)
		// Also what is not there, or whose collection is not known here.
		w.on("eu-west", "PUT", "/v1/collections/new/docs/a", `{"n":3}`).gives(201)
		w.do("GET", "/v1/collections/new/docs/a?read=all", nil).gives(200).is(`{"n":3}`)
		w.do("GET", "/v1/collections/new/docs/none?read=all", nil).gives(404)

		w.net.Cut("us-east", "eu-west")
		w.do("GET", aDoc+"?read=quorum", nil).gives(200)
		w.net.Cut("us-east", "ap-south")
		synctest.Wait()
		var r *reply
		if d := took(func() { r = w.do("GET", aDoc+"?read=quorum", nil).gives(503) }); d < DefaultWait || d > DefaultWait+200*time.Millisecond {
			t.Errorf("without a quorum it took %v", d)
		}
		r.as(noQuorum, "only us-east")
		w.do("GET", aDoc+"?read=eu-west", nil).with("Prefer", "wait=0").gives(503).as(noQuorum, "")
		w.do("GET", aDoc+"?read=local", nil).gives(200)
	})
}

// A read by a quorum returns only what a quorum holds, also of a write that
// nobody has acknowledged yet: who reads after it sees no less.
func TestQuorumReadWaitsForItsQuorum(t *testing.T) {
	far(t, func(w *world) {
		w.net.Cut("us-east", "eu-west")
		w.net.Cut("us-east", "ap-south")
		synctest.Wait()
		w.do("PUT", aDoc+"?acks=2", `{"n":1}`).with("Prefer", "wait=0").gives(202)
		w.do("GET", aDoc+"?read=local", nil).gives(200).is(`{"n":1}`)
		w.do("GET", aDoc+"?read=quorum", nil).gives(503)
		// The ways back are open: queries are answered, what is read is not held.
		time.AfterFunc(5*time.Second, func() { w.net.Heal("us-east", "ap-south") })
		w.do("GET", aDoc+"?read=quorum", nil).with("Prefer", "wait=20").gives(200).is(`{"n":1}`)
		w.on("ap-south", "GET", aDoc, nil).gives(200).is(`{"n":1}`)
		w.on("eu-west", "GET", aDoc+"?read=quorum", nil).gives(200).is(`{"n":1}`)
	})
}

func TestWaitersForOtherRegionsAreBounded(t *testing.T) {
	tune := func(_ *region.Config, c *Config) { c.MaxWaiters = 1 }
	inWorld(t, []string{"eu-west", "us-east"}, tune, func(w *world) {
		w.do("PUT", aDoc, `{}`).gives(201)
		w.net.Cut("eu-west", "us-east")
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.do("PUT", aDoc+"?acks=2", `{}`).gives(202)
		}()
		synctest.Wait()
		w.do("PUT", "/v1/collections/carts/docs/b?acks=2", `{}`).gives(429).as(busy, "waiting")
		w.do("GET", aDoc+"?read=all", nil).gives(429).as(busy, "waiting")
		w.do("GET", "/v1/collections/carts/docs/b", nil).gives(404)
		w.do("PUT", aDoc+"?acks=1", `{}`).gives(200)
		<-done
		w.do("PUT", aDoc+"?acks=2", `{}`).with("Prefer", "wait=0").gives(202)
	})
}

func TestTokenAsCookie(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		if r := w.do("PUT", aDoc, `{"n":1}`).gives(201); len(r.Header["Set-Cookie"]) != 0 {
			t.Error("a cookie that nobody asked for")
		}
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		r := w.do("PUT", aDoc, `{"n":2}`).with("Prefer", "wait=1, Token-Cookie").gives(200)
		set := r.Get("Set-Cookie")
		want := "meridian-token=" + r.Get(HeaderToken) + "; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"
		if set != want {
			t.Errorf("cookie %q, want %q", set, want)
		}
		cookie, _, _ := strings.Cut(set, ";")
		// It holds in another region, and is renewed from then on.
		again := w.on("eu-west", "GET", aDoc, nil).with("Cookie", "x=y; "+cookie).with("Prefer", "wait=0").gives(503)
		again.as(behind, "")
		if !strings.HasPrefix(again.Get("Set-Cookie"), "meridian-token=") {
			t.Error("the cookie is not renewed")
		}
		// The header goes before it; what is not understood counts for nothing.
		w.on("eu-west", "GET", aDoc, nil).with("Cookie", cookie).with(HeaderToken, again.Get(HeaderToken)).with("Prefer", "wait=0").gives(503)
		old := w.on("eu-west", "GET", "/v1/collections", nil).gives(200).Get(HeaderToken)
		w.on("eu-west", "GET", aDoc, nil).with("Cookie", cookie).with(HeaderToken, old).gives(200).is(`{"n":1}`)
		w.on("eu-west", "GET", aDoc, nil).with("Cookie", "meridian-token=garbage").gives(200)
		if r := w.do("GET", aDoc, nil).with("Cookie", cookie).with("X-Forwarded-Proto", "https").gives(200); !strings.Contains(r.Get("Set-Cookie"), "; Secure") {
			t.Error("not for https only")
		}
	})
}

// The staleness of a read is that of the region heard least recently.
func TestStalenessOfEachRegion(t *testing.T) {
	far(t, func(w *world) {
		staleness := func() (map[string]int64, int64) {
			var s struct {
				Regions []struct {
					Region      string
					StalenessMs int64 `json:"staleness_ms"`
				}
			}
			r := w.do("GET", "/v1/cluster", nil).gives(200).json(&s)
			all := map[string]int64{}
			for _, p := range s.Regions {
				all[p.Region] = p.StalenessMs
			}
			header, err := strconv.ParseInt(r.Get(HeaderStaleness), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return all, header
		}
		time.Sleep(10 * time.Second)
		// Each region reports twice a second.
		if all, header := staleness(); len(all) != 2 || max(all["eu-west"], all["ap-south"]) > 600 || header > 600 {
			t.Errorf("linked: %v, header %d", all, header)
		}
		w.net.Cut("us-east", "ap-south")
		w.net.Cut("eu-west", "ap-south")
		time.Sleep(20 * time.Second)
		if all, header := staleness(); all["eu-west"] > 600 || all["ap-south"] < 19_000 || header < all["ap-south"]-100 || header > all["ap-south"]+100 {
			t.Errorf("cut: %v, header %d", all, header)
		}
	})
}

func TestLongTokensAreNoCookies(t *testing.T) {
	alone(t, func(w *world) {
		long := encodeToken(manyReplicas(200))
		r := w.do("GET", aDoc, nil).with(HeaderToken, long).with("Prefer", "token-cookie, wait=0").gives(http.StatusServiceUnavailable)
		if len(r.Header["Set-Cookie"]) != 0 {
			t.Error("a browser would drop it")
		}
	})
}
