package value

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The generators below make values of every kind, with the odd corner more
// often than chance has it.

var anyString = rapid.OneOf(
	rapid.SampledFrom([]string{"", "a", "b", "ab", "é", "\x00", "\"", "\\", "/", "~", "\u2028", "😀", "\ufffd", "$", "$counters", "\n\t\x1f\x7f"}),
	rapid.String(),
)

var anyName = anyString.Filter(func(s string) bool { return !Reserved(s) })

var anyFloat = rapid.OneOf(
	rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e21, 1e20, 1e-6, 1e-7, 1e100, 5e-324, math.MaxFloat64, 1 << 53, 1<<53 + 2, 123456789012345680000}),
	rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }),
)

var anyInt = rapid.OneOf(
	rapid.SampledFrom([]int64{0, 1, -1, 63, 64, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MinInt64}),
	rapid.Int64(),
)

var anyScalar = rapid.OneOf(
	rapid.Just[any](nil),
	rapid.Map(rapid.Bool(), toAny),
	rapid.Map(anyInt, toAny),
	rapid.Map(anyFloat, toAny),
	rapid.Map(anyString, toAny),
)

func toAny[T any](v T) any { return v }

// plainValue makes values without types.
func plainValue(depth int) *rapid.Generator[any] {
	if depth == 0 {
		return anyScalar
	}
	return rapid.OneOf(anyScalar,
		rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return plainValue(depth - 1) }), 0, 4), toAny),
		rapid.Map(rapid.MapOfN(anyName, rapid.Deferred(func() *rapid.Generator[any] { return plainValue(depth - 1) }), 0, 4), toAny),
	)
}

// anyValue makes values of all kinds.
func anyValue(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(anyScalar,
		rapid.Map(anyInt, func(i int64) any { return Counter(i) }),
		rapid.Map(anyString, func(s string) any { return Text(s) }),
		rapid.Map(rapid.SliceOfN(plainValue(depth), 0, 4), func(s []any) any { return NewSet(s) }),
	)
	if depth == 0 {
		return scalar
	}
	return rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return anyValue(depth - 1) }), 0, 4), toAny),
		rapid.Map(rapid.MapOfN(anyName, rapid.Deferred(func() *rapid.Generator[any] { return anyValue(depth - 1) }), 0, 4), toAny),
	)
}

// parse reads JSON that a test takes for granted.
func parse(t testing.TB, s string) any {
	t.Helper()
	v, err := Parse([]byte(s), DefaultLimits)
	if err != nil {
		t.Fatalf("Parse(%s): %v", s, err)
	}
	return v
}

// typed and plain render a value, with and without types.
func typed(v any) string { return string(Append(nil, v, Options{Types: true})) }
func plain(v any) string { return string(Append(nil, v, Options{})) }

// ascending lists values in the order of Compare, no two equal.
var ascending = []string{
	`null`, `false`, `true`,
	`-9223372036854775808`, `-1`, `0`, `1`, `9223372036854775807`,
	`-1.5`, `-0.0`, `0.0`, `5e-324`, `1.0`, `1e300`,
	`""`, `"\u0000"`, `"1"`, `"a"`, `"aa"`, `"b"`, `"z"`, `"é"`, `"😀"`,
	`[]`, `[null]`, `[1]`, `[1,1]`, `[1.0]`, `[[]]`,
	`{}`, `{"a":1}`, `{"a":1,"b":1}`, `{"a":2}`, `{"b":0}`,
	`{"$counter":-1}`, `{"$counter":1}`,
	`{"$set":[]}`, `{"$set":[1]}`, `{"$set":[1,2]}`,
	`{"$text":""}`, `{"$text":"a"}`,
}

func TestCompareAndEqual(t *testing.T) {
	for i, a := range ascending {
		for j, b := range ascending {
			a, b := parse(t, a), parse(t, b)
			if got, want := Compare(a, b), cmp.Compare(i, j); got != want {
				t.Errorf("Compare(%s, %s) = %d, want %d", typed(a), typed(b), got, want)
			}
			if got, want := Equal(a, b), i == j; got != want {
				t.Errorf("Equal(%s, %s) = %t, want %t", typed(a), typed(b), got, want)
			}
		}
	}
}

func TestCompareIsATotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := anyValue(2).Draw(t, "a")
		b := rapid.OneOf(anyValue(2), rapid.Just(Clone(a))).Draw(t, "b")
		c := rapid.OneOf(anyValue(2), rapid.Just(Clone(b))).Draw(t, "c")
		if Compare(a, b) != -Compare(b, a) {
			t.Fatal("Compare is not antisymmetric")
		}
		if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
			t.Fatal("Compare is not transitive")
		}
		if (Compare(a, b) == 0) != Equal(a, b) {
			t.Fatal("Compare and Equal disagree")
		}
		if Equal(a, b) != (typed(a) == typed(b)) {
			t.Fatal("Equal and the canonical JSON disagree")
		}
	})
}

func TestSame(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`1`, `1.0`, true},
		{`[1,{"a":2.0}]`, `[1.0,{"a":2}]`, true},
		{`0.0`, `-0.0`, true},
		{`1`, `1.5`, false},
		{`9007199254740993`, `9007199254740992.0`, false},
		{`9223372036854775807`, `9223372036854776000.0`, false}, // 2^63-1 and 2^63
		{`-9223372036854775808`, `-9223372036854776000.0`, true},
		{`0`, `1e300`, false},
		{`{"$counter":5}`, `5.0`, true},
		{`{"$set":["b","a"]}`, `["a","b"]`, true},
		{`{"$set":["b","a"]}`, `["b","a"]`, false},
		{`{"$text":"x"}`, `"x"`, true},
		{`"10"`, `10`, false},
		{`null`, `false`, false},
		{`[1]`, `[1,2]`, false},
		{`[]`, `{}`, false},
		{`{"a":1}`, `{"b":1}`, false},
	} {
		a, b := parse(t, tt.a), parse(t, tt.b)
		if Same(a, b) != tt.want || Same(b, a) != tt.want {
			t.Errorf("Same(%s, %s) = %t, want %t", tt.a, tt.b, !tt.want, tt.want)
		}
	}
}

func TestNewSet(t *testing.T) {
	s := NewSet([]any{"b", int64(1), "a", 1.0, "b", nil})
	if got, want := plain(s), `[null,1,1.0,"a","b"]`; got != want {
		t.Errorf("NewSet = %s, want %s", got, want)
	}
	for _, v := range []any{nil, int64(1), 1.0, "a", "b"} {
		if !s.Contains(v) {
			t.Errorf("%s is not a member", plain(v))
		}
	}
	if s.Contains("c") || s.Contains(2.0) {
		t.Error("the set has members that nobody gave it")
	}
	if NewSet(nil) == nil {
		t.Error("NewSet(nil) is nil")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	const in = `{"a":[1,{"b":[2]}],"s":{"$set":[[3]]}}`
	v := parse(t, in)
	c := Clone(v).(map[string]any)
	c["a"].([]any)[1].(map[string]any)["b"].([]any)[0] = "changed"
	c["s"].(Set)[0].([]any)[0] = "changed"
	c["new"] = true
	if typed(v) != in {
		t.Errorf("changing a clone changed the original to %s", typed(v))
	}
}

func TestPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(3).Draw(t, "v")
		before := typed(v)
		p := Plain(v)
		if hasTypes(p) {
			t.Fatalf("Plain left types in %s", typed(p))
		}
		if typed(p) != plain(v) {
			t.Fatalf("Plain gives %s, Append without types %s", typed(p), plain(v))
		}
		if !Same(p, v) {
			t.Fatal("Same tells a value from its plain form")
		}
		if typed(v) != before {
			t.Fatal("Plain changed its argument")
		}
	})
}

func TestNotAValuePanics(t *testing.T) {
	for name, f := range map[string]func(){
		"Append":       func() { Append(nil, 1, Options{}) },
		"Append NaN":   func() { Append(nil, math.NaN(), Options{}) },
		"AppendBinary": func() { AppendBinary(nil, []string{}) },
		"Binary Inf":   func() { AppendBinary(nil, math.Inf(1)) },
		"Compare":      func() { Compare(1, 2) },
		"Equal":        func() { Equal(uint8(1), uint8(1)) },
		"Size":         func() { Size(struct{}{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestSortedNames(t *testing.T) {
	var buf [1]string // too small, so that it must grow
	got := sortedNames(map[string]any{"b": nil, "": nil, "a": nil, "é": nil, "Z": nil}, buf[:0])
	if want := []string{"", "Z", "a", "b", "é"}; !slices.Equal(got, want) {
		t.Errorf("sortedNames = %q, want %q", got, want)
	}
}
