package api

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// versionsBody is what GET …/versions answers.
type versionsBody struct {
	ID, ETag  string
	Exists    bool
	Shown     json.RawMessage
	Versions  []versionBody
	Conflicts []struct {
		Path, Policy, Why string
		Open              bool
		Versions          []versionBody
	}
}

type versionBody struct {
	Dot, Region, Stamp, Time string
	Value                    json.RawMessage
	Deleted, Shown           bool
}

// inConflict makes two siblings of a register, one written in each region, and
// lets them meet. The one of us-east is the newer.
func inConflict(t *testing.T, policy string, test func(w *world)) {
	t.Helper()
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.do("PUT", "/v1/collections/carts", `{"type":"register","policy":"`+policy+`"}`).gives(201)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		w.on("eu-west", "PUT", aDoc, `{"from":"eu"}`).gives(201)
		time.Sleep(time.Millisecond)
		w.on("us-east", "PUT", aDoc, `{"from":"us"}`).gives(201)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		test(w)
	})
}

func TestConcurrentWritesToALWWRegisterShowOneAndListBoth(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		for _, name := range []string{"eu-west", "us-east"} {
			r := w.on(name, "GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"from":"us"}`)
			if r.Get(HeaderConflict) != "lww" || r.Get(HeaderConflictCount) != "1" {
				t.Errorf("headers of a conflict: %v", r.Header)
			}
			var v versionsBody
			w.on(name, "GET", aDoc+"/versions", nil).gives(200).json(&v)
			if v.ID != "a" || !v.Exists || string(v.Shown) != `{"from":"us"}` || len(v.Versions) != 2 || len(v.Conflicts) != 1 {
				t.Fatalf("versions: %+v", v)
			}
			old, chosen := v.Versions[0], v.Versions[1]
			if old.Shown || !chosen.Shown || old.Region != "eu-west" || chosen.Region != "us-east" ||
				string(old.Value) != `{"from":"eu"}` || old.Dot == "" || old.Stamp == "" || !strings.HasSuffix(old.Time, "Z") {
				t.Errorf("versions: %+v", v.Versions)
			}
			c := v.Conflicts[0]
			if c.Path != "" || c.Policy != "lww" || c.Open || c.Why == "" || len(c.Versions) != 2 || !c.Versions[1].Shown {
				t.Errorf("conflict: %+v", c)
			}
		}
	})
}

func TestSiblingsAreOfferedAndAWriteThatHasSeenThemLeavesOne(t *testing.T) {
	inConflict(t, "siblings", func(w *world) {
		one := w.do("GET", aDoc, nil).gives(200).is(`{"from":"us"}`)
		if one.Get(HeaderConflict) != "siblings" || one.Get("Vary") != "Accept" {
			t.Errorf("headers: %v", one.Header)
		}
		w.do("GET", aDoc, nil).with("Accept", MediaSiblings+";q=0, application/json").gives(200)
		var v versionsBody
		all := w.do("GET", aDoc, nil).with("Accept", "application/json;q=0.1, "+MediaSiblings).gives(300).json(&v)
		if all.Get("Content-Type") != MediaSiblings || len(v.Versions) != 2 || v.ETag != all.etag() || all.etag() == one.etag() || !v.Conflicts[0].Open {
			t.Errorf("siblings: %s with %v", all.body, all.Header)
		}
		w.do("GET", aDoc, nil).with("Accept", MediaSiblings).with("If-None-Match", all.etag()).gives(304)
		w.do("PUT", aDoc, `{"from":"both"}`).with("If-Match", all.etag()).gives(200)
		w.settle()
		for _, name := range []string{"eu-west", "us-east"} {
			r := w.on(name, "GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"from":"both"}`)
			if r.Get(HeaderConflict) != "" {
				t.Errorf("still in conflict: %v", r.Header)
			}
		}
	})
}

func TestResolveCoversTheVersionsThatItNames(t *testing.T) {
	inConflict(t, "siblings", func(w *world) {
		var v versionsBody
		etag := w.do("GET", aDoc+"/versions", nil).gives(200).json(&v).etag()
		eu, us := v.Versions[0].Dot, v.Versions[1].Dot
		resolve := func(body string) *call { return w.do("POST", aDoc+"/resolve", body) }
		resolve(`{"value":{"x":1},"versions":["`+eu+`"]}`).with("If-Match", `"other"`).gives(412)
		resolve(`{"value":{"x":1},"versions":["`+eu+`"]}`).with("If-Match", etag).gives(200)
		w.do("GET", aDoc+"/versions", nil).gives(200).json(&v)
		if len(v.Versions) != 2 || v.Versions[0].Dot != us || string(v.Versions[1].Value) != `{"x":1}` {
			t.Fatalf("the version that was not named should stay: %+v", v.Versions)
		}
		resolve(`{"value":{},"versions":["`+eu+`"]}`).gives(409).as(misfit, "")
		resolve(`{"delete":true,"versions":["` + us + `","` + v.Versions[1].Dot + `"]}`).gives(200)
		w.do("GET", aDoc, nil).gives(404)
		w.do("GET", aDoc+"/versions", nil).gives(200).json(&v)
		if v.Exists {
			t.Error("a document that was deleted by a resolve exists")
		}

		for body, k := range map[string]*kind{
			`{"value":{}}`:                                         malformedRequest,
			`{"value":{},"versions":[]}`:                           malformedRequest,
			`{"value":{},"versions":["x"]}`:                        malformedRequest,
			`{"versions":["` + us + `"]}`:                          malformedRequest,
			`{"value":{},"delete":true,"versions":["` + us + `"]}`: malformedRequest,
			`{"value":1,"versions":["` + us + `"]}`:                notObject,
			`{"value":{},"versions":["` + us + `"],"x":1}`:         malformedRequest,
			`{"value":{},"versions":["` + us + `"],"path":"x"}`:    malformedRequest,
			`{`: malformedJSON,
			`1`: notObject,
		} {
			resolve(body).gives(k.status).as(k, "")
		}
		resolve(`{}`).with("Content-Type", "text/plain").gives(415)
	})
}

func TestVersionsOfADocumentThatNeverWas(t *testing.T) {
	alone(t, func(w *world) {
		w.do("GET", aDoc+"/versions", nil).gives(404).as(unknownColl, "")
		w.do("PUT", aDoc, `{}`).gives(201)
		w.do("GET", "/v1/collections/carts/docs/b/versions", nil).gives(404).as(noDocument, "b")
		var v versionsBody
		w.do("GET", aDoc+"/versions", nil).gives(200).json(&v)
		if len(v.Versions) != 1 || !v.Versions[0].Shown || len(v.Conflicts) != 0 {
			t.Errorf("versions of a plain document: %+v", v)
		}
	})
}

// fieldsInConflict makes two regions set one field of a merged document
// concurrently, and another one each.
func fieldsInConflict(t *testing.T, policy string, test func(w *world)) {
	t.Helper()
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.do("PUT", "/v1/collections/carts", `{"policy":"`+policy+`"}`).gives(201)
		w.do("PUT", aDoc, `{"x":{"y":0}}`).gives(201)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		w.on("eu-west", "PUT", aDoc, `{"eu":1,"x":{"y":1}}`).gives(200)
		time.Sleep(time.Millisecond)
		w.on("us-east", "PUT", aDoc, `{"us":1,"x":{"y":2}}`).gives(200)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		test(w)
	})
}

