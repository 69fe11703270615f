package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCollectionsAreMadeChangedListedAndDeleted(t *testing.T) {
	const carts = "/v1/collections/carts"
	alone(t, func(w *world) {
		w.do("GET", carts, nil).gives(404).as(unknownColl, "carts")
		w.do("GET", "/v1/collections", nil).gives(200).is(`{"collections":[]}`)
		var c struct {
			Name, Incarnation, Revision, Created, Type, Policy, Delete string
			Keep                                                       struct{ Versions int }
			Implicit                                                   bool
		}
		w.do("PUT", carts, `{"type":"register","keep":{"versions":3}}`).gives(201).json(&c)
		if c.Name != "carts" || c.Type != "register" || c.Policy != "lww" || c.Delete != "edit-wins" || c.Keep.Versions != 3 ||
			c.Incarnation == "" || c.Revision == "" || !strings.HasSuffix(c.Created, "Z") || c.Implicit {
			t.Errorf("a new collection: %+v", c)
		}
		got := w.do("GET", carts, nil).gives(200)

		// What GET gave can be put back.
		w.do("PUT", carts, got.body).gives(200)
		w.do("PUT", carts, `{"type":"register","policy":{"region-priority":["eu-west","us-east"]}}`).gives(200)
		if r := w.do("GET", carts, nil).gives(200); !strings.Contains(r.body, `"policy":{"region-priority":["eu-west","us-east"]}`) {
			t.Errorf("after a change of policy: %s", r.body)
		}
		w.do("PUT", carts, `{"type":"document"}`).gives(409).as(exists, "register")
		w.do("GET", "/v1/collections/"+c.Incarnation, nil).gives(200)

		w.do("PUT", aDoc, `{}`).gives(201)
		w.do("PUT", "/v1/collections/implicit/docs/x", `{}`).gives(201)
		var list struct {
			Collections []struct {
				Name     string
				Implicit bool
			}
		}
		w.do("GET", "/v1/collections", nil).gives(200).json(&list)
		if len(list.Collections) != 2 || list.Collections[0].Name != "carts" || !list.Collections[1].Implicit {
			t.Errorf("list: %+v", list)
		}
		w.do("DELETE", carts, nil).gives(204)
		w.do("DELETE", carts, nil).gives(404).as(unknownColl, "")
		w.do("GET", aDoc, nil).gives(404)
		w.do("PUT", carts, nil).gives(201)
	})
}

func TestBadSettings(t *testing.T) {
	alone(t, func(w *world) {
		for _, c := range []struct {
			body string
			kind *kind
			says string
		}{
			{`{`, malformedJSON, ""},
			{`[]`, notObject, "settings"},
			{`null`, notObject, "settings"},
			{`{"policy":"newest"}`, invalid, "newest"},
			{`{"type":"table"}`, refused, "table"},
			{`{"colour":"red"}`, invalid, "colour"},
			{`{"delete":"never"}`, invalid, "never"},
			{`{"keep":{"versions":1000}}`, invalid, "keep"},
			{`{"keep":{"age":"soon"}}`, invalid, "soon"},
			{strings.Repeat(" ", MaxSettingsBytes+1), tooLarge, ""},
		} {
			w.do("PUT", "/v1/collections/x", c.body).gives(c.kind.status).as(c.kind, c.says)
		}
		w.do("PUT", "/v1/collections/.x", `{}`).gives(422).as(invalid, "name")
		w.do("PUT", "/v1/collections/x", `{}`).with("Content-Type", "text/plain").gives(415)
		w.do("PUT", "/v1/collections/x", `{}`).with("If-None-Match", "*").gives(400).as(malformedRequest, "If-None-Match")
		w.do("DELETE", "/v1/collections/x", nil).with("If-Match", "*").gives(400)
		w.do("DELETE", "/v1/collections/x?force=1", nil).gives(400)
	})
}

func TestClusterIsTold(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		var c struct {
			Region  string
			Vector  map[string]uint64
			Regions []struct {
				Region string
				Link   struct{ State string }
			}
		}
		w.do("GET", "/v1/cluster", nil).gives(200).json(&c)
		if c.Region != "us-east" || len(c.Vector) != 2 || len(c.Regions) != 1 || c.Regions[0].Link.State != "up" {
			t.Errorf("cluster: %+v", c)
		}
		w.do("GET", "/v1/cluster?x", nil).gives(400)
		w.do("GET", "/livez", nil).gives(200).is("ok")
		w.do("GET", "/readyz", nil).gives(200).is("ok")
	})
}

func TestProblemsExplainThemselves(t *testing.T) {
	alone(t, func(w *world) {
		var all struct{ Problems []json.RawMessage }
		w.do("GET", ProblemPath, nil).gives(200).json(&all)
		if len(all.Problems) != len(kinds) {
			t.Errorf("%d problems are listed, there are %d", len(all.Problems), len(kinds))
		}
		w.do("GET", w.do("GET", "/x", nil).gives(404).problem().Type, nil).gives(200)
		w.do("GET", ProblemPath+"none", nil).gives(404).as(noRoute, ProblemPath)
	})
}
