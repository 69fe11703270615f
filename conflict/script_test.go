package conflict_test

import (
	"strings"
	"testing"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

const newestByScript = `function resolve(versions) { return versions.reduce((a, b) => b.rank > a.rank ? b : a) }`

func script(source string) conflict.Resolver {
	p, err := conflict.Script(source)
	if err != nil {
		panic(err)
	}
	return p
}

// versionOf is a version with a value.
func versionOf(region string, i, millis int, v any) conflict.Version {
	out := version(region, i, millis)
	out.Value = v
	return out
}

func body(statements string) string {
	return "function resolve(versions, context) { " + statements + " }"
}

func TestWhatAScriptReturnsIsShown(t *testing.T) {
	us := versionOf("us-east", 1, 80, map[string]any{"n": int64(1)})
	eu := versionOf("eu-west", 2, 120, map[string]any{"n": 1.0, "c": value.Counter(2)})
	ap := versionOf("ap-south", 3, 100, map[string]any{"n": int64(1)})
	for source, want := range map[string]struct {
		shown int
		value any
	}{
		`return versions.find(v => v.region === "us-east")`:       {shown: 0},
		`return versions.find(v => v.region === "eu-west").value`: {shown: 2},
		`return { ...versions[2].value }`:                         {shown: 2}, // the same JSON: the version, types and all
		`return { n: 1 }`:                                         {shown: 1}, // of several versions the newest
		`return { n: 2 }`:                                         {-1, map[string]any{"n": int64(2)}},
		`return { id: context.collection + context.id }`:          {-1, map[string]any{"id": "cartsx"}},
		`return { ranks: versions.map(v => v.rank) }`:             {-1, map[string]any{"ranks": []any{int64(0), int64(1), int64(2)}}},
		`const v = versions[2]; return { v: [v.stamp, v.time, v.millis, v.logical, v.dot, v.replica, v.deleted] }`: {-1, map[string]any{"v": []any{
			"2026-03-01T12:00:03.120Z", "2026-03-01T12:00:03.120Z", int64(1772366403120), int64(0),
			"1@01000000-0000-7000-8000-000000000002", "01000000-0000-7000-8000-000000000002", false}}},
	} {
		out := script(body(source)).Resolve(conflict.Context{Collection: "carts", ID: "x"}, canonical([]conflict.Version{us, eu, ap}))
		if out.Failed != "" || out.Shown != want.shown || want.shown < 0 && !value.Equal(out.Value, want.value) {
			t.Errorf("%s: %+v, want %+v", source, out, want)
		}
	}
}

func TestScriptsExplainThemselves(t *testing.T) {
	us := versionOf("us-east", 1, 80, map[string]any{"n": int64(1)})
	eu := versionOf("eu-west", 2, 120, map[string]any{"n": int64(2)})
	ap := versionOf("ap-south", 3, 100, map[string]any{"n": int64(3)})
	var many []conflict.Version
	for i := range 8 {
		many = append(many, versionOf("us-east", i+1, i, map[string]any{"n": int64(i)}))
	}
	whole := conflict.Context{Collection: "carts", ID: "x"}
	for _, c := range []struct {
		source   string
		ctx      conflict.Context
		versions []conflict.Version
		want     string
	}{
		{body(`return versions[0]`), whole, []conflict.Version{us, eu},
			"the script 3bad1e17cf0b chose us-east's write at 12:00:03.080 and not eu-west's at 12:00:03.120; neither had seen the other"},
		{body(`return versions[0]`), whole, []conflict.Version{us, eu, ap},
			"the script 3bad1e17cf0b chose us-east's write at 12:00:03.080 of 3 versions; none had seen another"},
		{body(`return { n: 9 }`), whole, []conflict.Version{us, eu, ap},
			"the script HASH made a value of eu-west's write at 12:00:03.120, ap-south's write at 12:00:03.100 and us-east's write at 12:00:03.080; none had seen another"},
		{body(`return { n: 9 }`), whole, many,
			"the script HASH made a value of us-east's write at 12:00:03.007, us-east's write at 12:00:03.006, us-east's write at 12:00:03.005, us-east's write at 12:00:03.004, us-east's write at 12:00:03.003 and 3 more; none had seen another"},
		{body(`throw new Error("out of stock")`), whole, []conflict.Version{us, eu},
			"the script HASH failed (exception: Error: out of stock (line 1)), so the last write wins: eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other"},
		{body(`while (true);`), whole, []conflict.Version{us, eu},
			"the script HASH failed (over a limit: it takes more than 200000 steps), so the last write wins: eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other"},
		{body(`return 7`), whole, []conflict.Version{us, eu},
			"the script HASH failed (bad result: a document is a JSON object), so the last write wins: eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other"},
		{body(`return 7`), conflict.Context{Path: "/n"}, []conflict.Version{us, eu},
			"the script HASH made a value of eu-west's write at 12:00:03.120 and us-east's write at 12:00:03.080; neither had seen the other"},
	} {
		p := script(c.source)
		out := p.Resolve(c.ctx, canonical(c.versions))
		want := strings.Replace(c.want, "HASH", conflict.Hash(p), 1)
		if out.Reason != want {
			t.Errorf("%s says\n%s\nwant\n%s", c.source, out.Reason, want)
		}
		if failed := strings.Contains(want, "failed"); failed != (out.Failed != "") || failed && out.Shown != len(c.versions)-1 {
			t.Errorf("%s: %+v", c.source, out)
		}
	}
}

// TestI07_FailingScriptsShowTheLastWrite: never a third value.
func TestI07_FailingScriptsShowTheLastWrite(t *testing.T) {
	vs := canonical([]conflict.Version{version("us-east", 1, 80), version("eu-west", 2, 120), version("ap-south", 3, 10)})
	want := conflict.LWW().Resolve(conflict.Context{}, vs)
	for _, source := range []string{`while (true);`, `throw 1`, `let s = "x"; for (;;) s += s`, `return NaN`, `return resolve()`, ``, `versions[0].value = 1`} {
		out := script(body(source)).Resolve(conflict.Context{Path: "/f"}, vs)
		if out.Shown != want.Shown || out.Failed == "" || out.Open || out.Value != nil || !strings.Contains(out.Reason, want.Reason) {
			t.Errorf("%s: %+v", source, out)
		}
	}
}

func TestHashNamesTheScript(t *testing.T) {
	a, b := script(body(`return versions[0]`)), script(body(`return versions[1]`))
	if conflict.Hash(a) == conflict.Hash(b) || len(conflict.Hash(a)) != 12 || conflict.Hash(conflict.LWW()) != "" {
		t.Errorf("hashes %q and %q", conflict.Hash(a), conflict.Hash(b))
	}
	if conflict.Name(a) != "script" || conflict.Name(conflict.LWW()) != "lww" || conflict.Name(conflict.RegionPriority("a")) != "region-priority" {
		t.Error("names")
	}
}

func TestNumbersAreComparedByTheirWorth(t *testing.T) {
	greatest, least := fields(`{"/*":"max"}`), fields(`{"/*":"min"}`)
	for _, c := range []struct {
		a, b any // a is older
		max  int
	}{
		{int64(1), int64(2), 1},
		{int64(2), int64(1), 0},
		{int64(5), 1.5, 0},
		{1.5, int64(5), 1},
		{int64(1), 1.0, 1}, // equal: the newer, of both
		{1.0, int64(1), 1},
		{int64(1<<62 + 1), float64(1 << 62), 0},
		{float64(1 << 63), int64(1<<63 - 1), 0},
		{-1e300, int64(-1 << 63), 1},
		{-0.5, int64(0), 1},
		{int64(-1), -1.5, 0},
		{value.Counter(3), int64(2), 0},
	} {
		vs := []conflict.Version{versionOf("us-east", 1, 80, c.a), versionOf("eu-west", 2, 120, c.b)}
		ctx := conflict.Context{Path: "/n"}
		if out := greatest.Over(conflict.LWW()).Resolve(ctx, vs); out.Shown != c.max {
			t.Errorf("max of %v and %v: %+v", c.a, c.b, out)
		}
		least := least.Over(conflict.LWW()).Resolve(ctx, vs)
		if equal := strings.Contains(least.Reason, "same number"); equal && least.Shown != 1 || !equal && least.Shown != 1-c.max {
			t.Errorf("min of %v and %v: %+v", c.a, c.b, least)
		}
	}
}

func fields(spec string) *conflict.Fields {
	f, err := conflict.ParseFields([]byte(spec))
	if err != nil {
		panic(err)
	}
	return f
}

func TestTheMostSpecificRuleOfAFieldCounts(t *testing.T) {
	p := fields(`{"/price":"max","/*":"min","/items/*/n":"lww","/items/0/n":{"region-priority":["us-east"]},"/*/0/n":"max","/a~1b":"max","/*/*/*":"min"}`).Over(conflict.Siblings())
	for path, want := range map[string]string{
		"/price": "max", "/stock": "min", "/items/7/n": "lww", "/items/0/n": "region-priority", "/other/0/n": "max", "/a~1b": "max",
		"/other/1/n": "min", "/a/b": "siblings", "": "siblings", "/price/x": "siblings", "/x/y/z/w": "siblings",
	} {
		if got := conflict.Name(conflict.At(p, path)); got != want {
			t.Errorf("%q is decided by %s, want %s", path, got, want)
		}
	}
	if conflict.Name(p) != "siblings" || conflict.Name(conflict.At(conflict.LWW(), "/x")) != "lww" {
		t.Error("names")
	}
	var none *conflict.Fields
	if none.Over(conflict.LWW()) != conflict.LWW() || none.Spec() != nil || none.Patterns() != nil {
		t.Error("no rules are no rules")
	}
}

func TestRulesOfFieldsExplainThemselves(t *testing.T) {
	us, eu, ap := versionOf("us-east", 1, 80, int64(12)), versionOf("eu-west", 2, 120, int64(10)), versionOf("ap-south", 3, 100, 12.0)
	text := versionOf("eu-west", 2, 120, "ten")
	for _, c := range []struct {
		rule, want string
		versions   []conflict.Version
	}{
		{"max", "the rule for /price is max: us-east's 12 at 12:00:03.080 is greater than eu-west's 10 at 12:00:03.120; neither had seen the other", []conflict.Version{us, eu}},
		{"min", "the rule for /price is min: eu-west's 10 at 12:00:03.120 is less than us-east's 12 at 12:00:03.080; neither had seen the other", []conflict.Version{us, eu}},
		{"max", "the rule for /price is max: ap-south's 12.0 at 12:00:03.100 and us-east's 12 at 12:00:03.080 are the same number, and the newer is shown; none had seen another", []conflict.Version{us, eu, ap}},
		{"min", "the rule for /price is min: eu-west's 10 at 12:00:03.120 is the least of 3, before us-east's 12 at 12:00:03.080; none had seen another", []conflict.Version{us, eu, versionOf("ap-south", 3, 10, 13.5)}},
		{"max", "the rule for /price is max: max compares numbers, and eu-west's write at 12:00:03.120 is none, so the last write wins: eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other", []conflict.Version{us, text}},
		{"lww", "the rule for /price is lww: eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other", []conflict.Version{us, eu}},
	} {
		p := fields(`{"/price":"` + c.rule + `"}`).Over(conflict.Merge())
		if got := p.Resolve(conflict.Context{Path: "/price"}, canonical(c.versions)).Reason; got != c.want {
			t.Errorf("%s says\n%s\nwant\n%s", c.rule, got, c.want)
		}
	}
}

func TestRulesOfFieldsComeBackFromTheirSettings(t *testing.T) {
	const spec = `{"/a/*/b":"min","/price":"max","/s":{"script":"function resolve(v) { return v[0] }"},"/x":{"region-priority":["eu-west"]},"/y":"lww"}`
	f := fields(spec)
	if got := string(value.Append(nil, f.Spec(), value.Options{})); got != spec {
		t.Errorf("they come back as %s", got)
	}
	if got := strings.Join(f.Patterns(), " "); got != "/price /s /x /y /a/*/b" {
		t.Errorf("the order is %s", got)
	}
	for spec, says := range map[string]string{
		`[]`: "object", `{"price":"max"}`: "pattern", `{"":"max"}`: "pattern", `{"/a~":"max"}`: "pattern",
		`{"/a":"merge"}`: "for collections", `{"/a":"siblings"}`: "for collections", `{"/a":"greatest"}`: "greatest", `{"/a":7}`: "string",
		`{"/a":{"script":"x"}}`: "resolve", `{"/a":{"callback":{}}}`: "is for collections", `{"/` + strings.Repeat("a", 600) + `":"max"}`: "at most",
		`{"/a":"max","/a":"max"}`: "",
	} {
		_, err := conflict.ParseFields([]byte(spec))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: error %v, want %q", spec, err, says)
		}
	}
	many := make([]string, conflict.MaxFieldRules+1)
	for i := range many {
		many[i] = `"/` + strings.Repeat("a", i+1) + `":"max"`
	}
	if _, err := conflict.ParseFields([]byte("{" + strings.Join(many, ",") + "}")); err == nil {
		t.Error("too many rules are taken")
	}
}

