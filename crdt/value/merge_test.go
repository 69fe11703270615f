package value

import (
	"testing"

	"pgregory.net/rapid"
)

// RFC 7386, appendix A, and what it leaves open.
func TestApplyMergePatch(t *testing.T) {
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},

		{`{"a":1}`, `{}`, `{"a":1}`},
		{`1`, `{}`, `{}`},
		{`{"a":1}`, `{"a":[null,{"b":null}]}`, `{"a":[null,{"b":null}]}`},
		{`{"n":{"$counter":5}}`, `{"n":{"$counter":1}}`, `{"n":{"$counter":1}}`},
		{`{"n":{"$set":["a"]}}`, `{"n":{"b":1}}`, `{"n":{"b":1}}`},
		{`{"n":{"b":1}}`, `{"n":{"$set":["a"]}}`, `{"n":{"$set":["a"]}}`},
	} {
		target, patch := parse(t, tt.target), parse(t, tt.patch)
		if got := typed(ApplyMergePatch(target, patch)); got != tt.want {
			t.Errorf("%s patched with %s is %s, want %s", tt.target, tt.patch, got, tt.want)
		}
	}
}

func TestMergePatchLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target, patch := anyValue(3).Draw(t, "target"), anyValue(3).Draw(t, "patch")
		targetBefore, patchBefore := typed(target), typed(patch)
		once := ApplyMergePatch(target, patch)
		if twice := ApplyMergePatch(once, patch); !Equal(twice, once) {
			t.Fatalf("twice gives %s, once %s", typed(twice), typed(once))
		}
		if typed(target) != targetBefore || typed(patch) != patchBefore {
			t.Fatal("an argument was changed")
		}
		if err := Check(once, DefaultLimits); err != nil {
			t.Fatal(err)
		}
		_, isObject := target.(map[string]any)
		if same := ApplyMergePatch(target, map[string]any{}); isObject && !Equal(same, target) {
			t.Fatalf("an empty patch gives %s", typed(same))
		}
		members, ok := patch.(map[string]any)
		if !ok {
			if !Equal(once, patch) {
				t.Fatalf("a patch that is no object gives %s", typed(once))
			}
			return
		}
		for name, v := range members {
			got, has := once.(map[string]any)[name]
			if has == (v == nil) {
				t.Fatalf("member %q: %v after patching with %v", name, got, v)
			}
		}
	})
}
