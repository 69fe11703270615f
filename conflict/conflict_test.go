package conflict_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

var noon = time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC)

func replica(i int) crdt.ReplicaID { return crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: byte(i)} }

// version is what the i-th replica, of a region, wrote some milliseconds after noon.
func version(region string, i, millis int) conflict.Version {
	return conflict.Version{Region: region, Version: crdt.Version{
		Dot: crdt.Dot{Replica: replica(i), Seq: 1}, Stamp: crdt.StampAt(noon.Add(time.Duration(millis) * time.Millisecond)),
		Value: int64(millis),
	}}
}

func canonical(vs []conflict.Version) []conflict.Version {
	vs = slices.Clone(vs)
	slices.SortFunc(vs, func(a, b conflict.Version) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
	return vs
}

// drawVersions draws a set of concurrent versions with many ties.
func drawVersions(t *rapid.T, least int) []conflict.Version {
	var vs []conflict.Version
	for i := range rapid.IntRange(least, 8).Draw(t, "versions") {
		v := version("", rapid.IntRange(0, 3).Draw(t, "replica"), rapid.SampledFrom([]int{0, 0, 1, 2, 90_000_000}).Draw(t, "millis"))
		v.Dot.Seq = uint64(i + 1)
		v.Stamp += crdt.Stamp(rapid.IntRange(0, 1).Draw(t, "logical"))
		v.Deleted = rapid.IntRange(0, 5).Draw(t, "deleted") == 0
		v.Region = []string{"us-east", "eu-west", "ap-south", ""}[v.Dot.Replica[15]]
		vs = append(vs, v)
	}
	return canonical(vs)
}

func policies() map[string]conflict.Resolver {
	return map[string]conflict.Resolver{
		"merge":    conflict.Merge(),
		"lww":      conflict.LWW(),
		"siblings": conflict.Siblings(),
		"priority": conflict.RegionPriority("eu-west", "us-east"),
		"unlisted": conflict.RegionPriority("af-south"),
		"script":   script(newestByScript),
		"sum":      script(`function resolve(versions) { return { sum: versions.reduce((s, v) => s + v.millis, 0) } }`),
		"fails":    script(`function resolve(versions) { while (true); }`),
		"fields":   fields(`{"/f": "max", "/*": "min"}`).Over(conflict.Siblings()),
	}
}

func TestI07_PoliciesArePureFunctionsOfTheSetOfVersions(t *testing.T) {
	for name, r := range policies() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				vs := drawVersions(t, 2)
				want := r.Resolve(conflict.Context{Collection: "c", ID: "d", Path: "/f"}, slices.Clone(vs))
				if want.Shown < -1 || want.Shown >= len(vs) || want.Reason == "" || (want.Failed != "") != (name == "fails") {
					t.Fatalf("outcome %+v of %d versions", want, len(vs))
				}
				shuffled := rapid.Permutation(vs).Draw(t, "order")
				before := slices.Clone(shuffled)
				got := r.Resolve(conflict.Context{Collection: "c", ID: "d", Path: "/f"}, shuffled)
				if !slices.EqualFunc(before, shuffled, func(a, b conflict.Version) bool { return a.Dot == b.Dot }) {
					t.Fatal("the policy changed the versions that it was given")
				}
				if got.Shown < 0 || want.Shown < 0 {
					if got.Shown != want.Shown || !value.Equal(got.Value, want.Value) || got.Reason != want.Reason {
						t.Fatalf("in another order: %+v, want %+v", got, want)
					}
					return
				}
				if shuffled[got.Shown].Dot != vs[want.Shown].Dot || got.Reason != want.Reason || got.Open != want.Open {
					t.Fatalf("in another order: shows %v (%+v), want %v (%+v)", shuffled[got.Shown].Dot, got, vs[want.Shown].Dot, want)
				}
			})
		})
	}
}

// TestI05_ShownVersionIsTheOneByTheRule compares the policies with their definitions.
func TestI05_ShownVersionIsTheOneByTheRule(t *testing.T) {
	order := []string{"eu-west", "us-east"}
	rapid.Check(t, func(t *rapid.T) {
		vs := drawVersions(t, 2)
		last := len(vs) - 1 // the greatest in canonical order
		preferred := last
		for _, region := range slices.Backward(order) {
			for i, v := range vs {
				if v.Region == region {
					preferred = i
				}
			}
		}
		for name, want := range map[string]int{
			"merge": last, "lww": last, "siblings": last, "unlisted": last, "priority": preferred, "script": last, "fails": last,
		} {
			if out := policies()[name].Resolve(conflict.Context{}, vs); out.Shown != want || out.Open != (name == "siblings") {
				t.Fatalf("%s shows %+v, want %d", name, out, want)
			}
		}
	})
}

