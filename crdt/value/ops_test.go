package value

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseOps(t *testing.T) {
	zero, ten := int64(0), int64(10)
	for _, tt := range []struct {
		patch string
		want  Op
	}{
		{`{"op":"inc","path":"/likes","value":1}`, Op{Op: "inc", Path: Pointer{"likes"}, Value: int64(1), HasValue: true}},
		{`{"op":"inc","path":"/likes","value":-5,"min":0,"max":10}`, Op{Op: "inc", Path: Pointer{"likes"}, Value: int64(-5), HasValue: true, Min: &zero, Max: &ten}},
		{`{"op":"inc","path":"/likes","value":0,"min":10,"max":10}`, Op{Op: "inc", Path: Pointer{"likes"}, Value: int64(0), HasValue: true, Min: &ten, Max: &ten}},
		{`{"op":"add","path":"/tags","value":"red"}`, Op{Op: "add", Path: Pointer{"tags"}, Value: "red", HasValue: true}},
		{`{"op":"remove","path":"/tags","value":null}`, Op{Op: "remove", Path: Pointer{"tags"}, HasValue: true}},
		{`{"op":"insert","path":"/items/2","value":{"$counter":1}}`, Op{Op: "insert", Path: Pointer{"items", "2"}, Value: Counter(1), HasValue: true}},
		{`{"op":"insert","path":"/items/-","value":[]}`, Op{Op: "insert", Path: Pointer{"items", "-"}, Value: []any{}, HasValue: true}},
		{`{"op":"delete","path":"/items/0"}`, Op{Op: "delete", Path: Pointer{"items", "0"}}},
		{`{"op":"move","from":"/items/2","path":"/items/0"}`, Op{Op: "move", From: Pointer{"items", "2"}, Path: Pointer{"items", "0"}}},
		{`{"op":"move","from":"/a/0/b/2","path":"/a/0/b/-"}`, Op{Op: "move", From: Pointer{"a", "0", "b", "2"}, Path: Pointer{"a", "0", "b", "-"}}},
		{`{"op":"splice","path":"/text","index":4,"delete":3,"insert":"new"}`, Op{Op: "splice", Path: Pointer{"text"}, Index: 4, Delete: 3, Insert: "new"}},
		{`{"op":"splice","path":"/text","index":0}`, Op{Op: "splice", Path: Pointer{"text"}}},
		{`{"op":"set","path":"/a/b","value":1}`, Op{Op: "set", Path: Pointer{"a", "b"}, Value: int64(1), HasValue: true}},
		{`{"op":"set","path":"","value":{"a":1}}`, Op{Op: "set", Path: Pointer{}, Value: map[string]any{"a": int64(1)}, HasValue: true}},
		{`{"op":"unset","path":"/a/b"}`, Op{Op: "unset", Path: Pointer{"a", "b"}}},
	} {
		ops, err := ParseOps([]byte("["+tt.patch+"]"), DefaultLimits)
		if err != nil || len(ops) != 1 {
			t.Errorf("%s: %v, %v", tt.patch, ops, err)
			continue
		}
		if got, want := show(ops[0]), show(tt.want); got != want {
			t.Errorf("%s: got %s, want %s", tt.patch, got, want)
		}
	}
	if ops, err := ParseOps([]byte(`[]`), DefaultLimits); err != nil || len(ops) != 0 {
		t.Errorf("no operations: %v, %v", ops, err)
	}
}

// show renders an operation with its bounds instead of their addresses.
func show(op Op) string {
	bounds := ""
	for _, b := range []*int64{op.Min, op.Max} {
		if b == nil {
			bounds += " none"
		} else {
			bounds += fmt.Sprint(" ", *b)
		}
	}
	op.Min, op.Max = nil, nil
	return fmt.Sprintf("%#v%s", op, bounds)
}

