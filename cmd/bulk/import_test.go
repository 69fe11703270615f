package bulk

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// A fake region keeps documents and fails on request. What a real one does is
// tested in package cmd.
type fake struct {
	mu      sync.Mutex
	docs    map[string]json.RawMessage
	batches [][]string // the ids of those that were tried
	// fail, if set, answers a batch in place of the region.
	fail func(ids []string) (status int, problem string)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := func(status int, problem string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type": "/problems/%s", "title": "%s", "status": %d, "retryable": %v}`, problem, problem, status, status >= 429)
	}
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/v1/cluster":
		fmt.Fprint(w, `{"cluster": "fake"}`)
	case r.Method == http.MethodGet && id == "docs":
		fmt.Fprint(w, `{"docs": []}`)
	case r.Method == http.MethodGet:
		if doc, ok := f.docs[id]; ok {
			_, _ = w.Write(append(doc, '\n'))
			return
		}
		answer(http.StatusNotFound, "no-such-document")
	default:
		var body struct{ Docs []client.BatchPut }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			answer(http.StatusBadRequest, "malformed-json")
			return
		}
		var ids []string
		for _, d := range body.Docs {
			ids = append(ids, d.ID)
		}
		f.batches = append(f.batches, ids)
		if f.fail != nil {
			if status, problem := f.fail(ids); status != 0 {
				answer(status, problem)
				return
			}
		}
		var out []string
		for _, d := range body.Docs {
			if _, there := f.docs[d.ID]; there && d.IfNoneMatch == "*" {
				answer(http.StatusPreconditionFailed, "precondition-failed")
				return
			}
		}
		for _, d := range body.Docs {
			_, there := f.docs[d.ID]
			f.docs[d.ID] = d.Put
			out = append(out, fmt.Sprintf(`{"id": %q, "created": %v}`, d.ID, !there))
		}
		fmt.Fprintf(w, `{"docs": [%s]}`, strings.Join(out, ","))
	}
}

func startFake(t *testing.T) (*fake, *client.Client) {
	t.Helper()
	f := &fake{docs: map[string]json.RawMessage{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return f, c
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"id\": \"%02d\"}\n", i)
	}
	return b.String()
}

func TestRefusedBatchIsCutUntilTheDocumentIsFound(t *testing.T) {
	f, c := startFake(t)
	f.fail = func(ids []string) (int, string) {
		if strings.Contains(strings.Join(ids, " "), "05") {
			return http.StatusUnprocessableEntity, "refused"
		}
		return 0, ""
	}
	s, err := Import(t.Context(), c, strings.NewReader(lines(16)), Options{Collection: "c"})
	if err == nil || !strings.HasPrefix(err.Error(), `line 6: document 6 ("05"): refused`) {
		t.Errorf("%v", err)
	}
	if s.Created != 5 || len(f.docs) != 5 {
		t.Errorf("%+v, %d documents are there", s, len(f.docs))
	}
}

func TestBusyRegionIsTriedAgain(t *testing.T) {
	f, c := startFake(t)
	calls := 0
	f.fail = func([]string) (int, string) {
		if calls++; calls <= 2 {
			return http.StatusServiceUnavailable, "not-ready"
		}
		return 0, ""
	}
	var waits int
	o := Options{Collection: "c", Batch: 4, Retry: func(error, time.Duration) { waits++ }}
	s, err := Import(t.Context(), c, strings.NewReader(lines(8)), o)
	if err != nil || s.Created != 8 || waits != 2 {
		t.Errorf("%+v, %d waits: %v", s, waits, err)
	}
	// Not for longer than asked for.
	calls = -1 << 30
	o.RetryFor = time.Nanosecond
	if _, err := Import(t.Context(), c, strings.NewReader(lines(8)), o); err == nil {
		t.Error("the region was never ready")
	}
}

func TestDocumentMadeMeanwhileIsSkipped(t *testing.T) {
	f, c := startFake(t)
	f.fail = func([]string) (int, string) {
		if f.docs["03"] == nil {
			f.docs["03"] = json.RawMessage(`{"mine":true}`)
		}
		return 0, ""
	}
	s, err := Import(t.Context(), c, strings.NewReader(lines(8)), Options{Collection: "c", Existing: Skip})
	if err != nil || s.Created != 7 || s.Skipped != 1 || string(f.docs["03"]) != `{"mine":true}` {
		t.Errorf("%+v: %v", s, err)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	f, c := startFake(t)
	// By number, and an id occurs once in each.
	in := lines(5) + `{"id": "04"}` + lines(1)
	if _, err := Import(t.Context(), c, strings.NewReader(in), Options{Collection: "c", Batch: 3}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.batches); got != "[[00 01 02] [03 04] [04 00]]" {
		t.Error(got)
	}
	// By bytes.
	f.batches = nil
	big := strings.Repeat("x", 1<<20-100)
	in = ""
	for i := range 9 {
		in += fmt.Sprintf("{\"id\": %d, \"x\": %q}", i, big)
	}
	if _, err := Import(t.Context(), c, strings.NewReader(in), Options{Collection: "c"}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.batches); got != "[[0 1 2 3] [4 5 6 7] [8]]" {
		t.Error(got)
	}
}

func TestProgressGrows(t *testing.T) {
	_, c := startFake(t)
	in := lines(30)
	var last Summary
	calls := 0
	o := Options{Collection: "c", Batch: 10, Progress: func(s Summary) {
		if calls++; s.Bytes < last.Bytes || s.Done() < last.Done() {
			t.Errorf("%+v after %+v", s, last)
		}
		last = s
	}}
	s, err := Import(t.Context(), c, strings.NewReader(in), o)
	if err != nil || calls < 3 || last != s || int(s.Bytes) != len(in) {
		t.Errorf("%d calls, the last with %+v, the sum is %+v: %v", calls, last, s, err)
	}
}
