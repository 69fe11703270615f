package value

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
)

// fuzzLimits keep one run of a fuzz target short.
var fuzzLimits = Limits{MaxBytes: 1 << 14, MaxDepth: 16, MaxItems: 1 << 10}

// FuzzParse: whatever is accepted is JSON, is a value, and comes back from its
// canonical form.
func FuzzParse(f *testing.F) {
	f.Add([]byte(order))
	for _, in := range ascending {
		f.Add([]byte(in))
	}
	for _, in := range []string{`-0`, `1e400`, `0.1000000000000000055`, `{"$counter":"x"}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, `{"$set":[1,1.0,1]}`, `[1,]`, ``} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := Parse(in, fuzzLimits)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(in)) || len(err.Error()) > 1000 {
				t.Fatalf("bad error %#v", err)
			}
			return
		}
		if !json.Valid(in) {
			t.Fatal("this is not JSON")
		}
		if err := Check(v, Limits{MaxBytes: 4 * fuzzLimits.MaxBytes, MaxDepth: fuzzLimits.MaxDepth, MaxItems: fuzzLimits.MaxItems}); err != nil {
			t.Fatal(err)
		}
		out := Append(nil, v, Options{Types: true})
		if !json.Valid(out) || len(out) != Size(v) {
			t.Fatalf("written as %s, of size %d", out, Size(v))
		}
		back, err := Parse(out, Limits{MaxBytes: len(out)})
		if err != nil || !Equal(back, v) {
			t.Fatalf("%s comes back as %v, %v", out, back, err)
		}
		if again := Append(nil, back, Options{Types: true}); !bytes.Equal(again, out) {
			t.Fatalf("written as %s, then as %s", out, again)
		}
		shown := Append(nil, v, Options{})
		if p, err := Parse(shown, Limits{MaxBytes: len(shown)}); err != nil || !Equal(p, Plain(v)) {
			t.Fatalf("%s is not plain: %v", shown, err)
		}
		if b, rest, err := DecodeBinary(AppendBinary(nil, v), fuzzLimits); err != nil || len(rest) > 0 || !Equal(b, v) {
			t.Fatalf("the binary form gives %v, %x, %v", b, rest, err)
		}
	})
}

// FuzzDecodeBinary: whatever is accepted is a value, and these are its bytes.
func FuzzDecodeBinary(f *testing.F) {
	for _, tt := range binaryForms {
		b, err := hex.DecodeString(tt.hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(AppendBinary(nil, parse(f, order)))
	f.Fuzz(func(t *testing.T, in []byte) {
		v, rest, err := DecodeBinary(in, fuzzLimits)
		if err != nil {
			if !errors.Is(err, ErrBinary) && !errors.Is(err, ErrTooDeep) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		used := in[:len(in)-len(rest)]
		if again := AppendBinary(nil, v); !bytes.Equal(again, used) {
			t.Fatalf("%x was decoded, its value encodes as %x", used, again)
		}
		if err := Check(v, Limits{MaxBytes: 16 * len(in), MaxDepth: fuzzLimits.MaxDepth, MaxItems: fuzzLimits.MaxItems}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzJSONPatch: patches of both formats never panic, never change the target,
// and give a value or an error.
func FuzzJSONPatch(f *testing.F) {
	for _, patch := range []string{
		`[{"op":"add","path":"/a/-","value":[1]},{"op":"remove","path":"/b"}]`,
		`[{"op":"move","from":"/a/0","path":"/b"},{"op":"copy","from":"/b","path":"/a/0"}]`,
		`[{"op":"test","path":"/a","value":[1,{"c":2}]},{"op":"replace","path":"/a/1/c","value":{"$counter":5}}]`,
		`[{"op":"add","path":"","value":{"$set":["b","a"]}}]`,
		`[{"op":"inc","path":"/n","value":1,"min":0},{"op":"add","path":"/s","value":"x"}]`,
		`[{"op":"insert","path":"/a/2","value":{}},{"op":"delete","path":"/a/2"},{"op":"move","from":"/a/2","path":"/a/0"}]`,
		`[{"op":"splice","path":"/t","index":4,"delete":3,"insert":"new"},{"op":"set","path":"/a/b","value":1},{"op":"unset","path":"/a/b"}]`,
	} {
		f.Add([]byte(`{"a":[1,{"c":2}],"b":"x","n":{"$counter":1}}`), []byte(patch))
	}
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		target, err := Parse(doc, fuzzLimits)
		if err != nil {
			return
		}
		before := typed(target)
		if merge, err := Parse(patch, fuzzLimits); err == nil {
			mustBeValue(t, ApplyMergePatch(target, merge))
		}
		if ops, err := ParseJSONPatch(patch, fuzzLimits); err == nil {
			if result, err := ApplyJSONPatch(target, ops); err == nil {
				mustBeValue(t, result)
			}
		}
		if ops, err := ParseOps(patch, fuzzLimits); err == nil && len(ops) > MaxOps {
			t.Fatalf("%d operations", len(ops))
		}
		if typed(target) != before {
			t.Fatal("the target was changed")
		}
	})
}

func mustBeValue(t *testing.T, v any) {
	t.Helper()
	if err := Check(v, DefaultLimits); err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrTooDeep) {
		t.Fatal(err)
	}
}