func TestParseOpsRefuses(t *testing.T) {
	for _, tt := range []struct {
		patch string
		want  error
		says  string
	}{
		{`{"op":"inc","path":"/a"}`, ErrPatch, `"value" is missing`},
		{`{"op":"inc","path":"/a","value":1.0}`, ErrPatch, `"value" must be an integer`},
		{`{"op":"inc","path":"/a","value":{"$counter":1}}`, ErrPatch, `"value" must be an integer, not a counter`},
		{`{"op":"inc","path":"/a","value":1,"min":"0"}`, ErrPatch, `"min" must be an integer, not a string`},
		{`{"op":"inc","path":"/a","value":1,"max":null}`, ErrPatch, `"max" must be an integer, not null`},
		{`{"op":"inc","path":"/a","value":1,"min":1,"max":0}`, ErrPatch, `"min" is above "max"`},
		{`{"op":"inc","path":"/a","value":1,"by":2,"at":3}`, ErrPatch, `it has no member "at", "by"`},
		{`{"op":"inc","value":1}`, ErrPatch, `"path" is missing`},
		{`{"path":"/a","value":1}`, ErrPatch, `"op" is missing`},
		{`{"op":"inc","path":"a","value":1}`, ErrPointer, `"path"`},
		{`{"op":"inc","path":"/$set","value":1}`, ErrReserved, "$set"},
		{`{"op":"add","path":"/a"}`, ErrPatch, `"value" is missing`},
		{`{"op":"add","path":"/a","value":{"$text":"x"}}`, ErrPatch, "plain"},
		{`{"op":"remove","path":"/a","value":[{"$text":"x"}]}`, ErrPatch, "plain"},
		{`{"op":"remove","path":"/a"}`, ErrPatch, `"value" is missing`},
		{`{"op":"add","path":"/a","value":1,"index":0}`, ErrPatch, `no member "index"`},
		{`{"op":"insert","path":"/a/0"}`, ErrPatch, `"value" is missing`},
		{`{"op":"insert","path":"/a","value":1}`, ErrPatch, `"path" must end in the index`},
		{`{"op":"insert","path":"","value":1}`, ErrPatch, `"path" must end in the index`},
		{`{"op":"insert","path":"/a/01","value":1}`, ErrPatch, `"path" must end in the index`},
		{`{"op":"delete","path":"/a/-"}`, ErrPatch, `"path" must end in the index`},
		{`{"op":"delete","path":"/a/0","value":1}`, ErrPatch, `no member "value"`},
		{`{"op":"move","path":"/a/0"}`, ErrPatch, `"from" is missing`},
		{`{"op":"move","from":"/a/-","path":"/a/0"}`, ErrPatch, `"from" must end in the index of an element`},
		{`{"op":"move","from":"/a/0","path":"/b/0"}`, ErrPatch, "within its list"},
		{`{"op":"move","from":"/a/0","path":"/a/0/0"}`, ErrPatch, "within its list"},
		{`{"op":"move","from":"/a/0","path":""}`, ErrPatch, `"path" must end in the index`},
		{`{"op":"splice","path":"/t"}`, ErrPatch, `"index" must be an integer`},
		{`{"op":"splice","path":"/t","index":-1}`, ErrPatch, `"index" must be an integer`},
		{`{"op":"splice","path":"/t","index":4294967296}`, ErrPatch, `"index" must be an integer`},
		{`{"op":"splice","path":"/t","index":0,"delete":-1}`, ErrPatch, `"delete" must be an integer`},
		{`{"op":"splice","path":"/t","index":0,"delete":1.0}`, ErrPatch, `"delete" must be an integer`},
		{`{"op":"splice","path":"/t","index":0,"insert":1}`, ErrPatch, `"insert" must be a string`},
		{`{"op":"splice","path":"/t","index":0,"value":"x"}`, ErrPatch, `no member "value"`},
		{`{"op":"set","path":"/a"}`, ErrPatch, `"value" is missing`},
		{`{"op":"set","path":"/a/$counter","value":5}`, ErrReserved, "$counter"},
		{`{"op":"unset","path":""}`, ErrPatch, "the root"},
		{`{"op":"unset","path":"/a","value":null}`, ErrPatch, `no member "value"`},
		{`{"op":"replace","path":"/a","value":1}`, ErrPatch, "unknown operation"},
		{`{"op":"test","path":"/a","value":1}`, ErrPatch, "unknown operation"},
		{`{"op":"` + strings.Repeat("x", 10_000) + `","path":"/a"}`, ErrPatch, "unknown operation"},
	} {
		ops, err := ParseOps([]byte(`[{"op":"unset","path":"/x"},`+tt.patch+`]`), DefaultLimits)
		if !errors.Is(err, tt.want) || ops != nil {
			t.Errorf("%s: %v, %v, want %v", clip(tt.patch), ops, err, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "operation 1") || len(err.Error()) > 500 {
			t.Errorf("%s: %v, want it to start with operation 1, to say %q and to be short", clip(tt.patch), err, tt.says)
		}
	}
	if _, err := ParseOps([]byte(`{"op":"unset","path":"/x"}`), DefaultLimits); !errors.Is(err, ErrPatch) {
		t.Errorf("an object: %v", err)
	}
	many := `[` + strings.Repeat(`{"op":"unset","path":"/x"},`, MaxOps) + `{"op":"unset","path":"/x"}]`
	if _, err := ParseOps([]byte(many), DefaultLimits); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many operations: %v", err)
	}
}
