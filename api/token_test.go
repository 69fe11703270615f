package api

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
)

func TestTokenHoldsInAnyRegion(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.on("us-east", "PUT", aDoc, `{"n":1}`).gives(201)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		token := w.on("us-east", "PUT", aDoc, `{"n":2}`).gives(200).Get(HeaderToken)

		// Without a token: whatever there is. With it: not older, or not at all.
		w.on("eu-west", "GET", aDoc, nil).gives(200).is(`{"n":1}`)
		start := time.Now()
		r := w.on("eu-west", "GET", aDoc, nil).with(HeaderToken, token).gives(503)
		r.as(behind, "1 changes")
		if took := time.Since(start); took != DefaultWait {
			t.Errorf("the region waited %v", took)
		}
		p := r.problem()
		if p.Lag == nil || p.Lag.Changes != 1 || p.Lag.Regions["us-east"] != 1 || p.Lag.StalenessMS < 2000 {
			t.Errorf("the lag is %+v", p.Lag)
		}
		if v, _ := decodeToken(r.Get(HeaderToken)); !v.Covers(mustToken(t, token)) {
			t.Error("a client that keeps the token of the error forgets its write")
		}
		for prefer, want := range map[string]time.Duration{
			"wait=0": 0, "respond-async, Wait = 5; x=y": 5 * time.Second, "wait=100000": MaxWait, "wait=x": DefaultWait, `wait="1"`: time.Second,
		} {
			start := time.Now()
			w.on("eu-west", "GET", aDoc, nil).with(HeaderToken, token).with("Prefer", prefer).gives(503)
			if took := time.Since(start); took != want {
				t.Errorf("%q: the region waited %v, want %v", prefer, took, want)
			}
		}
		w.on("eu-west", "PUT", aDoc, `{"n":3}`).with(HeaderToken, token).gives(503).as(behind, "")
		w.on("eu-west", "GET", "/v1/collections/carts/docs", nil).with(HeaderToken, token).gives(503)
		w.on("eu-west", "GET", aDoc+"/versions", nil).with(HeaderToken, token).gives(503)
		w.on("eu-west", "GET", "/v1/collections", nil).with(HeaderToken, token).gives(503)

		// The link heals while a request waits.
		time.AfterFunc(time.Second, func() { w.net.Heal("eu-west", "us-east") })
		w.on("eu-west", "GET", aDoc, nil).with(HeaderToken, token).with("Prefer", "wait=20").gives(200).is(`{"n":2}`)
	})
}

// A token outlives the process that gave it, and so do the write that it names and
// what it is good for elsewhere.
func TestTokenSurvivesRestarts(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.settle()
		w.net.Cut("eu-west", "us-east")
		token := w.on("us-east", "PUT", aDoc, `{"n":1}`).gives(201).Get(HeaderToken)
		for range 2 {
			w.stops["us-east"]()
			w.stores["us-east"] = w.stores["us-east"].Crash()
			w.start("us-east")
			r := w.on("us-east", "GET", aDoc, nil).with(HeaderToken, token).gives(200)
			if r.is(`{"n":1}`); !mustToken(t, r.Get(HeaderToken)).Covers(mustToken(t, token)) {
				t.Errorf("after the restart the token is %v, it was %v", r.Get(HeaderToken), token)
			}
			w.on("eu-west", "GET", aDoc, nil).with(HeaderToken, token).with("Prefer", "wait=0").gives(503).as(behind, "")
		}
		w.stops["eu-west"]()
		w.stores["eu-west"] = w.stores["eu-west"].Crash()
		w.start("eu-west")
		time.AfterFunc(time.Second, func() { w.net.Heal("eu-west", "us-east") })
		w.on("eu-west", "GET", aDoc, nil).with(HeaderToken, token).with("Prefer", "wait=20").gives(200).is(`{"n":1}`)
	})
}

