package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiandb/meridian/region"
)

func TestDocumentIsCreatedReadReplacedAndDeleted(t *testing.T) {
	alone(t, func(w *world) {
		w.do("GET", aDoc, nil).gives(404).as(unknownColl, "carts")
		created := w.do("PUT", aDoc, ` {"b": 1.0, "a": "x"} `).gives(201)
		got := w.do("GET", aDoc, nil).gives(200).is(`{"a":"x","b":1.0}`)
		if got.etag() != created.etag() || got.Get("Content-Type") != MediaJSON {
			t.Errorf("GET gives ETag %s as %s, PUT gave %s", got.etag(), got.Get("Content-Type"), created.etag())
		}
		w.do("GET", "/v1/collections/carts/docs/other", nil).gives(404).as(noDocument, "other")
		head := w.do("HEAD", aDoc, nil).gives(200)
		if head.body != "" || head.Get("Content-Length") != strconv.Itoa(len(got.body)) || head.etag() != got.etag() {
			t.Errorf("HEAD gives %q with headers %v", head.body, head.Header)
		}
		replaced := w.do("PUT", aDoc, `{"c":9223372036854775807}`).gives(200)
		if replaced.etag() == created.etag() {
			t.Error("the ETag has not changed")
		}
		var receipt struct{ ID, ETag, Dot, Stamp string }
		replaced.json(&receipt)
		if receipt.ID != "a" || receipt.ETag != replaced.etag() || receipt.Dot == "" || receipt.Stamp == "" {
			t.Errorf("incomplete receipt %s", replaced.body)
		}
		w.do("GET", aDoc, nil).gives(200).is(`{"c":9223372036854775807}`)
		w.do("DELETE", aDoc, nil).gives(204)
		w.do("DELETE", aDoc, nil).gives(404).as(noDocument, "")
		w.do("GET", aDoc, nil).gives(404).as(noDocument, "a")
		w.do("PUT", aDoc, `{}`).gives(201)
	})
}

func TestPostCreatesUnderAUUIDv7(t *testing.T) {
	alone(t, func(w *world) {
		r := w.do("POST", "/v1/collections/carts/docs", `{"x":1}`).gives(201)
		var receipt struct{ ID string }
		r.json(&receipt)
		if id, err := uuid.Parse(receipt.ID); err != nil || id.Version() != 7 {
			t.Errorf("the id %q is no UUIDv7", receipt.ID)
		}
		w.do("GET", r.Get("Location"), nil).gives(200).is(`{"x":1}`)
		w.do("POST", "/v1/collections/carts/docs", `{}`).with("If-Match", `"x"`).gives(400).as(malformedRequest, "If-Match")
	})
}