func TestFieldsOfAMergedDocumentAreListedInConflict(t *testing.T) {
	fieldsInConflict(t, "merge", func(w *world) {
		for _, name := range []string{"eu-west", "us-east"} {
			r := w.on(name, "GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"eu":1,"us":1,"x":{"y":2}}`)
			if r.Get(HeaderConflict) != "merge" || r.Get(HeaderConflictCount) != "1" {
				t.Errorf("headers of a conflict: %v", r.Header)
			}
			var v versionsBody
			w.on(name, "GET", aDoc+"/versions", nil).gives(200).json(&v)
			if len(v.Versions) != 2 || v.Versions[0].Value != nil || !v.Versions[0].Shown || !v.Versions[1].Shown || len(v.Conflicts) != 1 {
				t.Fatalf("versions: %+v", v)
			}
			c := v.Conflicts[0]
			if c.Path != "/x/y" || c.Policy != "merge" || len(c.Versions) != 2 ||
				string(c.Versions[0].Value) != "1" || c.Versions[0].Shown || string(c.Versions[1].Value) != "2" || !c.Versions[1].Shown {
				t.Errorf("conflict: %+v", c)
			}
		}
	})
}

func TestSiblingsOfFields(t *testing.T) {
	all := func(w *world) (v versionsBody, etag string) {
		r := w.do("GET", aDoc, nil).with("Accept", MediaSiblings).gives(300).json(&v)
		return v, r.etag()
	}
	t.Run("PUT with the combined ETag leaves one", func(t *testing.T) {
		fieldsInConflict(t, "siblings", func(w *world) {
			_, etag := all(w)
			// The value that is shown anyway: it is the choice all the same.
			w.do("PUT", aDoc, `{"eu":1,"us":1,"x":{"y":2}}`).with("If-Match", etag).gives(200)
			w.settle()
			r := w.on("eu-west", "GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"eu":1,"us":1,"x":{"y":2}}`)
			if r.Get(HeaderConflict) != "" {
				t.Error("the conflict is still there")
			}
		})
	})
	t.Run("resolve at a path", func(t *testing.T) {
		fieldsInConflict(t, "siblings", func(w *world) {
			v, _ := all(w)
			c := v.Conflicts[0]
			w.do("POST", aDoc+"/resolve", `{"path":"/x/y","value":null,"versions":["`+c.Versions[0].Dot+`","`+c.Versions[1].Dot+`"]}`).gives(200)
			w.do("GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"eu":1,"us":1,"x":{"y":null}}`)
		})
	})
	t.Run("resolve the whole document", func(t *testing.T) {
		fieldsInConflict(t, "siblings", func(w *world) {
			v, _ := all(w)
			w.do("POST", aDoc+"/resolve", `{"value":{"x":1},"versions":["`+v.Versions[0].Dot+`","`+v.Versions[1].Dot+`"]}`).gives(200)
			w.do("GET", aDoc, nil).with("Accept", MediaSiblings).gives(200).is(`{"x":1}`)
		})
	})
}
