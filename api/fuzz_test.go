package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/region/core"
)

// A fuzzedRegion is one that takes requests, and is replaced by another after a
// while, so that what they leave behind does not grow.
type fuzzedRegion struct {
	settings map[string]string
	s        *Server
	stop     func()
	left     int
}

// renewFuzzed is how many inputs one region takes.
const renewFuzzed = 5000

func newFuzzedRegion(f *testing.F, settings map[string]string) *fuzzedRegion {
	f.Helper()
	x := &fuzzedRegion{settings: settings, stop: func() {}}
	f.Cleanup(func() { x.stop() })
	return x
}

// ready makes a new region if it is time for one, and says so.
func (f *fuzzedRegion) ready(t *testing.T) (fresh bool) {
	t.Helper()
	if f.left--; f.left >= 0 {
		return false
	}
	f.stop()
	f.s, f.stop = liveServer(t)
	f.left = renewFuzzed
	for name, settings := range f.settings {
		if res := f.do("PUT", "/v1/collections/"+name, settings); res.Code != http.StatusCreated {
			t.Fatalf("collection %s: %d %s", name, res.Code, res.Body)
		}
	}
	return true
}

func (f *fuzzedRegion) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", MediaJSON)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res := httptest.NewRecorder()
	f.s.ServeHTTP(res, r)
	return res
}

// judge says whether an answer is one that a request may get, and whether what
// was asked for was done.
func judge(t *testing.T, body string, res *httptest.ResponseRecorder) (done bool) {
	t.Helper()
	if res.Code < 300 {
		return true
	}
	var p Problem
	if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || p.Status != res.Code || p.Type == "" || p.Detail == "" {
		t.Fatalf("%q is answered by %d %s: %v", body, res.Code, res.Body, err)
	}
	if res.Code < 400 || res.Code >= 500 {
		t.Fatalf("%q is the client's fault, and answered by %d %s", body, res.Code, res.Body)
	}
	return false
}

func (f *fuzzedRegion) have() string { return f.s.region.Have().String() }

// FuzzBatch: no body of a batch is anybody's fault but the client's; what is taken
// can be read as it was answered, and of what is refused nothing is done.
func FuzzBatch(f *testing.F) {
	for _, body := range []string{
		`{"docs":[{"collection":"a","id":"x","put":{"n":1}}]}`,
		`{"docs":[{"collection":"a","put":{}},{"collection":"r","id":"x","put":{"n":{"$counter":1}}}]}`,
		`{"docs":[{"collection":"a","id":"x","merge":{"n":null,"m":{"o":"p"}}},{"collection":"a","id":"y","delete":true,"if_match":"*"}]}`,
		`{"docs":[{"collection":"a","id":"x","patch":[{"op":"add","path":"/l","value":[1]},{"op":"test","path":"/n","value":1}]}]}`,
		`{"docs":[{"collection":"a","id":"x","ops":[{"op":"inc","path":"/c","value":1},{"op":"add","path":"/s","value":"v"}],"if_none_match":"*"}]}`,
		`{"docs":[{"collection":"b","id":"x","put":{"n":{"$counter":5}}},{"collection":"b","id":"x","ops":[{"op":"inc","path":"/n","value":-9}]}]}`,
		`{"docs":[{"collection":"a","id":"x","put":{},"base_value":{"n":1}},{"collection":"w","id":"ü/ö","put":{"t":"ß"}}]}`,
		`{"docs":[{"collection":"t","id":"x","put":{"v":""}},{"collection":"t","id":"x","ops":[{"op":"splice","path":"/v","index":0,"insert":"hello"}]}]}`,
		`{"docs":[{"collection":"a","id":"x","put":{},"merge":{}}]}`,
		`{"docs":[]}`, `{"docs":{}}`, `[]`, `{"docs":[1]}`, `{"docs":[{"collection":"","id":"","put":{}}]}`,
	} {
		f.Add(body)
	}
	x := newFuzzedRegion(f, map[string]string{
		"a": `{}`, "r": `{"type":"register"}`, "w": `{"delete":"wins"}`, "t": `{"type":"automerge"}`,
		"b": `{"bounds":{"/n":{"min":0,"max":10}}}`,
	})
	f.Fuzz(func(t *testing.T, body string) {
		x.ready(t)
		before := x.have()
		res := x.do("POST", "/v1/batch", body)
		if !judge(t, body, res) {
			if x.have() != before {
				t.Fatalf("%q is refused by %s, and something was written", body, res.Body)
			}
			return
		}
		var receipt struct {
			Docs []struct {
				Collection, ID, ETag string
				Exists               bool
			}
		}
		if err := json.Unmarshal(res.Body.Bytes(), &receipt); err != nil || len(receipt.Docs) == 0 || len(receipt.Docs) > core.DefaultWriteDocs {
			t.Fatalf("%q is answered by %s: %v", body, res.Body, err)
		}
		for _, d := range receipt.Docs {
			want := http.StatusNotFound
			if d.Exists {
				want = http.StatusOK
			}
			if got := x.do("GET", docPath(d.Collection, d.ID), ""); got.Code != want || d.Exists && got.Header().Get("ETag") != d.ETag {
				t.Fatalf("%q is answered by %s, and reading %q by %d, %s", body, res.Body, d.ID, got.Code, got.Header().Get("ETag"))
			}
		}
	})
}

