package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/region/core"
)

func TestBatchIsMadeWholeOrNotAtAll(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/old/docs/p", `{"a":1}`).gives(201)
		w.do("PUT", "/v1/collections/old/docs/gone", `{}`).gives(201)
		etag := w.do("PUT", "/v1/collections/old/docs/m", `{"a":1}`).gives(201).etag()
		q := strings.ReplaceAll(etag, `"`, `\"`)
		var receipt struct {
			Dot, Stamp string
			Docs       []struct {
				Collection, ID, ETag string
				Created, Exists      bool
			}
		}
		batch := `{"docs":[
			{"collection":"new","put":{"minted":true}},
			{"collection":"new","id":"x","put":{"n":1.0},"if_none_match":"*"},
			{"collection":"old","id":"m","merge":{"b":{"$counter":0},"a":null,"b":2},"if_match":"` + q + `"},
			{"collection":"old","id":"p","patch":[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/a","value":[]}]},
			{"collection":"old","id":"gone","delete":true}]}`
		w.do("POST", "/v1/batch", batch).gives(400).as(malformedJSON, "duplicate")
		batch = strings.Replace(batch, `"b":{"$counter":0},`, "", 1)
		r := w.do("POST", "/v1/batch", batch).gives(200).json(&receipt)
		if receipt.Dot == "" || receipt.Stamp == "" || len(receipt.Docs) != 5 {
			t.Fatalf("receipt: %s", r.body)
		}
		for i, want := range []struct {
			path, value string
			created     bool
		}{
			{"new/docs/" + receipt.Docs[0].ID, `{"minted":true}`, true}, {"new/docs/x", `{"n":1.0}`, true},
			{"old/docs/m", `{"b":2}`, false}, {"old/docs/p", `{"a":[]}`, false},
		} {
			got := w.do("GET", "/v1/collections/"+want.path, nil).gives(200).is(want.value)
			d := receipt.Docs[i]
			if got.etag() != d.ETag || d.Created != want.created || !d.Exists || d.Collection+"/docs/"+d.ID != want.path {
				t.Errorf("document %d: %+v", i, d)
			}
		}
		w.do("GET", "/v1/collections/old/docs/gone", nil).gives(404)
		if d := receipt.Docs[4]; d.Exists || d.ETag != "" {
			t.Errorf("a deleted document: %+v", d)
		}

		// The second of these fails, so the first is not made.
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"new","id":"y","put":{}},{"collection":"old","id":"m","put":{},"if_match":"`+q+`"}]}`).
			gives(412).as(precondition, "document 1")
		w.do("GET", "/v1/collections/new/docs/y", nil).gives(404)
	})
}

func TestBadBatches(t *testing.T) {
	item := func(s string) string { return `{"docs":[{"collection":"a","id":"b",` + s + `}]}` }
	many := strings.Repeat(`{"collection":"a","put":{}},`, core.DefaultWriteDocs) + `{"collection":"a","put":{}}`
	deep := strings.Repeat(`{"a":`, 66) + "1" + strings.Repeat("}", 66)
	alone(t, func(w *world) {
		for _, c := range []struct {
			body, pointer, says string
			kind                *kind
		}{
			{`{`, "", "", malformedJSON},
			{`[]`, "", "", notObject},
			{`{"docs":{}}`, "/docs", "array", malformedRequest},
			{`{}`, "", `"docs" is missing`, malformedRequest},
			{`{"docs":[],"x":1}`, "", "x", malformedRequest},
			{`{"docs":[]}`, "", "1 to 1000", invalid},
			{`{"docs":[` + many + `]}`, "", "1001", invalid},
			{`{"docs":[1]}`, "/docs/0", "object", malformedRequest},
			{`{"docs":[{"id":"b","put":{}}]}`, "/docs/0", "collection", malformedRequest},
			{`{"docs":[{"collection":"a","merge":{}}]}`, "/docs/0", "id", malformedRequest},
			{`{"docs":[{"collection":"a","id":"","put":{}}]}`, "/docs/0", "id", malformedRequest},
			{`{"docs":[{"collection":1,"id":"b","put":{}}]}`, "/docs/0/collection", "string", malformedRequest},
			{`{"docs":[{"collection":"a","id":"\u0001","put":{}}]}`, "/docs/0/id", "control", invalid},
			{`{"docs":[{"collection":"_a","id":"b","put":{}}]}`, "", "collection name", invalid},
			{item(`"x":1`), "/docs/0", "what is to be done", malformedRequest},
			{item(`"put":{},"delete":true`), "/docs/0", "both", malformedRequest},
			{item(`"put":{},"x":1`), "/docs/0", "x", malformedRequest},
			{item(`"put":[]`), "/docs/0/put", "object", notObject},
			{item(`"put":` + deep), "/docs/0/put" + strings.Repeat("/a", 64), "64 levels", tooDeep},
			{item(`"put":{"a":1e999}`), "/docs/0/put/a", "1e999", inexactNumber},
			{item(`"put":{"a":"` + strings.Repeat("x", 1<<20) + `"}`), "/docs/0/put", "1048576", tooLarge},
			{item(`"delete":false`), "/docs/0/delete", "true", malformedRequest},
			{item(`"delete":true,"base":"\"0123456789abcdef\""`), "/docs/0/base", "edits", malformedRequest},
			{item(`"put":{},"base":"\"0123456789abcdef\"","base_value":{}`), "/docs/0", "either", malformedRequest},
			{item(`"put":{},"base_value":1`), "/docs/0/base_value", "object", notObject},
			{item(`"put":{},"if_match":"x"`), "/docs/0", "entity tag", malformedETag},
			{item(`"put":{},"base":"\"x\""`), "/docs/0/base", "entity tag", malformedETag},
			{item(`"merge":{},"base_value":{}`), "/docs/0", "base_value", malformedRequest},
			{item(`"patch":{}`), "/docs/0/patch", "array", malformedPatch},
			{item(`"patch":[{"op":"set","path":"","value":1}]`), "/docs/0/patch", "unknown operation", malformedPatch},
			{item(`"ops":[{"op":"set","path":"","value":1}]`), "/docs/0/ops", "root", notObject},
			{`{"docs":[{"collection":"a","id":"b","put":{}},{"collection":"a","id":"b","put":{}}]}`, "", "twice", invalid},
		} {
			r := w.do("POST", "/v1/batch", c.body).gives(c.kind.status)
			r.as(c.kind, c.says)
			if p := r.problem(); p.Pointer != c.pointer {
				t.Errorf("%.100s: the problem points to %q, want %q", c.body, p.Pointer, c.pointer)
			}
		}
		w.do("POST", "/v1/batch", `{}`).with("Content-Type", MediaOps).gives(415)
		w.do("POST", "/v1/batch", `{"docs":[]}`).with("If-Match", "*").gives(400).as(malformedRequest, "if_match")
		w.do("GET", "/v1/collections/a/docs", nil).gives(404)

		big := `{"docs":[{"collection":"a","put":{"a":"` + strings.Repeat("x", DefaultMaxBatch) + `"}}]}`
		w.do("POST", "/v1/batch", big).gives(413).as(tooLarge, fmt.Sprint(DefaultMaxBatch))
	})
}
