package value

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`null`, `null`},
		{` true `, `true`},
		{`false`, `false`},
		{"\t\r\n[ ]", `[]`},
		{`{ }`, `{}`},
		{`""`, `""`},
		{`[1,"a",null,[true],{"b":2}]`, `[1,"a",null,[true],{"b":2}]`},
		{`{"b":1,"a":{"d":1,"c":2}}`, `{"a":{"c":2,"d":1},"b":1}`},
		{`{"":0,"\u0000":1}`, `{"":0,"\u0000":1}`},
		{`"\u0041\/\b\f\n\r\t\"\\\u001f\u007f\u00e9"`, "\"A/\\b\\f\\n\\r\\t\\\"\\\\\\u001f\x7fé\""},
		{`"\ud83d\ude00"`, `"😀"`},
		{`{"a\u0062":1}`, `{"ab":1}`},
		{"\"\u2028</script>\ufffd\"", "\"\u2028</script>\ufffd\""},
		// Long and repeated names go another way than short new ones.
		{`[{"k":1},{"k":2},{"\u006b":3}]`, `[{"k":1},{"k":2},{"k":3}]`},
		{`{"` + strings.Repeat("k", 100) + `":1}`, `{"` + strings.Repeat("k", 100) + `":1}`},

		{`{"$counter":5}`, `{"$counter":5}`},
		{`{"$counter": -9223372036854775808 }`, `{"$counter":-9223372036854775808}`},
		{`{"\u0024counter":5}`, `{"$counter":5}`},
		{`{"$text":"héllo"}`, `{"$text":"héllo"}`},
		{`{"$set":[]}`, `{"$set":[]}`},
		{`{"$set":["red","blue","red",1.0,1,[2],{"b":1,"a":2}]}`, `{"$set":[1,1.0,"blue","red",[2],{"a":2,"b":1}]}`},
		{`[{"$counter":1},{"a":{"$text":""}}]`, `[{"$counter":1},{"a":{"$text":""}}]`},
		{`{"$":1,"$ref":"x","counter":2,"$Counter":3}`, `{"$":1,"$Counter":3,"$ref":"x","counter":2}`},
	} {
		got, err := Parse([]byte(tt.in), DefaultLimits)
		if err != nil {
			t.Errorf("Parse(%s): %v", tt.in, err)
			continue
		}
		if out := typed(got); out != tt.want {
			t.Errorf("Parse(%s) = %s, want %s", tt.in, out, tt.want)
		}
		if err := Check(got, DefaultLimits); err != nil {
			t.Errorf("Check(Parse(%s)): %v", tt.in, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    error
		pointer string
		offset  int64
	}{
		{``, ErrSyntax, "", 0},
		{`  `, ErrSyntax, "", 0},
		{"\ufeff1", ErrSyntax, "", 0},
		{`nul`, ErrSyntax, "", 3},
		{`nulx`, ErrSyntax, "", 3},
		{`True`, ErrSyntax, "", 0},
		{`NaN`, ErrSyntax, "", 0},
		{`'a'`, ErrSyntax, "", 0},
		{`1 2`, ErrSyntax, "", 1},
		{`{}x`, ErrSyntax, "", 2},
		{`[]]`, ErrSyntax, "", 2},
		{`01`, ErrSyntax, "", 1},
		{`-`, ErrSyntax, "", 0},
		{`+1`, ErrSyntax, "", 0},
		{`.5`, ErrSyntax, "", 0},
		{`1.`, ErrSyntax, "", 0},
		{`1e`, ErrSyntax, "", 0},
		{`0x10`, ErrSyntax, "", 1},
		{`[1,]`, ErrSyntax, "", 2},
		{`[1 2]`, ErrSyntax, "", 3},
		{`[,1]`, ErrSyntax, "", 1},
		{`[1`, ErrSyntax, "", 2},
		{`[1}`, ErrSyntax, "", 2},
		{`{"a":1,}`, ErrSyntax, "", 6},
		{`{"a" 1}`, ErrSyntax, "/a", 5},
		{`{"a":}`, ErrSyntax, "/a", 5},
		{`{"a"}`, ErrSyntax, "/a", 4},
		{`{"a":1]`, ErrSyntax, "", 6},
		{`{1:2}`, ErrSyntax, "", 1},
		{`{[]:2}`, ErrSyntax, "", 1},
		{`{null:2}`, ErrSyntax, "", 1},
		{`{"a":1`, ErrSyntax, "", 6},
		{`// x`, ErrSyntax, "", 0},
		{"\"a\nb\"", ErrSyntax, "", 2},
		{`"\x41"`, ErrSyntax, "", 1},
		{`"\u12"`, ErrSyntax, "", 1},
		{`"abc`, ErrSyntax, "", 4},
		{"\"\xff\"", ErrSyntax, "", 1},
		{"\"\xed\xa0\x80\"", ErrSyntax, "", 1}, // a surrogate as UTF-8
		{"\"\xc0\x80\"", ErrSyntax, "", 1},     // overlong
		{`"\ud800"`, ErrSyntax, "", 1},
		{`"\udc00"`, ErrSyntax, "", 1},
		{`"\ud800\ud800"`, ErrSyntax, "", 1},
		{`{"\ud800":1}`, ErrSyntax, "", 2},

		{`{"a":1,"a":1}`, ErrSyntax, "", 7},
		{`{"x":{"a":1,"b":2,"\u0061":3}}`, ErrSyntax, "/x", 18},
		{`{"":1,"":1}`, ErrSyntax, "", 6},

		{`{"a":[1,1e400]}`, ErrNumber, "/a/1", 8},
		{`{"a":9223372036854775808}`, ErrNumber, "/a", 5},

		{`{"$counter":"x"}`, ErrReserved, "/$counter", 1},
		{`{"$counter":5.0}`, ErrReserved, "/$counter", 1},
		{`{"$counter":-0}`, ErrReserved, "/$counter", 1},
		{`{"$counter":null}`, ErrReserved, "/$counter", 1},
		{`{"$counter":9223372036854775808}`, ErrNumber, "/$counter", 12},
		{`{"$set":"red"}`, ErrReserved, "/$set", 1},
		{`{"$set":{}}`, ErrReserved, "/$set", 1},
		{strings.Repeat(`{"$set":`, 100_000), ErrReserved, "/$set", 1},
		{`{"$set":[{"$counter":1}]}`, ErrReserved, "/$set", 1},
		{`{"$set":[[{"$text":""}]]}`, ErrReserved, "/$set", 1},
		{`{"$text":1}`, ErrReserved, "/$text", 1},
		{`{"$text":["a"]}`, ErrReserved, "/$text", 1},
		{`{"$counter":5,"a":1}`, ErrReserved, "/$counter", 1},
		{`{"a":1,"$counter":5}`, ErrReserved, "/$counter", 7},
		{`{"$counter":5,"$counter":5}`, ErrReserved, "/$counter", 1},
		{`[{"b":{"$text":"", "$set":[]}}]`, ErrReserved, "/0/b/$text", 7},
		{`{"$counter":}`, ErrSyntax, "/$counter", 12},
		{`{"$counter"`, ErrSyntax, "/$counter", 11},
		{`{"$counter":5`, ErrSyntax, "", 13},
		{`{"$counter":5]`, ErrSyntax, "", 13},
		{`{"$text":"\ud800"}`, ErrSyntax, "/$text", 10},
	} {
		v, err := Parse([]byte(tt.in), DefaultLimits)
		var e *Error
		if !errors.Is(err, tt.want) || !errors.As(err, &e) || v != nil {
			t.Errorf("Parse(%s) = %v, %v, want %v", tt.in, v, err, tt.want)
			continue
		}
		if e.Pointer != tt.pointer || e.Offset != tt.offset {
			t.Errorf("Parse(%s): %v: at %q, byte %d, want %q, byte %d", tt.in, err, e.Pointer, e.Offset, tt.pointer, tt.offset)
		}
	}
}

func TestParseLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	list := func(n int) string { return "[0" + strings.Repeat(",0", n-1) + "]" }
	small := Limits{MaxBytes: 64, MaxDepth: 3, MaxItems: 5}
	for _, tt := range []struct {
		in     string
		limits Limits
		want   error
	}{
		{`"` + strings.Repeat("a", 62) + `"`, small, nil},
		{`"` + strings.Repeat("a", 63) + `"`, small, ErrTooLarge},
		{strings.Repeat(" ", 64) + "1", small, ErrTooLarge},
		{nested(3), small, nil},
		{nested(4), small, ErrTooDeep},
		{`{"a":{"b":{}}}`, small, nil},
		{`{"a":{"b":{"c":1}}}`, small, nil},
		{`{"a":{"b":{"c":{}}}}`, small, ErrTooDeep},
		{`{"a":{"b":{"c":{"d":1}}}}`, small, ErrTooDeep},
		{`{"a":{"b":{"c":[]}}}`, small, ErrTooDeep},
		// Typed values take no level of their own; the array of a set is one.
		{`[[[{"$counter":1}]]]`, small, nil},
		{`[[[{"$text":""}]]]`, small, nil},
		{`[[{"$set":[]}]]`, small, nil},
		{`[[[{"$set":[]}]]]`, small, ErrTooDeep},
		{`[[{"$set":[[]]}]]`, small, ErrTooDeep},
		{list(5), small, nil},
		{list(6), small, ErrTooLarge},
		{`[[1],[2],3]`, small, nil},
		{`[[1],[2],[3]]`, small, ErrTooLarge},
		{`{"a":1,"b":2,"c":[4,5]}`, small, nil},
		{`{"a":1,"b":2,"c":[4,5,6]}`, small, ErrTooLarge},
		{`{"$set":[1,2,3,4,5]}`, small, nil},
		{`{"$set":[1,2,3,4,5,5]}`, small, ErrTooLarge},

		{nested(DefaultMaxDepth), Limits{}, nil},
		{nested(DefaultMaxDepth + 1), Limits{}, ErrTooDeep},
		{list(DefaultMaxItems), Limits{}, nil},
		{list(DefaultMaxItems + 1), Limits{}, ErrTooLarge},
		{`"` + strings.Repeat("a", DefaultMaxBytes-2) + `"`, Limits{}, nil},
		{`"` + strings.Repeat("a", DefaultMaxBytes-1) + `"`, Limits{}, ErrTooLarge},
		{nested(DefaultMaxBytes / 2), Limits{MaxDepth: 9000}, ErrTooDeep},
	} {
		_, err := Parse([]byte(tt.in), tt.limits)
		if !errors.Is(err, tt.want) {
			t.Errorf("Parse(%s) with %+v: %v, want %v", clip(tt.in), tt.limits, err, tt.want)
		}
	}
}

