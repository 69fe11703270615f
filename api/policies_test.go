package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// scriptOf is a policy whose function has this body.
func scriptOf(body string) string {
	return `{"script":` + quoted("function resolve(versions, context) { "+body+" }") + `}`
}

const aSum = `return { from: versions.map(v => v.value.from ?? "?").sort().join("+") }`

func TestAScriptDecidesInAllRegions(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		const carts = "/v1/collections/carts"
		var c struct {
			Hash   string `json:"policy_hash"`
			Policy struct{ Script string }
		}
		w.do("PUT", carts, `{"type":"register","policy":`+scriptOf(aSum)+`}`).gives(200).json(&c)
		if len(c.Hash) != 12 || !strings.Contains(c.Policy.Script, "sort()") {
			t.Errorf("the collection: %+v", c)
		}
		w.do("PUT", carts, w.do("GET", carts, nil).gives(200).body).gives(200) // what GET gave can be put back
		w.settle()
		for _, name := range []string{"eu-west", "us-east"} {
			r := w.on(name, "GET", aDoc, nil).gives(200).is(`{"from":"eu+us"}`)
			if r.Get(HeaderConflict) != "script" {
				t.Errorf("headers: %v", r.Header)
			}
			v := w.on(name, "GET", aDoc+"/versions", nil).gives(200)
			for _, part := range []string{`"policy":"script","hash":"` + c.Hash + `"`, `"shown":{"from":"eu+us"}`, `the script ` + c.Hash + ` made a value of us-east's write`} {
				if !strings.Contains(v.body, part) {
					t.Errorf("versions lack %s: %s", part, v.body)
				}
			}
		}
		// The choice of the script is what a write is based on.
		w.do("PUT", aDoc, `{"from":"both"}`).gives(200)
		w.settle()
		if r := w.on("eu-west", "GET", aDoc, nil).gives(200).is(`{"from":"both"}`); r.Get(HeaderConflict) != "" {
			t.Errorf("still in conflict: %v", r.Header)
		}
	})
}

func TestAScriptThatFailsShowsTheLastWriteAndSaysSo(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		// Nothing like it was among the cases when it was set.
		w.do("DELETE", aDoc, nil).gives(204)
		source := `if (versions.some(v => v.value.from === "us")) throw new Error("not from there"); return versions.reduce((a, b) => a.rank > b.rank ? a : b)`
		w.do("PUT", "/v1/collections/carts", `{"type":"register","policy":`+scriptOf(source)+`}`).gives(200)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		w.on("us-east", "PUT", aDoc, `{"from":"us"}`).gives(201)
		time.Sleep(time.Millisecond)
		w.on("eu-west", "PUT", aDoc, `{"from":"eu"}`).gives(201)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		for _, name := range []string{"eu-west", "us-east"} {
			if r := w.on(name, "GET", aDoc, nil).gives(200).is(`{"from":"eu"}`); r.Get(HeaderConflict) != "script-failed" {
				t.Errorf("headers: %v", r.Header)
			}
			v := w.on(name, "GET", aDoc+"/versions", nil).gives(200)
			for _, part := range []string{`"failed":"exception: Error: not from there (line 1)"`, `so the last write wins: eu-west's write`} {
				if !strings.Contains(v.body, part) {
					t.Errorf("versions lack %s: %s", part, v.body)
				}
			}
		}
		// Now it is.
		r := w.do("PUT", "/v1/collections/carts", `{"type":"register","policy":`+scriptOf(source)+`}`).gives(422)
		r.as(badPolicy, "not from there")
		if f := r.problem().Fault; f == nil || f.Kind != "fails" || f.Case != "document a" || len(f.Versions) != 2 || string(f.Versions[1].Value) != `{"from":"eu"}` {
			t.Errorf("the fault: %+v in %s", f, r.body)
		}
	})
}

func TestRulesOfFieldsDecideEachField(t *testing.T) {
	inWorld(t, []string{"eu-west", "us-east"}, nil, func(w *world) {
		w.do("PUT", "/v1/collections/carts", `{"fields":{"/price":"max","/items/*/note":{"region-priority":["eu-west"]},"/stock":"min","/n":`+
			scriptOf(`return versions.map(v => String(v.value)).sort().join(" or ")`)+`}}`).gives(201)
		w.do("PUT", aDoc, `{"items":[{"note":"-"}],"name":"x","price":1,"stock":9,"n":0}`).gives(201)
		w.settle()
		w.net.Cut("eu-west", "us-east")
		synctest.Wait()
		w.on("eu-west", "PATCH", aDoc, `{"name":"eu","price":12.5,"stock":3,"n":"e"}`).with("Content-Type", MediaMergePatch).gives(200)
		w.on("eu-west", "PATCH", aDoc, `[{"op":"replace","path":"/items/0/note","value":"eu"}]`).with("Content-Type", MediaJSONPatch).gives(200)
		time.Sleep(time.Millisecond)
		w.on("us-east", "PATCH", aDoc, `{"name":"us","price":7,"stock":5,"n":"u"}`).with("Content-Type", MediaMergePatch).gives(200)
		w.on("us-east", "PATCH", aDoc, `[{"op":"replace","path":"/items/0/note","value":"us"}]`).with("Content-Type", MediaJSONPatch).gives(200)
		w.net.Heal("eu-west", "us-east")
		w.settle()
		for _, name := range []string{"eu-west", "us-east"} {
			r := w.on(name, "GET", aDoc, nil).gives(200).is(`{"items":[{"note":"eu"}],"n":"e or u","name":"us","price":12.5,"stock":3}`)
			if r.Get(HeaderConflict) != "merge" || r.Get(HeaderConflictCount) != "5" {
				t.Errorf("headers: %v", r.Header)
			}
			v := w.on(name, "GET", aDoc+"/versions", nil).gives(200)
			for _, part := range []string{`{"path":"/price","policy":"max"`, `{"path":"/items/0/note","policy":"region-priority"`, `{"path":"/name","policy":"merge"`, `{"path":"/n","policy":"script","hash":"`} {
				if !strings.Contains(v.body, part) {
					t.Errorf("versions lack %s: %s", part, v.body)
				}
			}
		}
	})
}

