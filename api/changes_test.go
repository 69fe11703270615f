package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region"
)

type changesPage struct {
	Changes []changeLine
	Cursor  string
	More    bool
}

type changeLine struct {
	Cursor, Dot, Region string
	Docs                []struct {
		Collection, ID, ETag string
		Value                map[string]any
		Deleted              bool
	}
	End *Problem
}

func (l changeLine) ids() string {
	var ids []string
	for _, d := range l.Docs {
		ids = append(ids, d.Collection+"/"+d.ID)
	}
	return strings.Join(ids, " ")
}

func (p changesPage) ids() string {
	var all []string
	for _, c := range p.Changes {
		all = append(all, c.ids())
	}
	return strings.Join(all, ", ")
}

func changesOf(w *world, name, query, prefer string) (p changesPage) {
	w.t.Helper()
	c := w.on(name, "GET", query, nil)
	if prefer != "" {
		c.with("Prefer", prefer)
	}
	c.gives(200).json(&p)
	return p
}

// A feed from the beginning, in pages, shows every change once, whole, after what it
// was written having seen, and the documents as they are.
func TestI04_ChangesComeInCausalOrderAndGoOnAnywhere(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/1", `{"n":1}`).gives(201)
		w.settle()
		w.on("eu-west", "PUT", "/v1/collections/a/docs/2", `{"n":2}`).gives(201)
		w.settle()
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"a","id":"1","put":{"n":3}},{"collection":"b","id":"3","put":{"n":3}}]}`).gives(200)
		w.do("DELETE", "/v1/collections/a/docs/2", nil).gives(204)
		w.settle()

		const all = "a/1, a/2, a/1 b/3, a/2"
		for _, name := range w.names {
			p := changesOf(w, name, "/v1/changes?cursor=0", "")
			if p.ids() != all || p.More {
				t.Fatalf("%s: %s, more: %v", name, p.ids(), p.More)
			}
			first, last := p.Changes[0].Docs[0], p.Changes[3].Docs[0]
			if first.Value["n"] != 3.0 || first.ETag == "" || !last.Deleted || last.Value != nil || p.Changes[1].Region != "eu-west" {
				t.Errorf("%s: %+v", name, p)
			}
			// From each cursor, in the other region too.
			for i, c := range p.Changes {
				for _, at := range w.names {
					want := strings.Join(strings.Split(all, ", ")[i+1:], ", ")
					if got := changesOf(w, at, "/v1/changes?cursor="+c.Cursor, "").ids(); got != want {
						t.Errorf("behind change %d of %s, %s shows %q, not %q", i, name, at, got, want)
					}
				}
			}
			one := changesOf(w, name, "/v1/changes?cursor=0&limit=1", "")
			if one.ids() != "a/1" || !one.More {
				t.Errorf("%s: a page of one: %s, %v", name, one.ids(), one.More)
			}
		}
		// A list's token is a cursor, and so is that of a write.
		list := w.do("GET", "/v1/collections/a/docs", nil).gives(200)
		w.do("PUT", "/v1/collections/b/docs/4", `{}`).gives(201)
		if got := changesOf(w, "us-east", "/v1/changes?cursor="+list.Get(HeaderToken), "").ids(); got != "b/4" {
			t.Errorf("since the list: %q", got)
		}
		if p := changesOf(w, "us-east", "/v1/collections/b/changes?cursor=0", ""); p.ids() != "b/3, b/4" {
			t.Errorf("of one collection: %q", p.ids())
		}
		if p := changesOf(w, "us-east", "/v1/changes", ""); p.ids() != "" || p.Cursor == "" || p.More {
			t.Errorf("from now: %+v", p)
		}
	})
}

func TestChangesCanBeWaitedFor(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/1", `{}`).gives(201)
		w.do("PUT", "/v1/collections/b/docs/1", `{}`).gives(201)
		now := changesOf(w, "us-east", "/v1/changes", "").Cursor
		start := time.Now()
		if p := changesOf(w, "us-east", "/v1/changes?cursor="+now, "wait=7"); p.ids() != "" || p.Cursor != now || time.Since(start) != 7*time.Second {
			t.Errorf("%+v after %v", p, time.Since(start))
		}
		got := make(chan changesPage)
		go func() { got <- changesOf(w, "us-east", "/v1/collections/a/changes?cursor="+now, "wait=20") }()
		synctest.Wait()
		w.do("PUT", "/v1/collections/a/docs/2", `{}`).gives(201)
		if p := <-got; p.ids() != "a/2" {
			t.Errorf("%+v", p)
		}
		for path, kind := range map[string]*kind{
			"/v1/changes?cursor=x": malformedCursor, "/v1/changes?limit=0": malformedRequest, "/v1/changes?since=0": malformedRequest,
			"/v1/collections/none/changes": unknownColl,
		} {
			w.do("GET", path, nil).gives(kind.status).as(kind, "")
		}
	})
}

func TestChangeFeedGoesOnWhereItWas(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/0", `{}`).gives(201)
		follow := func(path, accept, last string) *httptest.ResponseRecorder {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
			r.Header.Set("Accept", accept)
			if last != "" {
				r.Header.Set("Last-Event-ID", last)
			}
			rec := httptest.NewRecorder()
			done := make(chan struct{})
			go func() { w.servers["us-east"].ServeHTTP(rec, r); close(done) }()
			synctest.Wait()
			for i := range 3 {
				w.do("PUT", fmt.Sprintf("/v1/collections/a/docs/%d", i), `{"by":"`+accept+last+`"}`).send()
				w.do("PUT", "/v1/collections/b/docs/x", `{"by":"`+accept+last+`"}`).send()
			}
			<-done
			if rec.Code != 200 || rec.Header().Get("Content-Type") != accept {
				t.Fatalf("%d %v %s", rec.Code, rec.Header(), rec.Body)
			}
			return rec
		}
		got := events(bufio.NewScanner(follow("/v1/collections/a/changes", MediaEvents, "").Body))
		if len(got) != 3 {
			t.Fatalf("%+v", got)
		}
		for i, e := range got {
			var c changeLine
			if err := json.Unmarshal([]byte(e.data), &c); err != nil || e.name != "change" || c.Cursor != e.id || c.ids() != fmt.Sprintf("a/%d", i) {
				t.Errorf("%+v: %v", e, err)
			}
		}
		// What came since the second event, and then what comes.
		if again := events(bufio.NewScanner(follow("/v1/collections/a/changes", MediaEvents, got[1].id).Body)); len(again) != 4 || again[0].id != got[2].id {
			t.Errorf("%+v", again)
		}
		var lines []changeLine
		for line := range strings.Lines(follow("/v1/changes", MediaNDJSON, "").Body.String()) {
			var c changeLine
			if err := json.Unmarshal([]byte(line), &c); err != nil || c.Cursor == "" {
				t.Errorf("%s: %v", line, err)
			}
			lines = append(lines, c)
		}
		changes := 0
		for _, l := range lines {
			if len(l.Docs) > 0 {
				changes++
			}
		}
		if changes != 6 || len(lines) < 6+4 {
			t.Errorf("%d changes in %d lines", changes, len(lines))
		}
	})
}

func TestChangeFeedEndsWithTheServerAndIsBounded(t *testing.T) {
	inWorld(t, []string{"us-east"}, func(_ *region.Config, c *Config) { c.MaxFeeds = 1 }, func(w *world) {
		s := w.servers["us-east"]
		r := httptest.NewRequestWithContext(w.t.Context(), "GET", "/v1/changes", nil)
		r.Header.Set("Accept", MediaNDJSON)
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() { s.ServeHTTP(rec, r); close(done) }()
		synctest.Wait()
		w.do("GET", "/v1/changes?feed=1", nil).gives(429).as(busy, "feeds")
		s.close()
		<-done
		lines := strings.Split(strings.TrimSpace(rec.Body.String()), "\n")
		var last changeLine
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.End == nil || last.End.Type != "/problems/stopped" {
			t.Errorf("%v: %s", err, rec.Body)
		}
	})
}
