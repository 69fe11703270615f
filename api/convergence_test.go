package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

func (w *world) convergence(name string) region.Convergence {
	w.t.Helper()
	var c region.Convergence
	w.on(name, http.MethodGet, "/v1/cluster/convergence", nil).gives(http.StatusOK).json(&c)
	return c
}

func TestRegionsAreCertifiedToHaveTheSame(t *testing.T) {
	names := []string{"ap-south", "eu-west", "us-east"}
	inWorld(t, names, nil, func(w *world) {
		for i, name := range names {
			w.on(name, http.MethodPut, "/v1/collections/a/docs/"+name, `{"n":1}`).gives(http.StatusCreated)
			w.on(names[(i+1)%3], http.MethodPut, "/v1/collections/a/docs/x"+name, `{"n":2}`).gives(http.StatusCreated)
		}
		w.settle()
		var digests []string
		for _, name := range names {
			c := w.convergence(name)
			if c.Verdict != region.VerdictSame || len(c.Regions) != 2 {
				t.Errorf("%s: %+v", name, c)
			}
			for _, r := range c.Regions {
				if r.Verdict != region.VerdictSame || !r.Reachable || len(r.Collections) != len(c.Collections) {
					t.Errorf("%s of %s: %+v", name, r.Region, r)
				}
			}
			digests = append(digests, c.Digest)
		}
		if digests[0] != digests[1] || digests[0] != digests[2] {
			t.Errorf("digests %v", digests)
		}
	})
}

// alter gives a document of a stopped region the content of another one.
func alter(t *testing.T, s *memstore.Store, key store.DocKey, other string) {
	t.Helper()
	weigh := func(key store.DocKey, record []byte) digest.Digest {
		state, err := core.DecodeDocument(record)
		if err != nil {
			t.Fatal(err)
		}
		return digest.Of(key.Collection, key.ID, state.Heads(), state.Digest())
	}
	before, err := s.Doc(key)
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Doc(store.DocKey{Collection: key.Collection, ID: other})
	if err != nil {
		t.Fatal(err)
	}
	table, err := digests.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	b := &store.Batch{Docs: []store.DocPut{{Key: key, State: after}}}
	table.Begin(b)
	if err := table.Replace(key, weigh(key, before), weigh(key, after)); err != nil {
		t.Fatal(err)
	}
	table.Finish()
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func TestDifferenceAtEqualVectorsIsAnAlarm(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.on("us-east", http.MethodPut, "/v1/collections/a/docs/one", `{"n":1}`).gives(http.StatusCreated)
		w.on("us-east", http.MethodPut, "/v1/collections/a/docs/two", `{"n":2}`).gives(http.StatusCreated)
		w.settle()
		col, err := w.regions["us-east"].Collection("a")
		if err != nil {
			t.Fatal(err)
		}
		w.stops["eu-west"]()
		alter(t, w.stores["eu-west"], store.DocKey{Collection: col.Incarnation, ID: "one"}, "two")
		w.start("eu-west")
		w.settle()
		// Nobody asks: reports tell.
		time.Sleep(5 * time.Second)
		for here, there := range map[string]string{"us-east": "eu-west", "eu-west": "us-east"} {
			var status region.ClusterStatus
			w.on(here, http.MethodGet, "/v1/cluster", nil).gives(http.StatusOK).json(&status)
			if len(status.Alarms) != 1 || status.Regions[0].Region != there || status.Regions[0].Documents != region.VerdictDifferent {
				t.Errorf("%s: alarms %q, %+v", here, status.Alarms, status.Regions)
			}
			c := w.convergence(here)
			d := c.Regions[0].Differences
			if c.Verdict != region.VerdictDifferent || len(d) != 1 || d[0].Collection != "a" || d[0].Bucket != digest.Bucket("one") {
				t.Errorf("%s: %+v", here, c)
			}
		}
	})
}

func TestConvergenceIsUnknownWhileARegionIsBehind(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.stops["eu-west"]()
		w.on("us-east", http.MethodPut, "/v1/collections/a/docs/one", `{"n":1}`).gives(http.StatusCreated)
		c := w.convergence("us-east")
		if c.Verdict != region.VerdictUnknown || c.Regions[0].Verdict != region.VerdictUnknown {
			t.Errorf("%+v", c)
		}
		w.start("eu-west")
	})
}