func TestScriptsAreCheckedBeforeTheyAreSet(t *testing.T) {
	alone(t, func(w *world) {
		const carts = "/v1/collections/carts"
		for body, kind := range map[string]string{
			`return versions[0]`: "depends-on-order", `while (true);`: "fails", `throw new Error("no")`: "fails", `return versions[9].value.x`: "fails",
		} {
			r := w.do("PUT", carts, `{"type":"register","policy":`+scriptOf(body)+`}`).gives(422)
			r.as(badPolicy, "generated")
			if f := r.problem().Fault; f == nil || f.Kind != kind || f.Why == "" || len(f.Versions) < 2 {
				t.Errorf("%s: the fault is %+v", body, f)
			}
		}
		w.do("PUT", carts, `{"type":"register","policy":`+scriptOf(`return Date.now()`)+`}`).gives(422).as(invalid, "line 1")
		w.do("PUT", carts, `{"fields":{"/n":`+scriptOf(`return versions[0]`)+`}}`).gives(422).as(badPolicy, `at "/n"`)
		w.do("PUT", carts, `{"type":"register","fields":{"/n":"max"}}`).gives(422).as(invalid, "document")
		w.do("PUT", carts, `{"fields":{"n":"max"}}`).gives(422).as(invalid, "pattern")
		w.do("PUT", carts, `{"fields":{"/n":"merge"}}`).gives(422).as(invalid, "for collections")
		w.do("PUT", carts, `{"policy":{"callback":{"url":"https://example.org"}}}`).gives(422).as(invalid, "secret must have 16 to 256 bytes")
		w.do("GET", carts, nil).gives(404)
	})
}

// checkBody is what POST /v1/policies/check answers.
type checkBody struct {
	OK           bool
	Policy, Hash string
	Cases        struct{ Generated, Recorded int }
	Faults       []Fault
	Documents    *struct {
		Scanned, Conflicted, Changed int
		Truncated                    bool
	}
	Outcomes []struct {
		ID, Path, Policy, Failed, Why string
		Value                         json.RawMessage
		Versions                      []versionBody
		Changes                       bool
	}
}

func TestAPolicyIsCheckedWithoutBeingSet(t *testing.T) {
	const check = "/v1/policies/check"
	inConflict(t, "lww", func(w *world) {
		before := w.do("GET", "/v1/collections/carts", nil).gives(200).body
		for i := range 5 {
			w.do("PUT", fmt.Sprintf("/v1/collections/carts/docs/quiet-%d", i), `{}`).gives(201)
		}
		var c checkBody
		w.do("POST", check, `{"collection":"carts","policy":`+scriptOf(aSum)+`}`).gives(200).json(&c)
		if !c.OK || c.Policy != "script" || len(c.Hash) != 12 || c.Cases.Generated != CheckGenerated || c.Cases.Recorded != 1 || len(c.Faults) != 0 {
			t.Errorf("%+v", c)
		}
		if d := c.Documents; d.Scanned != 6 || d.Conflicted != 1 || d.Changed != 1 || d.Truncated {
			t.Errorf("documents: %+v", d)
		}
		if o := c.Outcomes[0]; o.ID != "a" || string(o.Value) != `{"from":"eu+us"}` || !o.Changes || len(o.Versions) != 2 || o.Why == "" {
			t.Errorf("outcomes: %+v", c.Outcomes)
		}

		c = checkBody{}
		w.do("POST", check, `{"collection":"carts","policy":{"region-priority":["us-east"]}}`).gives(200).json(&c)
		if o := c.Outcomes[0]; !c.OK || c.Documents.Changed != 0 || o.Changes || !o.Versions[1].Shown || o.Value != nil {
			t.Errorf("%+v", c)
		}
		c = checkBody{}
		w.do("POST", check, `{"collection":"carts","policy":`+scriptOf(`return versions[0]`)+`}`).gives(200).json(&c)
		if c.OK || c.Faults[0].Kind != "depends-on-order" || c.Faults[0].Case != "document a" {
			t.Errorf("%+v", c)
		}
		c = checkBody{}
		w.do("POST", check, `{"policy":"lww","fields":{"/a/*":"max"}}`).gives(200).json(&c)
		if !c.OK || c.Documents != nil || c.Cases.Generated != 2*CheckGenerated {
			t.Errorf("%+v", c)
		}
		if after := w.do("GET", "/v1/collections/carts", nil).gives(200).body; after != before {
			t.Errorf("the check changed the collection to %s", after)
		}

		w.do("POST", check, `{"collection":"none","policy":"lww"}`).gives(404).as(unknownColl, "none")
		w.do("POST", check, `{"collection":"carts","type":"document","policy":"lww"}`).gives(409).as(exists, "register")
		w.do("POST", check, `{"collection":"carts"}`).gives(400).as(malformedRequest, "policy")
		w.do("POST", check, `{"colour":"red"}`).gives(400).as(malformedRequest, "colour")
		w.do("POST", check, `{`).gives(400).as(malformedJSON, "")
		w.do("POST", check, `{"policy":"newest"}`).gives(422).as(invalid, "newest")
		w.do("POST", check+"?x=1", `{"policy":"lww"}`).gives(400)
		w.do("POST", check, `{"policy":"lww"}`).with("Content-Type", "text/plain").gives(415)
	})
}