func TestPatchInItsMediaTypes(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{"a":1,"b":{"c":2}}`).gives(201)
		w.do("PATCH", aDoc, `{"a":null,"b":{"d":3}}`).with("Content-Type", MediaMergePatch+"; charset=utf-8").gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"b":{"c":2,"d":3}}`)
		w.do("PATCH", aDoc, `[{"op":"test","path":"/b/c","value":2},{"op":"add","path":"/x","value":[1]}]`).with("Content-Type", MediaJSONPatch).gives(200)
		w.do("PATCH", aDoc, `[{"op":"test","path":"/b/c","value":7}]`).with("Content-Type", MediaJSONPatch).gives(409).as(misfit, "")
		w.do("PATCH", aDoc, `[{"op":"set","path":"/b","value":true}]`).with("Content-Type", MediaOps).gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"b":true,"x":[1]}`)

		w.do("PATCH", aDoc, `[{"op":"frobnicate"}]`).with("Content-Type", MediaJSONPatch).gives(400).as(malformedPatch, "operation 0")
		w.do("PATCH", aDoc, `[{"op":"add","path":"x","value":1}]`).with("Content-Type", MediaJSONPatch).gives(400).as(malformedPatch, "")
		w.do("PATCH", aDoc, `{"op":"add"}`).with("Content-Type", MediaOps).gives(400).as(malformedPatch, "array")
		w.do("PATCH", aDoc, `[1]`).with("Content-Type", MediaMergePatch).gives(422).as(notObject, "array")
		w.do("PATCH", aDoc, `[{"op":"replace","path":"","value":1}]`).with("Content-Type", MediaJSONPatch).gives(422).as(notObject, "root")
		w.do("PATCH", "/v1/collections/carts/docs/none", `[{"op":"add","path":"/a","value":1}]`).with("Content-Type", MediaJSONPatch).gives(404).as(noDocument, "")
		w.do("PATCH", "/v1/collections/carts/docs/none", `{"a":1}`).with("Content-Type", MediaMergePatch).gives(201)
		for _, media := range []string{MediaJSON, "text/plain", "nonsense;;"} {
			r := w.do("PATCH", aDoc, `{}`).with("Content-Type", media).gives(415)
			r.as(badMediaType, "")
			if got := r.Get("Accept-Patch"); got != MediaMergePatch+", "+MediaJSONPatch+", "+MediaOps {
				t.Errorf("Accept-Patch is %q", got)
			}
		}
	})
}

func TestTypedValues(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{"likes":{"$counter":1},"tags":{"$set":["b","a","b"]}}`).gives(201)
		w.do("PATCH", aDoc, `[{"op":"inc","path":"/likes","value":4},{"op":"add","path":"/tags","value":"c"}]`).with("Content-Type", MediaOps).gives(200)
		plainly := w.do("GET", aDoc, nil).gives(200).is(`{"likes":5,"tags":["a","b","c"]}`)
		types := w.do("GET", aDoc+"?types=1", nil).gives(200).is(`{"likes":{"$counter":5},"tags":{"$set":["a","b","c"]}}`)
		if plainly.etag() == types.etag() {
			t.Error("two representations have one strong ETag")
		}
		if r := w.do("GET", "/v1/collections/carts/docs?types=1", nil).gives(200); !strings.Contains(r.body, `"value":{"likes":{"$counter":5},`) {
			t.Errorf("the list shows %s", r.body)
		}
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"carts","id":"a","ops":[{"op":"inc","path":"/likes","value":-5},{"op":"remove","path":"/tags","value":"a"}]}]}`).gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"likes":0,"tags":["b","c"]}`)
		w.do("PATCH", aDoc, `[{"op":"inc","path":"/tags","value":-1}]`).with("Content-Type", MediaOps).gives(409).as(misfit, "operation 0")
	})
}

func TestPutOnAnOlderVersionIsMergedWithWhatHappenedSince(t *testing.T) {
	alone(t, func(w *world) {
		first := w.do("PUT", aDoc, `{"a":1,"b":1,"list":["x","y"]}`).gives(201).etag()
		w.do("PUT", aDoc, `{"a":2,"b":1,"list":["x","y","z"]}`).gives(200)
		w.do("PUT", aDoc, `{"a":1,"b":2,"list":["w","x","y"]}`).with(HeaderBase, first).gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"a":2,"b":2,"list":["w","x","y","z"]}`)
		w.do("PUT", aDoc, `{"base":{"a":2,"b":2,"list":["w"]},"value":{"a":2,"b":3,"list":["w"]}}`).with("Content-Type", MediaBased).gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"a":2,"b":3,"list":["w","x","y","z"]}`)
		w.do("PATCH", aDoc, `{"c":1}`).with("Content-Type", MediaMergePatch).with(HeaderBase, first).gives(200)
		w.do("GET", aDoc, nil).gives(200).is(`{"a":2,"b":3,"c":1,"list":["w","x","y","z"]}`)
	})
}

