package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region"
)

// explanationBody is what GET /v1/conflicts/{conflict} answers.
type explanationBody struct {
	conflictSummary
	Explanation       string
	Recorded, Present policyOutcome
	Now               conflictNow
}

type conflictPageBody struct {
	Conflicts []conflictSummary
	Changes   uint64
	Cursor    string
}

func (w *world) conflictPage(query string) (p conflictPageBody) {
	w.t.Helper()
	w.do("GET", "/v1/conflicts"+query, nil).gives(200).json(&p)
	return p
}

func TestConflictsAreListedExplainedAndRestored(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		p := w.conflictPage("")
		if len(p.Conflicts) != 1 || p.Cursor != "" || p.Changes != 1 {
			t.Fatalf("%+v", p)
		}
		c := p.Conflicts[0]
		if c.Collection != "carts" || c.Document != "a" || c.Path != "" || c.State != "resolved-by-policy" || c.Policy != "lww" ||
			len(c.Versions) != 2 || c.Versions[0].Region != "eu-west" || c.Versions[0].Shown || !c.Versions[1].Shown || c.Versions[0].Value != nil {
			t.Errorf("%+v", c)
		}
		var e explanationBody
		path := "/v1/conflicts/" + c.ID.String()
		w.do("GET", path, nil).gives(200).json(&e)
		if !strings.Contains(e.Explanation, "us-east's write") || !e.Now.Standing || string(e.Now.Value) != `{"from":"us"}` ||
			string(e.Versions[0].Value) != `{"from":"eu"}` || e.Recorded.Name != "lww" || string(e.Recorded.Policy) != `"lww"` ||
			e.Recorded.Shown != e.Versions[1].Dot || e.Present.Shown != e.Versions[1].Dot || e.Now.ETag == "" {
			t.Errorf("%+v", e)
		}
		for i, v := range e.Versions {
			if len(v.Concurrent) != 1 || v.Concurrent[0] != e.Versions[1-i].Dot || len(v.Saw) != 1 || !strings.Contains(v.Relation, "had seen") {
				t.Errorf("the relation of %v: %+v", v.Dot, v)
			}
		}
		w.on("eu-west", "GET", path, nil).gives(200)

		var v conflictPreview
		w.do("POST", path+"/preview", `{"policy":{"region-priority":["eu-west"]}}`).gives(200).json(&v)
		if !v.Changes || len(v.Diff) != 1 || v.Diff[0].Path != "/from" || string(v.Diff[0].Value) != `"eu"` || v.Outcome.Shown != e.Versions[0].Dot {
			t.Errorf("%+v", v)
		}
		var all struct{ Checked, Changes int }
		w.do("POST", "/v1/conflicts/preview", `{"collection":"carts","policy":"siblings","last":10}`).gives(200).json(&all)
		if all.Checked != 1 || all.Changes != 0 {
			t.Errorf("%+v", all)
		}

		loser := e.Versions[0].Dot.String()
		restore := func(dot string) *call { return w.do("POST", path+"/restore", `{"dot":"`+dot+`"}`) }
		restore(loser).with("If-Match", `"other"`).gives(412).as(precondition, "")
		restore("x").gives(400).as(malformedRequest, "GET "+path)
		restore("99@"+e.Versions[0].Dot.Replica.String()).gives(422).as(invalid, "no version")
		r := restore(loser).with("If-Match", e.Now.ETag).gives(200)
		if got := w.do("GET", aDoc, nil).gives(200).is(`{"from":"eu"}`); got.etag() != r.etag() {
			t.Errorf("etag %s, the receipt's %s", got.etag(), r.etag())
		}
		w.do("GET", path, nil).gives(200).json(&e)
		if e.State != "undone" || e.Settled.Restored.String() != loser || e.Now.Standing || !strings.Contains(e.Explanation, "brought back eu-west's version") {
			t.Errorf("%+v", e)
		}
	})
}

func TestConflictRoutesRefuse(t *testing.T) {
	alone(t, func(w *world) {
		const none = "/v1/conflicts/0123456789abcdef01234567"
		w.do("PUT", aDoc, `{}`).gives(201)
		w.do("GET", none, nil).gives(404).as(noConflict, "")
		w.do("POST", none+"/preview", `{"policy":"lww"}`).gives(404).as(noConflict, "")
		w.do("POST", none+"/restore", `{"dot":"1@01234567-89ab-7def-8123-456789abcdef"}`).gives(404).as(noConflict, "")
		w.do("GET", "/v1/conflicts/x", nil).gives(400).as(malformedRequest, "24 hexadecimal digits")
		for query, k := range map[string]*kind{
			"?collection=none": unknownColl, "?state=shut": invalid, "?since=soon": malformedRequest, "?limit=0": malformedRequest,
			"?cursor=x": malformedCursor, "?stat=open": malformedRequest, "?after=1": malformedRequest,
			"?feed=1&after=x": malformedRequest, "?feed=1&after=5": feedGone, "?feed=1&since=1h": malformedRequest, "?feed=1&collection=none": unknownColl,
		} {
			w.do("GET", "/v1/conflicts"+query, nil).gives(k.status).as(k, "")
		}
		for body, k := range map[string]*kind{
			`{}`: malformedRequest, `{"policy":"newest","collection":"carts"}`: invalid, `{"policy":"lww"}`: malformedRequest,
			`{"policy":"lww","collection":"none"}`: unknownColl, `{"policy":"lww","collection":"carts","last":0}`: malformedRequest,
			`{"policy":"lww","collection":"carts","lst":1}`: malformedRequest, `[]`: notObject,
		} {
			w.do("POST", "/v1/conflicts/preview", body).gives(k.status).as(k, "")
		}
	})
}