func TestReasonsInWords(t *testing.T) {
	us, eu, ap := version("us-east", 1, 80), version("eu-west", 2, 120), version("ap-south", 3, 150)
	tie := version("us-east", 1, 120)
	logical := tie
	logical.Stamp += 3
	yesterday := version("us-east", 1, -86_400_000)
	deleted := ap
	deleted.Deleted = true
	stranger := version("", 5, 10)
	again := version("eu-west", 2, 200)
	again.Dot.Seq = 2
	same := eu
	same.Dot.Seq = 2

	priority := conflict.RegionPriority("eu-west", "us-east")
	for _, c := range []struct {
		policy   conflict.Resolver
		versions []conflict.Version
		want     string
	}{
		{conflict.LWW(), []conflict.Version{us, eu},
			"eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other"},
		{conflict.Merge(), []conflict.Version{us, eu, ap},
			"ap-south's write at 12:00:03.150 is the newest of 3, before eu-west's at 12:00:03.120; none had seen another"},
		{conflict.LWW(), []conflict.Version{us, deleted},
			"ap-south's deletion at 12:00:03.150 is newer than us-east's write at 12:00:03.080; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{tie, eu},
			"eu-west's write at 12:00:03.120 and us-east's at 12:00:03.120 carry the same time, and the greater replica id decides; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{same, eu},
			"eu-west's write at 12:00:03.120 and eu-west's at 12:00:03.120 carry the same time, and the later one is shown; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{logical, eu},
			"us-east's write at 12:00:03.120+3 is newer than eu-west's at 12:00:03.120+0; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{yesterday, eu},
			"eu-west's write at 2026-03-01 12:00:03.120 is newer than us-east's at 2026-02-28 12:00:03.000; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{stranger, eu},
			"eu-west's write at 12:00:03.120 is newer than replica 01000000-0000-7000-8000-000000000005's at 12:00:03.010; neither had seen the other"},
		{conflict.Siblings(), []conflict.Version{us, eu},
			"this collection leaves the choice to its clients: 2 versions are offered, and the newest, eu-west's write at 12:00:03.120, stands in until one is written that covers them"},
		{priority, []conflict.Version{logical, eu},
			"eu-west comes before us-east in this collection's order of regions, so eu-west's write at 12:00:03.120+0 is shown and not us-east's at 12:00:03.120+3; neither had seen the other"},
		{priority, []conflict.Version{us, ap},
			"us-east is in this collection's order of regions and ap-south is not, so us-east's write at 12:00:03.080 is shown and not ap-south's at 12:00:03.150; neither had seen the other"},
		{priority, []conflict.Version{us, eu, again},
			"eu-west comes first among the regions that have a version; eu-west's write at 12:00:03.200 is the newest of 3, before eu-west's at 12:00:03.120; none had seen another"},
		{conflict.RegionPriority("af-south"), []conflict.Version{us, eu},
			"none of the regions that this collection prefers (af-south) has a version; eu-west's write at 12:00:03.120 is newer than us-east's at 12:00:03.080; neither had seen the other"},
		{conflict.LWW(), []conflict.Version{us},
			"us-east's write at 12:00:03.080 is the only version"},
	} {
		if got := c.policy.Resolve(conflict.Context{}, canonical(c.versions)).Reason; got != c.want {
			t.Errorf("reason:\n%s\nwant:\n%s", got, c.want)
		}
	}
}

// asked is a policy that tells what it was asked.
type asked func(conflict.Context, []conflict.Version) crdt.Outcome

func (f asked) Resolve(c conflict.Context, vs []conflict.Version) crdt.Outcome { return f(c, vs) }
func (asked) Spec() any                                                        { return "asked" }

