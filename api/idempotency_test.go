package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region"
)

const opsInc = `[{"op":"inc","path":"/n","value":1}]`

// inc increments a counter under a key.
func inc(w *world, region, key string) *call {
	return w.on(region, "PATCH", aDoc, opsInc).with("Content-Type", MediaOps).with(HeaderKey, key)
}

// sameAnswer checks that the second answer is the first one's.
func sameAnswer(t *testing.T, first, second *reply) {
	t.Helper()
	if first.status != second.status || first.body != second.body || first.etag() != second.etag() || first.Get("Location") != second.Get("Location") {
		t.Errorf("the answer is\n%d %s %s\nand was\n%d %s %s", second.status, second.etag(), second.body, first.status, first.etag(), first.body)
	}
	if first.Get(HeaderRepeated) != "" || second.Get(HeaderRepeated) != "true" {
		t.Errorf("%s is %q and then %q", HeaderRepeated, first.Get(HeaderRepeated), second.Get(HeaderRepeated))
	}
}

func requestsOf(w *world, region string) (s region.RequestStatus) {
	var status struct{ Requests *regionRequests }
	status.Requests = &s
	w.on(region, "GET", "/v1/cluster", nil).gives(200).json(&status)
	return s
}

type regionRequests = region.RequestStatus

func TestRepeatedRequestsAreCarriedOutOnce(t *testing.T) {
	inWorld(t, three, nil, func(w *world) {
		w.do("PUT", aDoc, `{"n":{"$counter":0}}`).gives(201)
		w.do("PUT", "/v1/collections/raw", `{"type":"register"}`).gives(201)
		w.do("PUT", "/v1/collections/raw/docs/r", `{"v":1}`).gives(201)
		w.settle()
		var v struct{ Versions []struct{ Dot string } }
		w.do("GET", "/v1/collections/raw/docs/r/versions", nil).gives(200).json(&v)
		for _, c := range []struct {
			name   string
			status int
			make   func(region string) *call
		}{
			{"resolve", 200, func(r string) *call {
				return w.on(r, "POST", "/v1/collections/raw/docs/r/resolve", `{"versions":["`+v.Versions[0].Dot+`"],"value":{"v":3}}`)
			}},
			{"patch", 200, func(r string) *call { return w.on(r, "PATCH", aDoc, opsInc).with("Content-Type", MediaOps) }},
			{"put", 201, func(r string) *call { return w.on(r, "PUT", "/v1/collections/carts/docs/b", `{"a":1}`) }},
			{"match", 200, func(r string) *call {
				return w.on(r, "PUT", "/v1/collections/raw/docs/r", `{"v":2}`).with("If-Match", "*")
			}},
			{"post", 201, func(r string) *call { return w.on(r, "POST", "/v1/collections/carts/docs", `{"a":1}`) }},
			{"fresh", 201, func(r string) *call { return w.on(r, "PUT", "/v1/collections/fresh/docs/x", `{}`) }},
			{"batch", 200, func(r string) *call {
				return w.on(r, "POST", "/v1/batch", `{"docs":[{"collection":"carts","put":{}},{"collection":"other","id":"x","put":{"a":1}}]}`)
			}},
		} {
			first := c.make("us-east").with(HeaderKey, c.name).gives(c.status)
			sameAnswer(t, first, c.make("us-east").with(HeaderKey, `"`+c.name+`"`).gives(c.status))
			w.settle()
			for _, r := range three {
				sameAnswer(t, first, c.make(r).with(HeaderKey, c.name).gives(c.status))
			}
		}
		w.do("GET", aDoc, nil).gives(200).is(`{"n":1}`)
		const remove = "/v1/collections/carts/docs/b"
		first := w.do("DELETE", remove, nil).with(HeaderKey, "del").gives(204)
		sameAnswer(t, first, w.do("DELETE", remove, nil).with(HeaderKey, "del").gives(204))
		w.do("DELETE", remove, nil).with(HeaderKey, "del2").gives(404)
		w.settle()
		for _, r := range three {
			if s := requestsOf(w, r); s.Keys != 8 || s.Bytes == 0 || s.Twice != 0 {
				t.Errorf("%s remembers %+v, want 8 keys", r, s)
			}
		}
	})
}