func check(t *testing.T, r conflict.Resolver, whole bool) *conflict.Report {
	t.Helper()
	var cases []conflict.Case
	for _, path := range conflict.CheckedPaths(r, whole) {
		cases = append(cases, conflict.Generate(conflict.Context{Collection: "c", ID: "d", Path: path}, 40)...)
	}
	return conflict.Check(r, cases)
}

func TestPoliciesPassTheirCheck(t *testing.T) {
	for name, r := range map[string]conflict.Resolver{
		"lww": conflict.LWW(), "siblings": conflict.Siblings(), "priority": conflict.RegionPriority("eu-west"),
		"fields": fields(`{"/price":"max","/items/*/n":"min"}`).Over(conflict.Merge()),
		"script": script(newestByScript),
	} {
		for _, whole := range []bool{true, false} {
			if report := check(t, r, whole); !report.OK() || len(report.Tried) < 40 {
				t.Errorf("%s: %+v", name, report.Faults)
			}
		}
	}
}

func TestI07_FaultyScriptsAreFoundOut(t *testing.T) {
	for source, want := range map[string]string{
		`return versions[0]`: conflict.FaultOrder,
		`return { n: versions.map(v => v.region).join() }`:                          conflict.FaultOrder,
		`return { n: versions.reduce((a, b) => a - b.rank, 0) / versions[0].rank }`: conflict.FaultFails,
		`throw new Error("no")`: conflict.FaultFails,
		`while (true);`:         conflict.FaultFails,
		`return { n: versions.reduce((n, v) => n + v.value.items.length, 0) }`: conflict.FaultFails, // not all have items
		`return versions.find(v => v.region === "mars")`:                       conflict.FaultFails, // not all are from there
		`return "text"`: conflict.FaultFails,
	} {
		report := check(t, script(body(source)), true)
		if report.OK() || report.Faults[0].Kind != want || report.Faults[0].Why == "" || len(report.Faults[0].Case.Versions) < 2 || len(report.Faults) > conflict.MaxFaults {
			t.Errorf("%s: %+v", source, report.Faults)
		}
	}
	inAField := fields(`{"/a/0":"max","/a/*":{"script":"function resolve(versions) { return versions[0] }"}}`).Over(conflict.Merge())
	if report := check(t, inAField, false); report.OK() || report.Faults[0].Case.Context.Path != "/a/1" {
		t.Errorf("in a field: %+v", report.Faults)
	}
}