func TestViewTellsThePolicyWhereAndWho(t *testing.T) {
	regions := map[crdt.ReplicaID]string{replica(1): "us-east"}
	f := conflict.View(asked(func(c conflict.Context, vs []conflict.Version) crdt.Outcome {
		if (c != conflict.Context{Collection: "carts", ID: "7", Path: "/price"}) {
			t.Errorf("context %+v", c)
		}
		if len(vs) != 2 || vs[0].Region != "us-east" || vs[1].Region != "" {
			t.Errorf("versions %+v", vs)
		}
		return crdt.Outcome{Shown: 1, Reason: "said so"}
	}), conflict.Context{Collection: "carts", ID: "7"}, func(r crdt.ReplicaID) string { return regions[r] })
	c := crdt.Conflict{Path: "/price", Versions: []crdt.Version{version("", 1, 0).Version, version("", 2, 1).Version}}
	if out := f(c); out.Shown != 1 || out.Reason != "said so" {
		t.Errorf("outcome %+v", out)
	}
	conflict.View(conflict.LWW(), conflict.Context{}, nil)(c) // without names
}

func TestPoliciesComeBackFromTheirSettings(t *testing.T) {
	for in, want := range map[string]string{
		`"merge"`:    `"merge"`,
		`"lww"`:      `"lww"`,
		`"siblings"`: `"siblings"`,
		`{"script":"function resolve(versions, context) {\n\treturn versions[0]\n}"}`: `{"script":"function resolve(versions, context) {\n\treturn versions[0]\n}"}`,
		`{ "region-priority" : [ "eu-west", "us-east" ] }`:                            `{"region-priority":["eu-west","us-east"]}`,
	} {
		r, err := conflict.Parse([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		out, err := conflict.Marshal(r)
		if err != nil || string(out) != want {
			t.Errorf("%s comes back as %s, error %v", in, out, err)
		}
	}
}

func TestBadPoliciesAreRefusedWithWhatThereIs(t *testing.T) {
	many, _ := json.Marshal(map[string]any{"region-priority": make([]string, conflict.MaxPriorityRegions+1)})
	for in, want := range map[string]error{
		``:                                    conflict.ErrBadPolicy,
		`null`:                                conflict.ErrBadPolicy,
		`7`:                                   conflict.ErrBadPolicy,
		`{}`:                                  conflict.ErrBadPolicy,
		`"newest"`:                            conflict.ErrBadPolicy,
		`"region-priority"`:                   conflict.ErrBadPolicy,
		`{"lww":true}`:                        conflict.ErrBadPolicy,
		`{"region-priority":"eu-west"}`:       conflict.ErrBadPolicy,
		`{"region-priority":[]}`:              conflict.ErrBadPolicy,
		`{"region-priority":[""]}`:            conflict.ErrBadPolicy,
		`{"region-priority":[1]}`:             conflict.ErrBadPolicy,
		`{"region-priority":["a","b","a"]}`:   conflict.ErrBadPolicy,
		`{"region-priority":["a"],"lww":{}}`:  conflict.ErrBadPolicy,
		string(many):                          conflict.ErrBadPolicy,
		`"` + strings.Repeat("x", 1000) + `"`: conflict.ErrBadPolicy,
		`{"script":7}`:                        conflict.ErrBadPolicy,
		`{"script":""}`:                       conflict.ErrBadPolicy,
		`{"script":"function resolve(versions) { return Date.now() }"}`: conflict.ErrBadPolicy,
		`"script"`: conflict.ErrBadPolicy,
		`{"callback":{"url":"https://example.org","timeout":"2s"}}`: conflict.ErrBadPolicy,
		`"callback"`: conflict.ErrBadPolicy,
	} {
		_, err := conflict.Parse([]byte(in))
		if !errors.Is(err, want) || len(err.Error()) > 500 {
			t.Errorf("%.60s: error %v, want %v", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`"lww"`))
	f.Add([]byte(`{"region-priority":["eu-west","us-east"]}`))
	f.Add([]byte(`{"script":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := conflict.Parse(b)
		if err != nil {
			if !errors.Is(err, conflict.ErrBadPolicy) {
				t.Fatalf("error %v", err)
			}
			return
		}
		out, err := conflict.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := conflict.Parse(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if b, _ := conflict.Marshal(again); string(b) != string(out) {
			t.Fatalf("%s comes back as %s", out, b)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	vs := canonical([]conflict.Version{version("us-east", 1, 80), version("eu-west", 2, 120)})
	for name, r := range policies() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Resolve(conflict.Context{}, vs)
			}
		})
	}
}