func TestBadDocumentsEachHaveTheirStatus(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
	alone(t, func(w *world) {
		for _, c := range []struct {
			body   string
			status int
			kind   *kind
			says   string
		}{
			{`{"a":`, 400, malformedJSON, "ends too early"},
			{`{"a":1} x`, 400, malformedJSON, "follows"},
			{`{"a":1,"a":2}`, 400, malformedJSON, "duplicate"},
			{"{\"a\":\"\xff\"}", 400, malformedJSON, "UTF-8"},
			{``, 400, malformedJSON, ""},
			{`[1]`, 422, notObject, "an array"},
			{`"x"`, 422, notObject, "a string"},
			{`{"$counter":1}`, 422, notObject, "a counter"},
			{deep, 422, tooDeep, "64 levels"},
			{`{"n":9223372036854775808}`, 422, inexactNumber, "9223372036854775808"},
			{`{"n":0.1000000000000000055}`, 422, inexactNumber, "0.1000000000000000055"},
			{`{"n":1e400}`, 422, inexactNumber, ""},
			{`{"a":{"$set":1}}`, 422, refused, "array"},
			{`{"a":"` + strings.Repeat("x", 1<<20) + `"}`, 413, tooLarge, "1048576"},
		} {
			r := w.do("PUT", aDoc, c.body).gives(c.status)
			r.as(c.kind, c.says)
			if len(r.body) > 2000 {
				t.Errorf("the problem has %d bytes", len(r.body))
			}
		}
		p := w.do("PUT", aDoc, `{"a":[1,{"b":1e999}]}`).gives(422).problem()
		if p.Pointer != "/a/1/b" || p.Offset == nil || *p.Offset != 13 {
			t.Errorf("the problem points to %q, byte %v", p.Pointer, p.Offset)
		}
		w.do("PUT", aDoc, `{}`).with("Content-Type", "application/x-www-form-urlencoded").gives(415).as(badMediaType, "form")
		w.do("PUT", aDoc, `{}`).with("Content-Type", "application/json; charset=latin1").gives(415).as(badMediaType, "UTF-8")
		w.do("PUT", aDoc, `{}`).with("Content-Encoding", "gzip").gives(415).as(badMediaType, "gzip")
		w.do("PUT", aDoc+"?ackss=1", `{}`).gives(400).as(malformedRequest, "ackss")
		w.do("GET", aDoc+"?types=maybe", nil).gives(400).as(malformedRequest, "types")
		w.do("GET", aDoc+"?types=1&types=1", nil).gives(400).as(malformedRequest, "2 times")
	})
}

// endless is a body that never ends and counts what is taken of it.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	e.read += len(b)
	return len(b), nil
}

func TestLargeBodiesAreRefusedEarly(t *testing.T) {
	alone(t, func(w *world) {
		body := &endless{}
		c := w.do("PUT", aDoc, body)
		c.r.ContentLength = 20 << 20
		c.gives(413).as(tooLarge, fmt.Sprint(20<<20))
		if body.read != 0 {
			t.Errorf("%d bytes of a body were read that said that it is too large", body.read)
		}
		c = w.do("PUT", aDoc, body)
		c.r.ContentLength = -1 // chunked
		c.gives(413).as(tooLarge, "more than")
		if body.read > 1<<20+1 {
			t.Errorf("%d bytes were read, the limit is %d", body.read, 1<<20)
		}
	})
}

func TestIDsAreDecodedExactlyOnce(t *testing.T) {
	alone(t, func(w *world) {
		for path, id := range map[string]string{
			"a%2Fb":         `a/b`,
			"a%252Fb":       `a%2Fb`,
			"a%2Fb%252F%20": `a/b%2F `,
			"x%20y":         `x y`,
			"a+b":           `a+b`,
			"%C3%BC":        `ü`,
			"a%3Fb%23":      `a?b#`,
			"%22":           `\"`,
			"..":            `..`,
			"versions":      `versions`,
		} {
			r := w.do("PUT", "/v1/collections/ids/docs/"+path, fmt.Sprintf(`{"is":"%s"}`, id)).gives(201)
			if !strings.HasPrefix(r.body, `{"id":"`+id+`",`) {
				t.Errorf("%s is taken for %s", path, r.body)
			}
			w.do("GET", "/v1/collections/ids/docs/"+path, nil).gives(200).is(`{"is":"` + id + `"}`)
			w.do("GET", "/v1/collections/ids/docs/"+path+"/versions", nil).gives(200)
		}
		for _, path := range []string{"a%00b", "a%0Ab", "%7F", "%C2%85", "%FF", strings.Repeat("x", 513)} {
			w.do("PUT", "/v1/collections/ids/docs/"+path, `{}`).gives(422).as(invalid, "id")
			w.do("GET", "/v1/collections/ids/docs/"+path, nil).gives(422).as(invalid, "id")
		}
		w.do("PUT", "/v1/collections/_ids/docs/x", `{}`).gives(422).as(invalid, "collection name")
	})
}

