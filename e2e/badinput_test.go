package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// Each has a status and a type, and a message with these words in it.
func TestBadInputIsRefusedWithAMessageThatHelps(t *testing.T) {
	t.Parallel()
	strict := cluster.Regions[1]
	c := cluster.Start(t, cluster.Options{
		Regions: cluster.Regions[:2], ArgsOf: map[string][]string{strict: {"--strict-collections"}},
	})
	n := c.Nodes[0]
	old := n.Put(t, "docs", "d", `{"v":1,"list":[1]}`).ETag()
	token := n.Put(t, "docs", "d", `{"v":2,"list":[1]}`).Token()
	doc := cluster.DocPath("docs", "d")
	before := n.Dump(t)

	put, patch, post := http.MethodPut, http.MethodPatch, http.MethodPost
	tests := []struct {
		name   string
		q      cluster.Request
		status int
		kind   string
		words  []string
	}{
		{"malformed JSON", cluster.Request{Method: put, Path: doc, Body: `{"a": }`}, 400, "malformed-json", []string{"6"}},
		{"no body", cluster.Request{Method: put, Path: doc, Type: cluster.JSON}, 400, "malformed-json", nil},
		{"half a body", cluster.Request{Method: put, Path: doc, Body: `{"a": [1, 2`}, 400, "malformed-json", nil},
		{"a name twice", cluster.Request{Method: put, Path: doc, Body: `{"a":1,"a":2}`}, 400, "malformed-json", []string{`a`}},
		{"text that is not UTF-8", cluster.Request{Method: put, Path: doc, Body: "{\"a\":\"\xff\"}"}, 400, "malformed-json", []string{"UTF-8"}},
		{"an array as root", cluster.Request{Method: put, Path: doc, Body: `[1]`}, 422, "not-an-object", []string{"object"}},
		{"a string as root", cluster.Request{Method: put, Path: doc, Body: `"text"`}, 422, "not-an-object", []string{"object"}},
		{"10,000 levels", cluster.Request{Method: put, Path: doc, Body: `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`}, 422, "too-deep", []string{"64"}},
		{"10,000 levels that never end", cluster.Request{Method: put, Path: doc, Body: strings.Repeat(`{"a":`, 10_000)}, 422, "too-deep", []string{"64"}},
		{"a body of 20 MiB", cluster.Request{Method: put, Path: doc, Body: `{"a":"` + strings.Repeat("x", 20<<20) + `"}`}, 413, "too-large", []string{"1048576"}},
		{"an id with a line end", cluster.Request{Method: put, Path: cluster.DocPath("docs", "a\nb"), Body: `{}`}, 422, "invalid", []string{"id"}},
		{"an id with a zero byte", cluster.Request{Method: put, Path: cluster.DocPath("docs", "a\x00b"), Body: `{}`}, 422, "invalid", []string{"id"}},
		{"an id that is too long", cluster.Request{Method: put, Path: cluster.DocPath("docs", strings.Repeat("x", 5000)), Body: `{}`}, 422, "invalid", []string{"id"}},
		{"a collection's name with a space", cluster.Request{Method: put, Path: cluster.DocPath("a b", "d"), Body: `{}`}, 422, "invalid", []string{"name"}},
		{"an unknown policy", cluster.Request{Method: put, Path: "/v1/collections/c", Body: `{"policy":"newest"}`}, 422, "", []string{"newest", "lww"}},
		{"an unknown type", cluster.Request{Method: put, Path: "/v1/collections/c", Body: `{"type":"table"}`}, 422, "", []string{"table", "register"}},
		{"an unknown setting", cluster.Request{Method: put, Path: "/v1/collections/c", Body: `{"polices":"lww"}`}, 422, "", []string{"polices"}},
		{"another type for a collection", cluster.Request{Method: put, Path: "/v1/collections/docs", Body: `{"type":"register"}`}, 409, "exists", []string{"type"}},
		{"a form", cluster.Request{Method: put, Path: doc, Body: `a=b`, Type: "application/x-www-form-urlencoded"}, 415, "unsupported-media-type", []string{"application/json"}},
		{"a patch without a type", cluster.Request{Method: patch, Path: doc, Body: `{}`, Type: "-"}, 415, "unsupported-media-type", []string{cluster.MergePatch}},
		{"a patch as plain JSON", cluster.Request{Method: patch, Path: doc, Body: `{}`}, 415, "unsupported-media-type", []string{cluster.MergePatch}},
		{"a patch that is none", cluster.Request{Method: patch, Path: doc, Body: `{"op":"add"}`, Type: cluster.JSONPatch}, 400, "malformed-patch", []string{"array"}},
		{"an unknown operation", cluster.Request{Method: patch, Path: doc, Body: `[{"op":"frobnicate","path":"/v"}]`, Type: cluster.Ops}, 400, "malformed-patch", []string{"frobnicate"}},
		{"a test that fails", cluster.Request{Method: patch, Path: doc, Body: `[{"op":"test","path":"/v","value":3}]`, Type: cluster.JSONPatch}, 409, "does-not-fit", []string{"/v"}},
		{"an index beyond the list", cluster.Request{Method: patch, Path: doc, Body: `[{"op":"insert","path":"/list/7","value":3}]`, Type: cluster.Ops}, 409, "does-not-fit", []string{"/list", "7"}},
		{"an increment of a list", cluster.Request{Method: patch, Path: doc, Body: `[{"op":"inc","path":"/list","value":3}]`, Type: cluster.Ops}, 409, "does-not-fit", []string{"/list"}},
		{"a stale If-Match", cluster.PutRequest("docs", "d", `{}`, "If-Match", old), 412, "precondition-failed", nil},
		{"If-None-Match of what exists", cluster.PutRequest("docs", "d", `{}`, "If-None-Match", "*"), 412, "precondition-failed", nil},
		{"If-Match of what does not", cluster.PutRequest("docs", "new", `{}`, "If-Match", "*"), 412, "precondition-failed", nil},
		{"an entity tag without quotes", cluster.PutRequest("docs", "d", `{}`, "If-Match", "abc"), 400, "malformed-etag", []string{"quotes"}},
		{"a base that nobody knows", cluster.PutRequest("docs", "d", `{}`, "Meridian-Base", `"`+strings.Repeat("A", 16)+`.x.j"`), 410, "base-gone", nil},
		{"a token that is garbage", cluster.Request{Path: doc, Header: []string{"Meridian-Token", "garbage!"}}, 400, "malformed-token", []string{"Meridian-Token"}},
		{"a token with a byte changed", cluster.Request{Path: doc, Header: []string{"Meridian-Token", "z" + token[1:]}}, 400, "malformed-token", nil},
		{"a token cut short", cluster.Request{Path: doc, Header: []string{"Meridian-Token", token[:len(token)-3]}}, 400, "malformed-token", nil},
		{"a token of 40 KB", cluster.Request{Path: doc, Header: []string{"Meridian-Token", strings.Repeat("A", 40<<10)}}, 400, "malformed-token", []string{"characters"}},
		{"an integer beyond 2^63-1", cluster.Request{Method: put, Path: doc, Body: `{"n":9223372036854775808}`}, 422, "inexact-number", []string{"9223372036854775808"}},
		{"more digits than a float has", cluster.Request{Method: put, Path: doc, Body: `{"deep":{"n":0.12345678901234567890123}}`}, 422, "inexact-number", []string{"0.1234567"}},
		{"a float beyond all", cluster.Request{Method: put, Path: doc, Body: `{"n":1e999}`}, 422, "inexact-number", []string{"1e999"}},
		{"an increment by a fraction", cluster.Request{Method: patch, Path: doc, Body: `[{"op":"inc","path":"/v","value":0.5}]`, Type: cluster.Ops}, 400, "malformed-patch", []string{"integer"}},
		{"a misspelt parameter", cluster.Request{Path: doc + "?type=1"}, 400, "malformed-request", []string{"type"}},
		{"a cursor that is garbage", cluster.Request{Path: "/v1/collections/docs/docs?cursor=x"}, 400, "malformed-cursor", nil},
		{"a limit of a million", cluster.Request{Path: "/v1/collections/docs/docs?limit=1000000"}, 400, "malformed-request", []string{"1000"}},
		{"no such document", cluster.Request{Path: cluster.DocPath("docs", "nobody")}, 404, "no-such-document", []string{"nobody"}},
		{"no such collection", cluster.Request{Path: cluster.DocPath("nowhere", "d")}, 404, "unknown-collection", []string{"nowhere"}},
		{"no such route", cluster.Request{Path: "/v1/documents"}, 404, "no-such-route", nil},
		{"a method that is not served", cluster.Request{Method: http.MethodDelete, Path: "/v1/cluster"}, 405, "method-not-allowed", []string{"GET"}},
		{"an empty batch", cluster.Request{Method: post, Path: "/v1/batch", Body: `{"docs":[]}`}, 422, "invalid", []string{"1000"}},
		{"a batch with two edits of one item", cluster.Request{Method: post, Path: "/v1/batch", Body: `{"docs":[{"collection":"docs","id":"x","put":{},"delete":true}]}`}, 400, "malformed-request", nil},
		{"a fault on an unknown link", cluster.Request{Method: put, Path: "/v1/faults/links/mars", Body: cluster.FaultCut}, 404, "unknown-region", []string{"mars"}},
		{"a fault that is none", cluster.Request{Method: put, Path: "/v1/faults/links/" + strict, Body: `{"state":"broken"}`}, 422, "invalid", []string{"cut"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkProblem(t, n, tt.q, tt.status, tt.kind, tt.words)
		})
	}
	if diff := before.Diff(n.Dump(t)); diff != "" {
		t.Errorf("something that was refused has changed something: %s", diff)
	}

	t.Run("unknown collection under --strict-collections", func(t *testing.T) {
		checkProblem(t, c.Node(strict), cluster.PutRequest("unmade", "d", `{}`), 404, "unknown-collection", []string{"unmade"})
		c.Node(strict).Must(t, cluster.Request{Method: put, Path: "/v1/collections/unmade"}, http.StatusCreated)
		c.Node(strict).Put(t, "unmade", "d", `{}`)
	})
	t.Run("fault injection that is off", func(t *testing.T) {
		off := cluster.Start(t, cluster.Options{Regions: []string{"alone"}, Prepare: func(c *cluster.Cluster) { c.Nodes[0].RemoveFlag("--fault-injection") }})
		checkProblem(t, off.Nodes[0], cluster.Request{Path: "/v1/faults/links"}, 404, "fault-injection-off", []string{"--fault-injection"})
	})
	c.AwaitSame(t)
}

// checkProblem sends what is to be refused, and looks at the answer.
func checkProblem(t *testing.T, n *cluster.Node, q cluster.Request, status int, kind string, words []string) {
	t.Helper()
	res, err := n.Do(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the answer is %s", got)
	}
	var p struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Region    string `json:"region"`
		Retryable bool   `json:"retryable"`
	}
	cluster.Decode(t, res.Body, &p)
	if res.Status != status || p.Status != status || kind != "" && p.Type != "/problems/"+kind {
		t.Errorf("got %d %s, want %d %s", res.Status, p.Type, status, kind)
	}
	if p.Title == "" || p.Detail == "" || p.Region != n.Region || p.Retryable {
		t.Errorf("the problem lacks something, or asks to try again: %s", res.Body)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			t.Errorf("the message does not mention %q: %s", w, p.Detail)
		}
	}
	if len(p.Detail) > 1000 {
		t.Errorf("the message has %d bytes", len(p.Detail))
	}
	t.Logf("%d %s", res.Status, p.Detail)
}
