package value

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheck(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	for _, tt := range []struct {
		name    string
		v       any
		want    error
		pointer string
	}{
		{"a value", map[string]any{"a": []any{nil, true, int64(1), 1.5, "s", Counter(1), Set{int64(1), "x"}, Text("t")}}, nil, ""},
		{"nil slices and maps", []any{[]any(nil), map[string]any(nil), Set(nil)}, nil, ""},
		{"int", map[string]any{"a": []any{1}}, ErrNotValue, "/a/0"},
		{"a slice of strings", []string{"a"}, ErrNotValue, ""},
		{"int in a set", Set{1, 2}, ErrNotValue, "/0"},
		{"NaN", []any{math.NaN()}, ErrNumber, "/0"},
		{"infinity", math.Inf(-1), ErrNumber, ""},
		{"invalid UTF-8", map[string]any{"x/y": "\xff"}, ErrSyntax, "/x~1y"},
		{"invalid UTF-8 in a text", Text("\xff"), ErrSyntax, ""},
		{"invalid UTF-8 in a name", map[string]any{"\xff": nil}, ErrSyntax, ""},
		{"reserved name", []any{map[string]any{"$set": "x", "b": nil}}, ErrReserved, "/0"},
		{"set out of order", Set{"b", "a"}, ErrReserved, ""},
		{"duplicate in a set", Set{"a", "a"}, ErrReserved, ""},
		{"counter in a set", Set{[]any{Counter(1)}}, ErrReserved, ""},
		{"a loop", loop, ErrTooDeep, strings.Repeat("/0", DefaultMaxDepth)},
		{"too long", strings.Repeat("a", DefaultMaxBytes), ErrTooLarge, ""},
		{"too many altogether", []any{make([]any, DefaultMaxItems/2), make([]any, DefaultMaxItems/2)}, ErrTooLarge, "/1"},
		{"too many", make([]any, DefaultMaxItems+1), ErrTooLarge, ""},
	} {
		err := Check(tt.v, DefaultLimits)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			continue
		}
		var e *Error
		if errors.As(err, &e) && (e.Pointer != tt.pointer || e.Offset != -1) {
			t.Errorf("%s: %v: at %q, byte %d, want %q", tt.name, err, e.Pointer, e.Offset, tt.pointer)
		}
	}
}

// What surely fits is not measured; that must not let anything through.
func TestCheckKnowsTheSizeAndWhatIsPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(4).Draw(t, "v")
		n := Size(v)
		plain, _, err := CheckPlain(v, Limits{MaxBytes: n})
		if err != nil || plain == hasTypes(v) {
			t.Fatalf("%s of %d bytes: plain %v, %v", typed(v), n, plain, err)
		}
		if err := Check(v, Limits{MaxBytes: n - 1}); n > 1 && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%s of %d bytes, one less is allowed: %v", typed(v), n, err)
		}
	})
}

func TestSizeOfEscapes(t *testing.T) {
	for c := range rune(0x3000) {
		s := "x" + string(c)
		if got, want := Size(s), len(Append(nil, s, Options{})); got != want {
			t.Errorf("Size(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for in, want := range map[string]int{
		`1`: 0, `{"$counter":1}`: 0, `{"$text":""}`: 0,
		`[]`: 1, `{}`: 1, `{"$set":[]}`: 1, `[1,"a"]`: 1,
		`[[]]`: 2, `{"a":{"$set":[1]}}`: 2, `{"$set":[[]]}`: 2,
		`[1,[2,{"a":{}}],3]`: 4,
	} {
		if got := Depth(parse(t, in)); got != want {
			t.Errorf("Depth(%s) = %d, want %d", in, got, want)
		}
	}
}