func TestPreconditions(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", aDoc, `{"n":1}`).with("If-Match", "*").gives(412).as(precondition, "does not exist")
		first := w.do("PUT", aDoc, `{"n":1}`).with("If-None-Match", "*").gives(201).etag()
		w.do("PUT", aDoc, `{"n":2}`).with("If-None-Match", "*").gives(412).as(precondition, "exists")
		second := w.do("PUT", aDoc, `{"n":2}`).with("If-Match", first).gives(200).etag()
		w.do("PUT", aDoc, `{"n":3}`).with("If-Match", first).gives(412).as(precondition, "changed")
		w.do("PUT", aDoc, `{"n":3}`).with("If-Match", "W/"+second).gives(412).as(precondition, "")
		w.do("PUT", aDoc, `{"n":3}`).with("If-Match", `"foreign"`).gives(412).as(precondition, "")
		// The tag alone counts, not the revision of the policy nor the representation.
		tag, _, _ := strings.Cut(second, ".")
		third := w.do("PUT", aDoc, `{"n":3}`).with("If-Match", `"x" , `+tag+`.other.t"`).gives(200).etag()
		w.do("PUT", aDoc, `{"n":4}`).with("If-None-Match", third).gives(412).as(precondition, "still")
		c := w.do("PUT", aDoc, `{"n":4}`)
		c.r.Header["If-Match"] = []string{first, third}
		fourth := c.gives(200).etag()
		w.do("PATCH", aDoc, `{}`).with("Content-Type", MediaMergePatch).with("If-Match", third).gives(412)
		w.do("DELETE", aDoc, nil).with("If-Match", third).gives(412)

		w.do("GET", aDoc, nil).with("If-None-Match", third).gives(200)
		r := w.do("GET", aDoc, nil).with("If-None-Match", third+", W/"+fourth).gives(304)
		if r.body != "" || r.etag() != fourth {
			t.Errorf("304 with %q and %v", r.body, r.Header)
		}
		w.do("GET", aDoc, nil).with("If-None-Match", "*").gives(304)
		w.do("GET", aDoc+"?types=1", nil).with("If-None-Match", fourth).gives(200)
		w.do("GET", aDoc, nil).with("If-Match", third).gives(412).as(precondition, "")
		w.do("GET", aDoc, nil).with("If-Match", fourth).gives(200)

		// Another policy shows something else under the same heads.
		w.do("PUT", "/v1/collections/carts", `{"policy":"siblings"}`).gives(200)
		w.do("GET", aDoc, nil).with("If-None-Match", fourth).gives(200)
		w.do("DELETE", aDoc, nil).with("If-Match", fourth).gives(204)

		for _, bad := range []string{"x", `"x`, `"a" "b"`, `W/x`, ",", `*, "a"`, "\"a\x01\"", strings.Repeat(`"a",`, MaxETags+1)} {
			w.do("PUT", aDoc, `{}`).with("If-Match", bad).gives(400).as(malformedETag, "")
			w.do("PUT", aDoc, `{}`).with("If-None-Match", bad).gives(400).as(malformedETag, "")
		}
	})
}

