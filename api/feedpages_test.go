package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
)

// A countedRegion counts how often changes are read, and can hold the readers up.
type countedRegion struct {
	Region
	reads atomic.Int64
	delay time.Duration
}

func (r *countedRegion) Changes(ctx context.Context, after crdt.Vector, collection string, each func(*region.Change) bool) (crdt.Vector, error) {
	r.reads.Add(1)
	select {
	case <-time.After(r.delay):
	case <-ctx.Done():
		return after, ctx.Err()
	}
	return r.Region.Changes(ctx, after, collection, each)
}

// follows opens a feed that ends after a while; wait returns its events.
func follows(w *world, path, last string, within time.Duration) (wait func() []event) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	r.Header.Set("Accept", MediaEvents)
	r.Header.Set("Last-Event-ID", last)
	rec := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { w.servers["us-east"].ServeHTTP(rec, r); close(done) }()
	return func() []event {
		<-done
		cancel()
		return events(bufio.NewScanner(rec.Body))
	}
}

func countReads(w *world) *countedRegion {
	r := &countedRegion{Region: w.regions["us-east"]}
	w.servers["us-east"].region = r
	return r
}

// Many feeds at one cursor are sent the same, which is read once.
func TestFeedsShareWhatTheyAreSent(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/0", `{}`).gives(201)
		r := countReads(w)
		const readers, writes = 50, 5
		var waits []func() []event
		for range readers {
			waits = append(waits, follows(w, "/v1/changes", "", time.Minute))
		}
		synctest.Wait()
		r.reads.Store(0)
		for i := range writes {
			w.do("PUT", "/v1/collections/a/docs/0", fmt.Sprintf(`{"n":%d}`, i)).gives(200)
			synctest.Wait()
		}
		if n := r.reads.Load(); n != writes {
			t.Errorf("%d writes were read %d times for %d feeds", writes, n, readers)
		}
		for i, wait := range waits {
			got := wait()
			if len(got) != writes {
				t.Fatalf("feed %d: %+v", i, got)
			}
			for n, e := range got {
				if !strings.Contains(e.data, fmt.Sprintf(`"value":{"n":%d}`, n)) {
					t.Errorf("feed %d, event %d: %s", i, n, e.data)
				}
			}
		}
	})
}

// What was kept for other feeds is not for one that can see more by now, nor for
// one that asks for something else.
func TestFeedsShareOnlyWhatIsTheSame(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/0", `{}`).gives(201)
		w.do("PUT", "/v1/collections/b/docs/0", `{}`).gives(201)
		now := changesOf(w, "us-east", "/v1/changes", "").Cursor
		first := func(path string) (c changeLine) {
			got := follows(w, path, now, time.Second)()
			if len(got) == 0 {
				t.Fatalf("%s: nothing", path)
			}
			if err := json.Unmarshal([]byte(got[0].data), &c); err != nil {
				t.Fatal(err)
			}
			return c
		}
		w.do("PATCH", "/v1/collections/a/docs/0", `[{"op":"inc","path":"/n","value":1}]`).with("Content-Type", MediaOps).gives(200)
		if c := first("/v1/changes"); c.Docs[0].Value["n"] != 1.0 {
			t.Errorf("%+v", c)
		}
		w.do("PATCH", "/v1/collections/a/docs/0", `[{"op":"inc","path":"/n","value":1}]`).with("Content-Type", MediaOps).gives(200)
		w.do("PUT", "/v1/collections/b/docs/0", `{"b":1}`).gives(200)
		if c := first("/v1/changes"); c.Docs[0].Value["n"] != 2.0 {
			t.Errorf("an old page was shown: %+v", c)
		}
		if c := first("/v1/collections/b/changes"); c.ids() != "b/0" {
			t.Errorf("of b: %+v", c)
		}
		if c := first("/v1/changes?types=1"); fmt.Sprint(c.Docs[0].Value["n"]) != "map[$counter:2]" {
			t.Errorf("with types: %+v", c)
		}
	})
}

// A feed whose client goes away while it reads for all does not take the others with it.
func TestFeedsOutliveTheOneThatReads(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/a/docs/0", `{}`).gives(201)
		key := feedKey{cursor: changesOf(w, "us-east", "/v1/changes", "").Cursor}
		after, err := decodeToken(key.cursor)
		if err != nil {
			t.Fatal(err)
		}
		w.do("PUT", "/v1/collections/a/docs/1", `{}`).gives(201)
		r, s := countReads(w), w.servers["us-east"]
		r.delay = time.Second
		leaving, leave := context.WithCancel(w.t.Context())
		const others = 3
		errs := make(chan error, others+1)
		read := func(ctx context.Context) {
			p, err := s.nextPage(ctx, key, after)
			if err == nil && !strings.Contains(string(p.body), `"id":"1"`) {
				err = fmt.Errorf("a page without the change: %s", p.body)
			}
			errs <- err
		}
		go read(leaving)
		synctest.Wait()
		for range others {
			go read(w.t.Context())
		}
		synctest.Wait()
		if n := r.reads.Load(); n != 1 {
			t.Errorf("%d feeds read at once", n)
		}
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("the one that left: %v", err)
		}
		for range others {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := r.reads.Load(); n != 1+others {
			t.Errorf("%d reads", n)
		}
	})
}

// However many cursors there are, a few pages are kept.
func TestFeedPagesAreBounded(t *testing.T) {
	c := newFeedPages()
	for i := range 10 * maxFeedPages {
		key := feedKey{cursor: fmt.Sprint(i % 40)}
		p, isNew := c.page(key, crdt.Vector{})
		if !isNew {
			continue
		}
		switch i % 3 {
		case 1:
			p.err = errAbandoned
		case 2:
			p.body = make([]byte, maxFeedPageBytes+1)
		}
		c.finish(key, p)
		if len(c.pages) > maxFeedPages {
			t.Fatalf("%d pages are kept", len(c.pages))
		}
	}
	if len(c.pages) == 0 {
		t.Error("none is kept")
	}
}