func TestParseObject(t *testing.T) {
	m, err := ParseObject([]byte(`{"a":1}`), DefaultLimits)
	if err != nil || len(m) != 1 || m["a"] != int64(1) {
		t.Errorf("ParseObject = %v, %v", m, err)
	}
	for in, want := range map[string]error{
		`[]`:             ErrNotObject,
		`null`:           ErrNotObject,
		`1`:              ErrNotObject,
		`{"$counter":1}`: ErrNotObject,
		`{"$set":[]}`:    ErrNotObject,
		`{"$text":""}`:   ErrNotObject,
		`{`:              ErrSyntax,
		`{"a":1e400}`:    ErrNumber,
	} {
		if m, err := ParseObject([]byte(in), DefaultLimits); !errors.Is(err, want) || m != nil {
			t.Errorf("ParseObject(%s) = %v, %v, want %v", in, m, err, want)
		}
	}
}

func TestParseAfterAnError(t *testing.T) {
	// A parser is used again; what an error left behind must not show.
	for _, bad := range []string{`[1,2,[3,{"a":1,"b":[4,`, `{"a":1,"b":{"c":2`, `[1e400]`} {
		if _, err := Parse([]byte(bad), DefaultLimits); err == nil {
			t.Fatalf("Parse(%s) succeeded", bad)
		}
		if got := typed(parse(t, `[[],{},[5],{"a":[6]}]`)); got != `[[],{},[5],{"a":[6]}]` {
			t.Errorf("after %s: %s", bad, got)
		}
	}
}