// siblingsOf makes a document with two concurrent versions, and returns their dots.
func (f *fuzzedRegion) siblingsOf(t *testing.T, doc string) []string {
	t.Helper()
	f.do("DELETE", doc, "")
	first := f.do("PUT", doc, `{"n":1}`)
	f.do("PUT", doc, `{"n":2}`)
	if res := f.do("PUT", doc, `{"n":3}`, HeaderBase, first.Header().Get("ETag")); res.Code >= 300 {
		t.Fatalf("%s: %d %s", doc, res.Code, res.Body)
	}
	dots := f.versionsOf(t, doc)
	if len(dots) != 2 {
		t.Fatalf("%s has the versions %v", doc, dots)
	}
	return dots
}

func (f *fuzzedRegion) versionsOf(t *testing.T, doc string) (dots []string) {
	t.Helper()
	var v struct{ Versions []struct{ Dot string } }
	res := f.do("GET", doc+"/versions", "")
	if err := json.Unmarshal(res.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %d %s: %v", doc, res.Code, res.Body, err)
	}
	for _, version := range v.Versions {
		dots = append(dots, version.Dot)
	}
	return dots
}

// FuzzResolve: the same of a resolve; the versions that it names are no more if it
// is taken. In the bodies {0} and {1} stand for the dots of the versions.
func FuzzResolve(f *testing.F) {
	for _, body := range []string{
		`{"versions":["{0}","{1}"],"value":{"n":4}}`,
		`{"versions":["{0}"],"delete":true}`,
		`{"versions":["{1}"],"path":"/n","value":5}`,
		`{"versions":["{0}","{1}"],"path":"","value":{"n":{"$counter":1}}}`,
		`{"versions":["{0}"],"path":"/a~0b/~1","value":null}`,
		`{"versions":["1@00000000-0000-7000-8000-000000000000"],"value":{}}`,
		`{"versions":["{0}"],"delete":true,"value":{}}`,
		`{"versions":[],"value":{}}`, `{"versions":[1],"value":{}}`, `{"versions":["{0}"],"value":1}`, `{"value":{}}`, `[]`, `{"versions":["0@"]}`,
	} {
		f.Add(body, false)
		f.Add(body, true)
	}
	x := newFuzzedRegion(f, map[string]string{"d": `{"policy":"siblings"}`, "r": `{"type":"register","policy":"siblings"}`})
	versions := map[string][]string{} // of the documents, until a body is taken
	f.Fuzz(func(t *testing.T, body string, register bool) {
		if x.ready(t) {
			clear(versions)
		}
		doc := "/v1/collections/d/docs/x"
		if register {
			doc = "/v1/collections/r/docs/x"
		}
		if versions[doc] == nil {
			versions[doc] = x.siblingsOf(t, doc)
		}
		dots := versions[doc]
		for i, dot := range dots {
			body = strings.ReplaceAll(body, fmt.Sprintf("{%d}", i), dot)
		}
		before := x.have()
		res := x.do("POST", doc+"/resolve", body)
		if !judge(t, body, res) {
			if x.have() != before {
				t.Fatalf("%q is refused by %s, and something was written", body, res.Body)
			}
			return
		}
		delete(versions, doc)
		after := x.versionsOf(t, doc)
		if slices.Equal(dots, after) || len(after) == 0 {
			t.Fatalf("%q is taken, and of the versions %v there are %v", body, dots, after)
		}
	})
}

// FuzzSeqCursor: a cursor of the conflict log is one that was given out, or refused.
func FuzzSeqCursor(f *testing.F) {
	for _, s := range []string{"", "AQ", encodeSeqCursor(0), encodeSeqCursor(1), encodeSeqCursor(1 << 63), encodeCursor("a")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		seq, err := decodeSeqCursor(s)
		if err == nil && s != "" && encodeSeqCursor(seq) != s {
			t.Errorf("%q is taken for %d", s, seq)
		}
		if err != nil && (seq != 0 || !strings.Contains(err.Error(), "cursor")) {
			t.Errorf("%q: %d, %v", s, seq, err)
		}
	})
}