func mustToken(t *testing.T, s string) crdt.Vector {
	t.Helper()
	v, err := decodeToken(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryAnswerCarriesItsToken(t *testing.T) {
	alone(t, func(w *world) {
		before := mustToken(t, w.do("GET", "/nowhere", nil).gives(404).Get(HeaderToken))
		wrote := mustToken(t, w.do("PUT", aDoc, `{}`).gives(201).Get(HeaderToken))
		read := mustToken(t, w.do("GET", aDoc, nil).gives(200).Get(HeaderToken))
		if wrote.Compare(before) != crdt.After || !read.Covers(wrote) {
			t.Errorf("before %v, written %v, read %v", before, wrote, read)
		}
		if r := w.do("GET", aDoc, nil).gives(200); r.Get(HeaderStaleness) != "0" || r.Get(HeaderRegion) != "us-east" {
			t.Errorf("headers of a region without peers: %v", r.Header)
		}
	})
}

func TestGarbageTokensAreRefused(t *testing.T) {
	token := encodeToken(crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 300}))
	alone(t, func(w *world) {
		for _, bad := range []string{
			"x", "!!!", "AQ", token + "A", token[:len(token)-1], token + "=", "Ag" + token[2:], "AQE" + token[3:],
			strings.Repeat("A", MaxTokenBytes+1), encodeToken(crdt.Vector{}) + "\u00e9",
		} {
			w.do("GET", aDoc, nil).with(HeaderToken, bad).gives(400).as(malformedToken, "")
			w.do("PUT", aDoc, `{}`).with(HeaderToken, bad).gives(400).as(malformedToken, "")
		}
		w.do("GET", aDoc, nil).with(HeaderToken, token).with("Prefer", "wait=0").gives(503).as(behind, "300 changes")
	})
}

func TestWaitersAreBounded(t *testing.T) {
	tune := func(_ *region.Config, c *Config) { c.MaxWaiters = 1 }
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		unmet := encodeToken(crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.do("GET", aDoc, nil).with(HeaderToken, unmet).gives(503)
		}()
		synctest.Wait()
		w.do("GET", aDoc, nil).with(HeaderToken, unmet).gives(429).as(busy, "waiting")
		<-done
		w.do("GET", aDoc, nil).with(HeaderToken, unmet).with("Prefer", "wait=0").gives(503)
	})
}

func TestPreferredWaitIgnoresWhatItDoesNotKnow(t *testing.T) {
	for _, s := range []string{"", "wait", "wait=", "wait=-1", "wait=1.5", "return=minimal", "wait=99999999999999999999", ",,;"} {
		if got := preferredWait(http.Header{"Prefer": {s}}); got != DefaultWait {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// manyReplicas is a vector of n replicas that have made a million changes each.
func manyReplicas(n int) crdt.Vector {
	dots := make([]crdt.Dot, n)
	for i := range dots {
		dots[i] = crdt.Dot{Replica: crdt.ReplicaID{1, 2, 3, byte(i >> 8), byte(i)}, Seq: 1_000_000}
	}
	return crdt.VectorOf(dots...)
}

// The sizes that README.md states.
func TestTokensAreSmall(t *testing.T) {
	for replicas, most := range map[int]int{1: 32, 3: 80, 20: 512, 150: MaxCookieToken} {
		if n := len(encodeToken(manyReplicas(replicas))); n > most {
			t.Errorf("the token of %d replicas has %d characters, want %d at most", replicas, n, most)
		} else {
			t.Logf("%d replicas: %d characters", replicas, n)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("")
	f.Add(encodeToken(crdt.Vector{}))
	f.Add(encodeToken(crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}, crdt.Dot{Replica: crdt.ReplicaID{2}, Seq: 1 << 40})))
	f.Add("AQABAQ")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := decodeToken(s)
		if err == nil && encodeToken(v) != s {
			t.Errorf("%q is taken and would be written %q", s, encodeToken(v))
		}
	})
}
