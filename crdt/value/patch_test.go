package value

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestJSONPatch(t *testing.T) {
	for _, tt := range []struct {
		name, target, patch string
		want                string
		err                 error
	}{
		// RFC 6902, appendix A.
		{"A.1", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"baz":"qux","foo":"bar"}`, nil},
		{"A.2", `{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`, nil},
		{"A.3", `{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`, nil},
		{"A.4", `{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`, nil},
		{"A.5", `{"baz":"qux","foo":"bar"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo","foo":"bar"}`, nil},
		{"A.6", `{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`,
			`{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`, nil},
		{"A.7", `{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`, nil},
		{"A.8", `{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`,
			`{"baz":"qux","foo":["a",2,"c"]}`, nil},
		{"A.9", `{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`, ``, ErrPatchTest},
		{"A.10", `{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"child":{"grandchild":{}},"foo":"bar"}`, nil},
		{"A.11", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `{"baz":"qux","foo":"bar"}`, nil},
		{"A.12", `{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`, ``, ErrPatchPath},
		{"A.13", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","op":"remove"}]`, ``, ErrSyntax},
		{"A.14", `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`, `{"/":9,"~1":10}`, nil},
		{"A.15", `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":"10"}]`, ``, ErrPatchTest},
		{"A.16", `{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`, nil},

		{"nothing to do", `{"a":1}`, `[]`, `{"a":1}`, nil},
		{"add replaces a member", `{"a":1}`, `[{"op":"add","path":"/a","value":null}]`, `{"a":null}`, nil},
		{"add replaces the root", `{"a":1}`, `[{"op":"add","path":"","value":[1]}]`, `[1]`, nil},
		{"add at both ends", `[1]`, `[{"op":"add","path":"/0","value":0},{"op":"add","path":"/2","value":2}]`, `[0,1,2]`, nil},
		{"add beyond the end", `[1]`, `[{"op":"add","path":"/2","value":2}]`, ``, ErrPatchPath},
		{"add at a bad index", `[1]`, `[{"op":"add","path":"/00","value":2}]`, ``, ErrPatchPath},
		{"add at a name of a list", `[1]`, `[{"op":"add","path":"/a","value":2}]`, ``, ErrPatchPath},
		{"add into a scalar", `{"a":1}`, `[{"op":"add","path":"/a/b","value":2}]`, ``, ErrPatchPath},
		{"add a name like an index", `{"a":{}}`, `[{"op":"add","path":"/a/0","value":1},{"op":"add","path":"/a/-","value":2}]`, `{"a":{"-":2,"0":1}}`, nil},
		{"add an empty name", `{}`, `[{"op":"add","path":"/","value":1}]`, `{"":1}`, nil},
		{"add deep in a list of lists", `[[1,[2]]]`, `[{"op":"add","path":"/0/1/-","value":3}]`, `[[1,[2,3]]]`, nil},
		{"add a typed value", `{}`, `[{"op":"add","path":"/n","value":{"$counter":5}}]`, `{"n":{"$counter":5}}`, nil},
		{"nothing is in a set", `{"s":{"$set":["a"]}}`, `[{"op":"add","path":"/s/0","value":"b"}]`, ``, ErrPatchPath},
		{"remove what is not there", `{"a":1}`, `[{"op":"remove","path":"/b"}]`, ``, ErrPatchPath},
		{"remove after the last", `[1]`, `[{"op":"remove","path":"/-"}]`, ``, ErrPatchPath},
		{"remove the root", `{"a":1}`, `[{"op":"remove","path":""}]`, ``, ErrPatchPath},
		{"remove a null", `{"a":null}`, `[{"op":"remove","path":"/a"}]`, `{}`, nil},
		{"replace what is not there", `{"a":1}`, `[{"op":"replace","path":"/b","value":1}]`, ``, ErrPatchPath},
		{"replace after the last", `[1]`, `[{"op":"replace","path":"/-","value":1}]`, ``, ErrPatchPath},
		{"replace an element", `[1,2]`, `[{"op":"replace","path":"/1","value":3}]`, `[1,3]`, nil},
		{"replace the root", `{"a":1}`, `[{"op":"replace","path":"","value":2}]`, `2`, nil},
		{"move onto itself", `{"a":1}`, `[{"op":"move","from":"/a","path":"/a"}]`, `{"a":1}`, nil},
		{"move the root onto itself", `{"a":1}`, `[{"op":"move","from":"","path":""}]`, `{"a":1}`, nil},
		{"move nothing onto itself", `{"a":1}`, `[{"op":"move","from":"/b","path":"/b"}]`, ``, ErrPatchPath},
		{"move up", `{"a":{"b":1}}`, `[{"op":"move","from":"/a/b","path":"/a"}]`, `{"a":1}`, nil},
		{"move to the root", `{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":""}]`, `{"b":1}`, nil},
		{"move to the front", `["a","b","c"]`, `[{"op":"move","from":"/2","path":"/0"}]`, `["c","a","b"]`, nil},
		{"move to the end", `["a","b","c"]`, `[{"op":"move","from":"/0","path":"/-"}]`, `["b","c","a"]`, nil},
		{"move beyond the end", `["a","b","c"]`, `[{"op":"move","from":"/0","path":"/3"}]`, ``, ErrPatchPath},
		{"copy into itself", `{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/a/c"}]`, `{"a":{"b":1,"c":{"b":1}}}`, nil},
		{"copies are apart", `{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"},{"op":"add","path":"/c/d","value":2}]`, `{"a":{"b":1},"c":{"b":1,"d":2}}`, nil},
		{"copy from nowhere", `{"a":1}`, `[{"op":"copy","from":"/b","path":"/c"}]`, ``, ErrPatchPath},
		{"added values are apart", `{}`, `[{"op":"add","path":"/a","value":{}},{"op":"add","path":"/a/b","value":1}]`, `{"a":{"b":1}}`, nil},
		{"replacing values are apart", `{"a":1}`, `[{"op":"replace","path":"/a","value":{}},{"op":"add","path":"/a/b","value":1}]`, `{"a":{"b":1}}`, nil},
		{"test numbers by value", `{"a":1,"b":2.0}`, `[{"op":"test","path":"/a","value":1.0},{"op":"test","path":"/b","value":2}]`, `{"a":1,"b":2.0}`, nil},
		{"test as shown", `{"n":{"$counter":5},"t":{"$text":"x"}}`, `[{"op":"test","path":"","value":{"n":5,"t":"x"}}]`, `{"n":{"$counter":5},"t":{"$text":"x"}}`, nil},
		{"test nowhere", `{}`, `[{"op":"test","path":"/a","value":null}]`, ``, ErrPatchPath},
		{"test null", `{"a":null}`, `[{"op":"test","path":"/a","value":null}]`, `{"a":null}`, nil},
		{"all or nothing", `{"a":1}`, `[{"op":"remove","path":"/a"},{"op":"test","path":"/b","value":1}]`, ``, ErrPatchPath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := parse(t, tt.target)
			before := typed(target)
			ops, err := ParseJSONPatch([]byte(tt.patch), DefaultLimits)
			var got any
			if err == nil {
				opsBefore := fmt.Sprintf("%+v", ops)
				got, err = ApplyJSONPatch(target, ops)
				if opsAfter := fmt.Sprintf("%+v", ops); opsAfter != opsBefore {
					t.Errorf("the operations were changed to %s", opsAfter)
				}
			}
			if !errors.Is(err, tt.err) || err == nil && typed(got) != tt.want {
				t.Errorf("got %v, %v, want %s, %v", got, err, tt.want, tt.err)
			}
			if typed(target) != before {
				t.Errorf("the target was changed to %s", typed(target))
			}
		})
	}
}

func TestParseJSONPatch(t *testing.T) {
	ops, err := ParseJSONPatch([]byte(`[{"op":"add","path":"/a~1b/-","value":null},{"op":"remove","path":""},{"op":"copy","from":"/x","path":"/y","value":1}]`), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := []Op{
		{Op: "add", Path: Pointer{"a/b", "-"}, HasValue: true},
		{Op: "remove", Path: Pointer{}},
		{Op: "copy", From: Pointer{"x"}, Path: Pointer{"y"}},
	}
	if fmt.Sprintf("%#v", ops) != fmt.Sprintf("%#v", want) {
		t.Errorf("got %#v, want %#v", ops, want)
	}
}

func TestParseJSONPatchRefuses(t *testing.T) {
	for _, tt := range []struct {
		patch string
		want  error
		says  string
	}{
		{`{}`, ErrPatch, "array"},
		{`null`, ErrPatch, "null"},
		{`{"$set":[]}`, ErrPatch, "a set"},
		{`[1]`, ErrPatch, "operation 0"},
		{`[{"op":"remove","path":""},{"$counter":1}]`, ErrPatch, "operation 1"},
		{`[{}]`, ErrPatch, `"op" is missing`},
		{`[{"op":1,"path":""}]`, ErrPatch, `"op" must be a string`},
		{`[{"op":"add","path":"/a","value":1},{"op":"frob","path":"/a"}]`, ErrPatch, `operation 1 ("frob"): malformed patch: unknown operation`},
		{`[{"op":"Add","path":"/a","value":1}]`, ErrPatch, "unknown"},
		{`[{"op":"inc","path":"/a","value":1}]`, ErrPatch, "unknown"},
		{`[{"op":"add","path":"/a"}]`, ErrPatch, `"value" is missing`},
		{`[{"op":"replace","path":"/a"}]`, ErrPatch, `"value" is missing`},
		{`[{"op":"test","path":"/a"}]`, ErrPatch, `"value" is missing`},
		{`[{"op":"add","value":1}]`, ErrPatch, `"path" is missing`},
		{`[{"op":"remove"}]`, ErrPatch, `"path" is missing`},
		{`[{"op":"remove","path":null}]`, ErrPatch, `"path" must be a string`},
		{`[{"op":"move","path":"/a"}]`, ErrPatch, `"from" is missing`},
		{`[{"op":"copy","path":"/a","from":["x"]}]`, ErrPatch, `"from" must be a string`},
		{`[{"op":"move","from":"/a","path":"/a/b"}]`, ErrPatch, "into itself"},
		{`[{"op":"move","from":"","path":"/a"}]`, ErrPatch, "into itself"},
		{`[{"op":"remove","path":"a"}]`, ErrPointer, `"path"`},
		{`[{"op":"copy","from":"/~","path":"/a"}]`, ErrPointer, `"from"`},
		{`[{"op":"add","path":"/a/$counter","value":1}]`, ErrReserved, "$counter"},
		{`[{"op":"add","path":"/a","value":{"$counter":"x"}}]`, ErrReserved, "/0/value"},
		{`[{"op":"add","path":"/a","value":1e400}]`, ErrNumber, "/0/value"},
		{`[{"op":"add","path":"/a","value":1}`, ErrSyntax, "too early"},
		{`[{"op":"remove","path":"` + strings.Repeat("/a", DefaultMaxDepth+1) + `"}]`, ErrTooDeep, `"path"`},
		{`[{"op":"add","path":"/a","value":` + strings.Repeat("[", DefaultMaxDepth+1) + strings.Repeat("]", DefaultMaxDepth+1) + `}]`, ErrTooDeep, ""},
		{`[` + strings.Repeat(`{"op":"remove","path":""},`, MaxOps) + `{"op":"remove","path":""}]`, ErrTooLarge, "10001 operations"},
	} {
		ops, err := ParseJSONPatch([]byte(tt.patch), DefaultLimits)
		if !errors.Is(err, tt.want) || ops != nil {
			t.Errorf("%s: %v, %v, want %v", clip(tt.patch), ops, err, tt.want)
		} else if !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want it to say %q", clip(tt.patch), err, tt.says)
		}
	}
}

func TestParseJSONPatchAtItsLimits(t *testing.T) {
	deepest := strings.Repeat("[", DefaultMaxDepth) + strings.Repeat("]", DefaultMaxDepth)
	for _, patch := range []string{
		`[{"op":"add","path":"/a","value":` + deepest + `}]`,
		`[{"op":"remove","path":"` + strings.Repeat("/a", DefaultMaxDepth) + `"}]`,
		`[` + strings.Repeat(`{"op":"remove","path":""},`, MaxOps-1) + `{"op":"remove","path":""}]`,
	} {
		if _, err := ParseJSONPatch([]byte(patch), DefaultLimits); err != nil {
			t.Errorf("%s: %v", clip(patch), err)
		}
	}
}

// A patch of a few lines must not double a document thirty times.
func TestJSONPatchCopiesAreBounded(t *testing.T) {
	patch := `[` + strings.Repeat(`{"op":"copy","from":"/a","path":"/a/-"},`, 40) + `{"op":"test","path":"/a","value":0}]`
	ops, err := ParseJSONPatch([]byte(patch), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ApplyJSONPatch(parse(t, `{"a":["0123456789"]}`), ops); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// places lists the pointers to all parts of v.
func places(v any, at Pointer) []Pointer {
	all := []Pointer{at}
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			all = append(all, places(e, append(slices.Clone(at), fmt.Sprint(i)))...)
		}
	case map[string]any:
		for name, m := range v {
			all = append(all, places(m, append(slices.Clone(at), name))...)
		}
	}
	return all
}

func TestJSONPatchLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := anyValue(3).Draw(t, "target")
		before := typed(target)
		all := places(target, nil)
		slices.SortFunc(all, slices.Compare[Pointer])
		at := rapid.SampledFrom(all).Draw(t, "at")
		v := anyValue(2).Draw(t, "value")
		old, ok := Find(target, at)
		if !ok {
			t.Fatalf("%q is not found", at)
		}
		apply := func(ops ...Op) any {
			got, err := ApplyJSONPatch(target, ops)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		replaced := apply(Op{Op: "replace", Path: at, Value: v})
		if got, ok := Find(replaced, at); !ok || !Equal(got, v) {
			t.Fatalf("replace puts %s", typed(got))
		}
		if got := apply(Op{Op: "replace", Path: at, Value: v}, Op{Op: "replace", Path: at, Value: old}); !Equal(got, target) {
			t.Fatalf("replacing back gives %s", typed(got))
		}
		if got := apply(Op{Op: "test", Path: at, Value: Plain(old)}); !Equal(got, target) {
			t.Fatalf("test gives %s", typed(got))
		}
		if len(at) > 0 {
			if got := apply(Op{Op: "remove", Path: at}, Op{Op: "add", Path: at, Value: old}); !Equal(got, target) {
				t.Fatalf("removing and adding gives %s", typed(got))
			}
			moved := apply(Op{Op: "add", Path: Pointer{}, Value: []any{target, nil}},
				Op{Op: "move", From: append(Pointer{"0"}, at...), Path: Pointer{"1"}},
				Op{Op: "move", From: Pointer{"1"}, Path: append(Pointer{"0"}, at...)})
			if !Equal(moved.([]any)[0], target) {
				t.Fatalf("moving back and forth gives %s", typed(moved))
			}
		}
		if typed(target) != before {
			t.Fatal("the target was changed")
		}
	})
}