// fickle is a policy that counts how often it is asked.
type fickle struct{ asked *int }

func (f fickle) Spec() any { return "fickle" }
func (f fickle) Resolve(_ conflict.Context, vs []conflict.Version) crdt.Outcome {
	*f.asked++
	return crdt.Outcome{Shown: *f.asked % len(vs), Reason: "by chance"}
}

func TestI07_FicklePoliciesAreFoundOut(t *testing.T) {
	report := check(t, fickle{new(int)}, true)
	if report.OK() || report.Faults[0].Kind != conflict.FaultRandom {
		t.Errorf("%+v", report.Faults)
	}
}

func TestGeneratedConflictsAreTheSameEachTime(t *testing.T) {
	for _, path := range []string{"", "/f"} {
		a, b := conflict.Generate(conflict.Context{Path: path}, 30), conflict.Generate(conflict.Context{Path: path}, 30)
		for i := range a {
			for k := range a[i].Versions {
				v, w := a[i].Versions[k], b[i].Versions[k]
				if !value.Equal(v.Value, w.Value) || v.Dot != w.Dot || v.Stamp != w.Stamp || v.Region != w.Region {
					t.Fatalf("case %d differs", i)
				}
				if err := value.Check(v.Value, value.Limits{}); err != nil {
					t.Fatal(err)
				}
				if _, ok := v.Value.(map[string]any); path == "" && !ok {
					t.Fatalf("a whole document is %v", v.Value)
				}
			}
		}
	}
}