func TestADryRunCountsWhatWouldChange(t *testing.T) {
	const carts = "/v1/collections/carts"
	inConflict(t, "lww", func(w *world) {
		before, digest := w.do("GET", carts, nil).gives(200).body, w.do("GET", aDoc, nil).gives(200).etag()
		var d struct {
			DryRun    bool `json:"dry_run"`
			Exists    bool
			Documents *struct{ Scanned, Conflicted, Changed int }
			Settings  struct{ Policy json.RawMessage }
		}
		for policy, changed := range map[string]int{`{"region-priority":["eu-west"]}`: 1, `{"region-priority":["us-east"]}`: 0, `"siblings"`: 0, scriptOf(aSum): 1} {
			w.do("PUT", carts+"?dry-run=true", `{"type":"register","policy":`+policy+`}`).gives(200).json(&d)
			if !d.DryRun || !d.Exists || d.Documents.Scanned != 1 || d.Documents.Conflicted != 1 || d.Documents.Changed != changed || len(d.Settings.Policy) == 0 {
				t.Errorf("%s: %+v", policy, d)
			}
		}
		w.do("PUT", carts+"?dry-run=1", `{"type":"register","policy":`+scriptOf(`return versions[0]`)+`}`).gives(422).as(badPolicy, "document a")
		w.do("PUT", carts+"?dry-run=1", `{"type":"document"}`).gives(409).as(exists, "register")
		w.do("PUT", carts+"?dry-run=maybe", `{"type":"register"}`).gives(400)
		if w.do("GET", carts, nil).gives(200).body != before || w.do("GET", aDoc, nil).gives(200).etag() != digest {
			t.Error("the dry run was none")
		}
		d.Documents = nil
		w.do("PUT", "/v1/collections/new?dry-run=1", `{}`).gives(200).json(&d)
		if d.Exists || d.Documents != nil {
			t.Errorf("%+v", d)
		}
		w.do("GET", "/v1/collections/new", nil).gives(404)
		w.do("PUT", "/v1/collections/.new?dry-run=1", `{}`).gives(422).as(invalid, "name")
	})
}

// TestI07_SwitchingThePolicyChangesNoState: there and back again, with the same
// heads in all regions, and no change but those of the settings.
func TestI07_SwitchingThePolicyChangesNoState(t *testing.T) {
	inConflict(t, "lww", func(w *world) {
		version := func(name string) string {
			v, _, _ := strings.Cut(w.on(name, "GET", aDoc, nil).gives(200).etag(), ".")
			return v
		}
		held := func(name string) uint64 { return w.regions[name].Have().Sum() }
		before, puts := version("us-east"), uint64(0)
		count := held("us-east")
		for _, policy := range []string{scriptOf(aSum), `{"region-priority":["eu-west"]}`, scriptOf(`return versions.find(v => v.rank === 0)`), `"siblings"`, `"lww"`} {
			w.do("PUT", "/v1/collections/carts", `{"type":"register","policy":`+policy+`}`).gives(200)
			puts++
			w.settle()
			if us, eu := version("us-east"), version("eu-west"); us != before || eu != before {
				t.Errorf("under %s the heads are %s and %s, were %s", policy, us, eu, before)
			}
			if us, eu := w.do("GET", aDoc, nil).gives(200).body, w.on("eu-west", "GET", aDoc, nil).gives(200).body; us != eu {
				t.Errorf("under %s the regions show %s and %s", policy, us, eu)
			}
		}
		if n := held("us-east"); n != count+puts {
			t.Errorf("%d changes were made, %d of them of the settings", n-count, puts)
		}
		w.do("GET", aDoc, nil).gives(200).is(`{"from":"us"}`)
	})
}