func TestConflictPagesFollowEachOther(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.do("PUT", "/v1/collections/carts", `{}`).gives(201)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		for i := range 7 {
			path := fmt.Sprintf("/v1/collections/carts/docs/%d", i)
			w.on("eu-west", "PUT", path, `{"n":1}`).gives(201)
			w.on("us-east", "PUT", path, `{"n":2}`).gives(201)
		}
		w.net.Heal("eu-west", "us-east")
		w.settle()
		seen := map[string]bool{}
		query, pages := "?limit=3&collection=carts&since=1h", 0
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			p := w.conflictPage(query + cursor)
			for _, c := range p.Conflicts {
				seen[c.Document+c.Path] = true
			}
			if cursor = p.Cursor; cursor != "" {
				cursor = "&cursor=" + cursor
			}
		}
		if len(seen) != 7 || pages != 3 {
			t.Errorf("%d pages with %v", pages, seen)
		}
		for query, want := range map[string]int{"?state=open": 0, "?region=mars": 0, "?region=eu-west": 7, "?since=0s": 0} {
			time.Sleep(time.Second)
			if p := w.conflictPage(query); len(p.Conflicts) != want {
				t.Errorf("%s: %d conflicts, want %d", query, len(p.Conflicts), want)
			}
		}
		var cluster region.ClusterStatus
		w.do("GET", "/v1/cluster", nil).gives(200).json(&cluster)
		if c := cluster.Conflicts; c.Records != 7 || c.Bytes == 0 || len(c.Seen) != 1 || c.Seen[0] != (region.ConflictCount{Collection: "carts", Policy: "merge", Seen: 7}) {
			t.Errorf("%+v", c)
		}
	})
}

// An event is one of a feed.
type event struct{ name, id, data string }

// events reads a feed until it ends.
func events(body *bufio.Scanner) (out []event) {
	var e event
	for body.Scan() {
		name, value, _ := strings.Cut(body.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if body.Text() == "" && e.name != "" {
				out, e = append(out, e), event{}
			}
		}
	}
	return out
}

func TestConflictFeedBeginsWhereTheClientWas(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		follow := func(path, last string) []event {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
			r.Header.Set("Accept", MediaEvents)
			if last != "" {
				r.Header.Set("Last-Event-ID", last)
			}
			rec := httptest.NewRecorder()
			done := make(chan struct{})
			go func() { w.servers["us-east"].ServeHTTP(rec, r); close(done) }()
			synctest.Wait()
			w.do("PUT", aDoc, `{"from":"`+path+last+`"}`).gives(200)
			<-done
			if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != MediaEvents || strings.Count(rec.Body.String(), ": heartbeat") < 4 {
				t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
			}
			return events(bufio.NewScanner(rec.Body))
		}
		got := follow("/v1/conflicts", "")
		if len(got) != 1 || got[0].name != "conflict" || got[0].id != "2" {
			t.Fatalf("%+v", got)
		}
		var c conflictSummary
		if err := json.Unmarshal([]byte(got[0].data), &c); err != nil || c.State != "resolved-by-write" || c.Change != 2 {
			t.Errorf("%+v %v", c, err)
		}
		if got := follow("/v1/conflicts?collection=carts", "1"); len(got) != 1 || got[0].id != "2" {
			t.Errorf("from the first change: %+v", got)
		}
		if got := follow("/v1/conflicts?region=mars", "0"); len(got) != 0 {
			t.Errorf("of another region: %+v", got)
		}
	})
}

func TestConflictFeedEndsWithTheServerAndIsBounded(t *testing.T) {
	inWorld(t, []string{"us-east"}, func(_ *region.Config, c *Config) { c.MaxFeeds = 1 }, func(w *world) {
		s := w.servers["us-east"]
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			s.ServeHTTP(rec, httptest.NewRequestWithContext(w.t.Context(), "GET", "/v1/conflicts?feed=1", nil))
			close(done)
		}()
		synctest.Wait()
		w.do("GET", "/v1/conflicts?feed=1", nil).gives(429).as(busy, "feeds")
		s.close()
		<-done
		got := events(bufio.NewScanner(rec.Body))
		if len(got) != 1 || got[0].name != "end" || !strings.Contains(got[0].data, "/problems/stopped") {
			t.Errorf("%+v", got)
		}
		if n := s.feeds.Load(); n != 0 {
			t.Errorf("%d feeds are counted at rest", n)
		}
	})
}

// stuck is a client that does not take anything in.
type stuck struct {
	*httptest.ResponseRecorder
	writes int
}

func (s *stuck) SetWriteDeadline(time.Time) error { return nil }
func (s *stuck) Write(b []byte) (int, error) {
	if s.writes++; s.writes > 1 {
		return 0, context.DeadlineExceeded
	}
	return s.ResponseRecorder.Write(b)
}

func TestClientThatDoesNotReadIsDropped(t *testing.T) {
	var log strings.Builder
	inWorld(t, []string{"us-east"}, func(_ *region.Config, c *Config) { c.Log = textLog(&log) }, func(w *world) {
		s := &stuck{ResponseRecorder: httptest.NewRecorder()}
		w.servers["us-east"].ServeHTTP(s, httptest.NewRequestWithContext(w.t.Context(), "GET", "/v1/conflicts?feed=1", nil))
	})
	if !strings.Contains(log.String(), "a client of a feed was dropped") {
		t.Errorf("the log says %q", log.String())
	}
}

func textLog(w *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