func TestWriteOnAnOlderVersion(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/carts", `{"type":"register","policy":"siblings","keep":{"versions":1}}`).gives(201)
		first := w.do("PUT", aDoc, `{"n":1}`).gives(201).etag()
		second := w.do("PUT", aDoc, `{"n":2}`).gives(200).etag()
		w.do("PUT", aDoc, `{"n":3}`).with(HeaderBase, first).gives(200)
		r := w.do("GET", aDoc, nil).gives(200)
		if r.Get(HeaderConflict) != "siblings" {
			t.Errorf("a register written on an older version has siblings; the answer says %q", r.Get(HeaderConflict))
		}
		w.do("PUT", aDoc, `{"n":4}`).with("If-Match", r.etag()).gives(200)
		w.do("PUT", aDoc, `{"n":5}`).with(HeaderBase, second).gives(410).as(baseGone, "keep")
		w.do("PUT", aDoc, `{"base":{"n":4},"value":{"n":6}}`).with("Content-Type", MediaBased).gives(200)
		if r := w.do("GET", aDoc, nil).gives(200).is(`{"n":6}`); r.Get(HeaderConflict) != "" {
			t.Error("a write on the present version made a sibling")
		}
		w.do("PUT", aDoc, `{"base":{"n":1},"value":{"n":7}}`).with("Content-Type", MediaBased).gives(200)
		if r := w.do("GET", aDoc, nil).gives(200); r.Get(HeaderConflict) == "" {
			t.Error("a write on a forgotten version replaced what it had not seen")
		}

		based := func(body string) *call { return w.do("PUT", aDoc, body).with("Content-Type", MediaBased) }
		based(`{"value":{}}`).gives(400).as(malformedRequest, "base")
		based(`{"base":{},"value":1}`).gives(422).as(notObject, "value")
		based(`{"base":{},"value":{},"x":1}`).gives(400).as(malformedRequest, "x")
		based(`{"base":{},"value":{}}`).with(HeaderBase, first).gives(400).as(malformedRequest, "both")
		for _, bad := range []string{"x", `"x"`, `"aaaaaaaaaaaaaaaa", "b"`, "*", `W/"aaaaaaaaaaaaaaaa"`} {
			w.do("PUT", aDoc, `{}`).with(HeaderBase, bad).gives(400).as(malformedETag, "")
		}
		w.do("DELETE", aDoc, nil).with(HeaderBase, first).gives(400).as(malformedRequest, HeaderBase)
	})
}

func TestStrictCollections(t *testing.T) {
	strict := func(rc *region.Config, _ *Config) { rc.StrictCollections = true }
	inWorld(t, []string{"us-east"}, strict, func(w *world) {
		w.do("PUT", aDoc, `{}`).gives(404).as(unknownColl, "PUT /v1/collections/carts")
		w.do("PUT", "/v1/collections/carts", nil).gives(201)
		w.do("PUT", aDoc, `{}`).gives(201)
	})
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	alone(t, func(w *world) {
		for _, path := range []string{"/", "/v1", "/v2/x", "/v1/collections/", aDoc + "/", aDoc + "/versions/x", "/v1/collections/a/docs/x/y"} {
			w.do("GET", path, nil).gives(404).as(noRoute, "")
		}
		for path, allow := range map[string]string{
			aDoc:                             "GET, HEAD, PUT, PATCH, DELETE",
			"/v1/collections/carts/docs":     "GET, HEAD, POST",
			"/v1/collections/a%2Fb/docs/%2F": "GET, HEAD, PUT, PATCH, DELETE",
			"/v1/collections/carts":          "GET, HEAD, PUT, DELETE",
			"/v1/batch":                      "POST",
			aDoc + "/resolve":                "POST",
			"/livez":                         "GET, HEAD",
		} {
			for _, method := range []string{"TRACE", "BREW"} {
				r := w.do(method, path, nil).gives(405)
				r.as(badMethod, allow)
				if r.Get("Allow") != allow {
					t.Errorf("%s: Allow is %q, want %q", path, r.Get("Allow"), allow)
				}
			}
			if r := w.do("OPTIONS", path, nil).gives(204); r.Get("Allow") != allow {
				t.Errorf("OPTIONS %s: Allow is %q", path, r.Get("Allow"))
			}
		}
		if r := w.do("OPTIONS", aDoc, nil).gives(204); !strings.Contains(r.Get("Accept-Patch"), MediaOps) {
			t.Errorf("Accept-Patch is %q", r.Get("Accept-Patch"))
		}
	})
}

func TestPagesOfOtherOriginsCannotWrite(t *testing.T) {
	tune := func(_ *region.Config, c *Config) { c.TrustedOrigins = []string{"https://app.example"} }
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		w.do("PUT", aDoc, `{}`).with("Sec-Fetch-Site", "cross-site").with("Origin", "https://evil.example").gives(403).as(crossOrigin, "")
		w.do("PUT", aDoc, `{}`).with("Sec-Fetch-Site", "cross-site").with("Origin", "https://app.example").gives(201)
		w.do("PUT", aDoc, `{}`).with("Sec-Fetch-Site", "same-origin").gives(200)
		w.do("GET", aDoc, nil).with("Sec-Fetch-Site", "cross-site").gives(200)
	})
}

var _ http.ResponseWriter = (*exchange)(nil)