// The memory of names is keyed by what was written, which may hold escapes: of
// many pairs like these, some share a slot.
func TestParseNamesWithEscapes(t *testing.T) {
	for i := range 5000 {
		in := fmt.Sprintf(`[{"%d\\u0062":1},{"%d\u0062":2}]`, i, i)
		if got, want := typed(parse(t, in)), fmt.Sprintf(`[{"%d\\u0062":1},{"%db":2}]`, i, i); got != want {
			t.Fatalf("%s is read as %s", in, got)
		}
	}
}

func TestParseKeepsNothingOfItsInput(t *testing.T) {
	in := []byte(order)
	v, err := Parse(in, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	before := typed(v)
	for i := range in {
		in[i] = '#'
	}
	if typed(v) != before {
		t.Error("overwriting the input changed the value")
	}
}

func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("é", 100_000)
	for _, in := range []string{
		`{"` + long + `":1e400}`,
		`{"` + long + `":1,"` + long + `":1}`,
		`1.` + strings.Repeat("123456789", 1000),
		`{"` + long + `":tru}`,
	} {
		_, err := Parse([]byte(in), DefaultLimits)
		if err == nil || len(err.Error()) > 500 {
			t.Errorf("Parse(%s): no error, or one of %d bytes", clip(in), len(err.Error()))
		}
	}
}

