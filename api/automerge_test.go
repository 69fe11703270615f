package api

import (
	"os"
	"strings"
	"testing"
)

const notes = "/v1/collections/notes"

func TestAutomergeDocumentsByREST(t *testing.T) {
	inWorld(t, []string{"us-east", "eu-west"}, nil, func(w *world) {
		const doc = notes + "/docs/a"
		w.do("PUT", notes, `{"type":"automerge"}`).gives(201)
		w.do("PUT", doc, `{"text":"hello world","n":1}`).gives(201)
		w.do("PATCH", doc, `[{"op":"splice","path":"/text","index":5,"insert":","},{"op":"inc","path":"/likes","value":2}]`).
			with("Content-Type", MediaOps).gives(200)
		w.do("GET", doc, nil).gives(200).is(`{"likes":2,"n":1,"text":"hello, world"}`)
		w.do("GET", doc+"?types=1", nil).gives(200).is(`{"likes":{"$counter":2},"n":1,"text":{"$text":"hello, world"}}`)
		old := w.do("GET", doc, nil).gives(200).etag()
		w.settle()

		// Two regions type into one text at once.
		w.net.Cut("eu-west", "us-east")
		w.do("PATCH", doc, `[{"op":"splice","path":"/text","index":0,"insert":"Oh, "}]`).with("Content-Type", MediaOps).gives(200)
		w.on("eu-west", "PATCH", doc, `[{"op":"splice","path":"/text","index":12,"insert":"!"},{"op":"set","path":"/m","value":2}]`).
			with("Content-Type", MediaOps).gives(200)
		w.do("PUT", doc, `{"text":"Oh, hello, world","n":3,"likes":3}`).gives(200)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		const merged = `{"likes":3,"m":2,"n":3,"text":"Oh, hello, world!"}`
		w.do("GET", doc, nil).gives(200).is(merged)
		w.on("eu-west", "GET", doc, nil).gives(200).is(merged)

		// An offline client brings the version that it is based on.
		w.do("PUT", doc, `{"text":"hello, you","n":1,"likes":2}`).with(HeaderBase, old).gives(200)
		w.do("GET", doc, nil).gives(200).is(`{"likes":3,"m":2,"n":3,"text":"Oh, hello, you!"}`)

		saved := w.do("GET", doc+"/automerge", nil).gives(200)
		if saved.Get("Content-Type") != MediaAutomerge || saved.etag() == "" {
			t.Errorf("%v", saved.Header)
		}
		w.do("GET", doc+"/automerge", nil).with("If-None-Match", saved.etag()).gives(304)
		w.do("POST", notes+"/docs/copy/automerge", saved.body).with("Content-Type", MediaAutomerge).gives(201)
		w.do("GET", notes+"/docs/copy", nil).gives(200).is(`{"likes":3,"m":2,"n":3,"text":"Oh, hello, you!"}`)
		w.do("POST", notes+"/docs/copy/automerge", saved.body).with("Content-Type", MediaAutomerge).gives(200)
		w.do("GET", notes+"/docs/none/automerge", nil).gives(404).as(noDocument, "none")

		w.do("DELETE", doc, nil).gives(204)
		w.do("GET", doc+"/automerge", nil).gives(404)
		w.settle()
		w.on("eu-west", "PUT", doc, `{"text":"again"}`).gives(201)
		w.settle()
		w.do("GET", doc, nil).gives(200).is(`{"text":"again"}`)
	})
}