func TestKeyWithAnotherRequestIsRefused(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{"a":1}`).with(HeaderKey, "k").gives(201)
		for what, c := range map[string]*call{
			"body":         w.do("PUT", aDoc, `{"a":2}`),
			"path":         w.do("PUT", aDoc+"2", `{"a":1}`),
			"method":       w.do("PATCH", aDoc, `{"a":1}`).with("Content-Type", MediaMergePatch),
			"precondition": w.do("PUT", aDoc, `{"a":1}`).with("If-Match", "*"),
		} {
			r := c.with(HeaderKey, "k").gives(422)
			if r.as(keyReused, ""); t.Failed() {
				t.Fatalf("another %s", what)
			}
		}
		// How long is waited, and for whom, is no other request.
		w.do("PUT", aDoc+"?acks=1", `{"a":1}`).with(HeaderKey, "k").with("Prefer", "wait=3").gives(201)
		w.do("PUT", aDoc, `{"a":1}`).with(HeaderKey, "other").gives(200)
		for _, bad := range []string{"", " ", `""`, "two words", strings.Repeat("x", MaxKey+1), "ü"} {
			w.do("PUT", aDoc, `{"a":1}`).with(HeaderKey, bad).gives(400).as(malformedRequest, HeaderKey)
		}
	})
}

func TestRefusedRequestsLeaveTheirKey(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{}`).with("If-Match", "*").with(HeaderKey, "k").gives(412)
		w.do("PUT", aDoc, `{}`).gives(201)
		r := w.do("PUT", aDoc, `{}`).with("If-Match", "*").with(HeaderKey, "k").gives(200)
		if r.Get(HeaderRepeated) != "" {
			t.Error("a refused request is remembered")
		}
	})
}

func TestKeysOutliveARestartAndExpire(t *testing.T) {
	const age = 5 * time.Minute
	tune := func(c *region.Config, _ *Config) { c.Limits.RequestAge = age }
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		w.do("PUT", aDoc, `{"n":{"$counter":0}}`).gives(201)
		first := inc(w, "us-east", "k").gives(200)
		w.stops["us-east"]()
		w.start("us-east")
		w.settle()
		sameAnswer(t, first, inc(w, "us-east", "k").gives(200))
		time.Sleep(age - time.Minute)
		sameAnswer(t, first, inc(w, "us-east", "k").gives(200))
		time.Sleep(time.Minute)
		if r := inc(w, "us-east", "k").gives(200); r.Get(HeaderRepeated) != "" {
			t.Error("the key has not expired")
		}
		w.do("GET", aDoc, nil).gives(200).is(`{"n":2}`)
		time.Sleep(age + 2*time.Second)
		if s := requestsOf(w, "us-east"); s.Keys != 0 || s.Bytes != 0 {
			t.Errorf("what has expired is still counted: %+v", s)
		}
	})
}

func TestOneKeyAtOnceIsOneWrite(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{"n":{"$counter":0}}`).gives(201)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { inc(w, "us-east", "k").gives(200) })
		}
		wg.Wait()
		w.do("GET", aDoc, nil).gives(200).is(`{"n":1}`)
	})
}

func TestRequestCarriedOutTwiceIsReported(t *testing.T) {
	inWorld(t, three, nil, func(w *world) {
		w.do("PUT", aDoc, `{"n":{"$counter":0}}`).gives(201)
		w.settle()
		for _, other := range three[:2] {
			w.net.Cut("us-east", other)
		}
		inc(w, "us-east", "k").gives(200)
		inc(w, "eu-west", "k").gives(200)
		w.do("PUT", aDoc+"2", `{}`).with(HeaderKey, "differs").gives(201)
		w.on("eu-west", "PUT", aDoc+"3", `{}`).with(HeaderKey, "differs").gives(201)
		for _, other := range three[:2] {
			w.net.Heal("us-east", other)
		}
		w.settle()
		for _, r := range three {
			w.on(r, "GET", aDoc, nil).gives(200).is(`{"n":2}`)
			s := requestsOf(w, r)
			if s.Twice != 2 || len(s.Latest) != 2 || s.Keys != 2 {
				t.Fatalf("%s reports %+v, want two requests that were carried out twice", r, s)
			}
			for _, x := range s.Latest {
				if x.Collection != "carts" || x.SameBody != (x.ID == "a") || len(x.Changes) != 2 || x.Changes[0].Region == x.Changes[1].Region {
					t.Errorf("%s reports %+v", r, x)
				}
			}
			inc(w, r, "k").gives(200)
			w.on(r, "GET", aDoc, nil).gives(200).is(`{"n":2}`)
		}
		w.stops["us-east"]()
		w.start("us-east")
		w.settle()
		if s := requestsOf(w, "us-east"); s.Twice != 2 || len(s.Latest) != 2 {
			t.Errorf("after a restart: %+v", s)
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	tune := func(c *region.Config, _ *Config) { c.Limits.Requests, c.Limits.RequestAge = 5, time.Minute }
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		for i := range 5 {
			w.do("PUT", aDoc, `{}`).with(HeaderKey, fmt.Sprint(i)).send()
		}
		w.do("PUT", aDoc, `{}`).with(HeaderKey, "5").gives(http.StatusTooManyRequests).as(keysFull, "5 keys")
		w.do("PUT", aDoc, `{}`).with(HeaderKey, "4").gives(200)
		w.do("PUT", aDoc, `{}`).gives(200)
		time.Sleep(time.Minute + 2*time.Second)
		w.do("PUT", aDoc, `{}`).with(HeaderKey, "5").gives(200)
	})
}