func TestParseOfAppend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(4).Draw(t, "v")
		if err := Check(v, DefaultLimits); err != nil {
			t.Fatalf("the generator made a bad value: %v", err)
		}
		out := Append(nil, v, Options{Types: true})
		back, err := Parse(out, DefaultLimits)
		if err != nil {
			t.Fatalf("Parse(%s): %v", out, err)
		}
		if !Equal(back, v) {
			t.Fatalf("%s comes back as %s", out, typed(back))
		}
		if Size(v) != len(out) {
			t.Fatalf("Size(%s) = %d, want %d", out, Size(v), len(out))
		}
		// Depth and items say exactly which limits a value needs.
		tight := Limits{MaxBytes: len(out), MaxDepth: max(1, Depth(v)), MaxItems: max(1, countItems(v))}
		if _, err := Parse(out, tight); err != nil {
			t.Fatalf("Parse(%s) with %+v: %v", out, tight, err)
		}
		if err := Check(v, tight); err != nil {
			t.Fatalf("Check(%s) with %+v: %v", out, tight, err)
		}
		if d := Depth(v); d > 1 {
			tight.MaxDepth = d - 1
			if _, err := Parse(out, tight); !errors.Is(err, ErrTooDeep) {
				t.Fatalf("Parse(%s) with %+v: %v", out, tight, err)
			}
			if err := Check(v, tight); !errors.Is(err, ErrTooDeep) {
				t.Fatalf("Check(%s) with %+v: %v", out, tight, err)
			}
		}
	})
}

func countItems(v any) int {
	n := 0
	switch v := plainShallow(v).(type) {
	case []any:
		n = len(v)
		for _, e := range v {
			n += countItems(e)
		}
	case map[string]any:
		n = len(v)
		for _, m := range v {
			n += countItems(m)
		}
	}
	return n
}

func TestParseAllocations(t *testing.T) {
	in := []byte(order)
	// One for each container, string and boxed value, but none for names seen before.
	const limit = 115
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(in, DefaultLimits) }); n > limit {
		t.Errorf("Parse allocates %v times, want at most %d", n, limit)
	}
	v := parse(t, order)
	buf := make([]byte, 0, 2*len(in))
	if n := testing.AllocsPerRun(100, func() { Append(buf, v, Options{Types: true}) }); n > 0 {
		t.Errorf("Append allocates %v times", n)
	}
}