func TestAutomergeDataIsChecked(t *testing.T) {
	alone(t, func(w *world) {
		w.do("PUT", notes, `{"type":"automerge"}`).gives(201)
		w.do("PUT", "/v1/collections/plain", `{}`).gives(201)
		const at = notes + "/docs/a/automerge"
		read := func(name string) string {
			b, err := os.ReadFile("../crdt/automerge/validate/testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		for _, c := range []struct {
			body string
			kind *kind
		}{
			{"", refused}, {"no automerge", refused}, {read("crashers/Load-04d2c1d900.bin"), tooLarge},
			{read("crashers/Load-bomb-1149-bytes.bin"), tooLarge}, {read("crashers/LoadChanges-b6ef933a43.bin"), refused},
		} {
			w.do("POST", at, c.body).with("Content-Type", MediaAutomerge).gives(c.kind.status).as(c.kind, "")
		}
		w.do("POST", at, "x").with("Content-Type", MediaJSON).gives(415)
		valid := read("valid/js3.5.0-changes5.bin")
		w.do("POST", at, valid).with("Content-Type", MediaAutomerge).with(HeaderBase, `"x"`).gives(400)
		w.do("POST", at, valid).with("Content-Type", MediaAutomerge).gives(201)
		w.do("GET", notes+"/docs/a", nil).gives(200)
		const plain = "/v1/collections/plain/docs/a"
		w.do("PUT", plain, `{}`).gives(201)
		w.do("POST", plain+"/automerge", valid).with("Content-Type", MediaAutomerge).gives(422).as(refused, "")
		w.do("GET", plain+"/automerge", nil).gives(422).as(refused, "automerge")
	})
}

func TestAutomergeWithoutItsHistory(t *testing.T) {
	inWorld(t, []string{"us-east", "eu-west"}, nil, func(w *world) {
		const doc, other = notes + "/docs/a", notes + "/docs/b"
		w.do("PUT", notes, `{"type":"automerge","policy":{"region-priority":["eu-west","us-east"]}}`).gives(201)
		w.do("PUT", doc, `{"text":"hello","likes":{"$counter":1},"list":[1,2,3]}`).gives(201)
		for range 10 {
			w.do("PATCH", doc, `[{"op":"splice","path":"/text","index":0,"delete":1,"insert":"j"},{"op":"inc","path":"/likes","value":1},{"op":"delete","path":"/list/0"},{"op":"insert","path":"/list/2","value":[{"x":true}]}]`).
				with("Content-Type", MediaOps).gives(200)
		}
		w.settle()
		w.net.Cut("eu-west", "us-east")
		w.on("eu-west", "PATCH", doc, `{"k":"west"}`).with("Content-Type", MediaMergePatch).gives(200)
		w.do("PATCH", doc, `{"k":"east"}`).with("Content-Type", MediaMergePatch).gives(200)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		const shown = `{"k":{"$text":"west"},"likes":{"$counter":11},"list":[[{"x":true}],[{"x":true}],[{"x":true}]],"text":{"$text":"jello"}}`
		w.do("GET", doc+"?types=1", nil).gives(200).is(shown)

		saved := w.do("HEAD", doc+"/automerge", nil).gives(200)
		if changes, ops := saved.Get(HeaderChanges), saved.Get(HeaderOperations); changes != "13" || ops == "" {
			t.Errorf("%s changes, %s operations", changes, ops)
		}
		condensed := w.do("GET", doc+"/automerge?history=none", nil).gives(200)
		if condensed.etag() == saved.etag() || condensed.Get("Content-Type") != MediaAutomerge {
			t.Errorf("%v", condensed.Header)
		}
		w.do("GET", doc+"/automerge?history=none", nil).with("If-None-Match", condensed.etag()).gives(304)
		w.do("GET", doc+"/automerge?history=all", nil).with("If-None-Match", saved.etag()).gives(304)
		if west := w.on("eu-west", "GET", doc+"/automerge?history=none", nil).gives(200); west.body != condensed.body || west.etag() != condensed.etag() {
			t.Error("two regions condense one document otherwise")
		}

		w.on("eu-west", "POST", other+"/automerge", condensed.body).with("Content-Type", MediaAutomerge).gives(201)
		w.settle()
		w.do("GET", other+"?types=1", nil).gives(200).is(shown)
		if got := w.do("GET", other+"/automerge", nil).gives(200).Get(HeaderChanges); got != "1" {
			t.Errorf("%s changes", got)
		}
		// A new id is made for it on demand.
		made := w.do("POST", notes+"/docs", condensed.body).with("Content-Type", MediaAutomerge).gives(201)
		w.do("GET", made.Get("Location")+"?types=1", nil).gives(200).is(shown)
		w.do("PUT", "/v1/collections/plain", `{}`).gives(201)
		w.do("POST", "/v1/collections/plain/docs", condensed.body).with("Content-Type", MediaAutomerge).gives(422)
		w.do("POST", notes+"/docs", "x").with("Content-Type", MediaAutomerge).gives(422)
		w.do("POST", notes+"/docs", "x").with("Content-Type", "text/plain").gives(415)

		// It goes on as any document does, and the old one is as it was.
		w.do("PATCH", other, `[{"op":"splice","path":"/text","index":5,"insert":"!"},{"op":"inc","path":"/likes","value":1}]`).
			with("Content-Type", MediaOps).gives(200)
		w.settle()
		w.on("eu-west", "GET", other, nil).gives(200).is(`{"k":"west","likes":12,"list":[[{"x":true}],[{"x":true}],[{"x":true}]],"text":"jello!"}`)
		w.do("GET", doc+"?types=1", nil).gives(200).is(shown)

		w.do("GET", doc+"/automerge?history=some", nil).gives(400)
		w.do("GET", notes+"/docs/none/automerge?history=none", nil).gives(404).as(noDocument, "none")

		// A value of the policy's own is in no change.
		w.do("PUT", notes, `{"type":"automerge","policy":{"script":"function resolve(versions) { return versions.length }"}}`).gives(200)
		if got := w.do("GET", doc, nil).gives(200).body; !strings.Contains(got, `"k":2`) {
			t.Fatal(got)
		}
		w.do("GET", doc+"/automerge?history=none", nil).gives(409).as(misfit, "/k")
		w.do("PATCH", doc, `{"k":2}`).with("Content-Type", MediaMergePatch).gives(200)
		w.do("GET", doc+"/automerge?history=none", nil).gives(200)
	})
}
