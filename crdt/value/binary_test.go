package value

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The bytes are stored and replicated: a change here is a change of format.
var binaryForms = []struct{ json, hex string }{
	{`null`, "00"},
	{`false`, "01"},
	{`true`, "02"},
	{`0`, "0300"},
	{`-1`, "0301"},
	{`64`, "038001"},
	{`9223372036854775807`, "03feffffffffffffffff01"},
	{`-9223372036854775808`, "03ffffffffffffffffff01"},
	{`1.5`, "043ff8000000000000"},
	{`-0.0`, "048000000000000000"},
	{`""`, "0500"},
	{`"é"`, "0502c3a9"},
	{`[]`, "0600"},
	{`[1,[null]]`, "06020302060100"},
	{`{}`, "0700"},
	{`{"b":true,"a":{}}`, "0702016107000162" + "02"},
	{`{"$counter":-2}`, "0803"},
	{`{"$set":["b","a"]}`, "0902050161050162"},
	{`{"$text":"a"}`, "0a0161"},
}

func TestBinaryForms(t *testing.T) {
	for _, tt := range binaryForms {
		v := parse(t, tt.json)
		b := AppendBinary(nil, v)
		if got := hex.EncodeToString(b); got != tt.hex {
			t.Errorf("%s is encoded as %s, want %s", tt.json, got, tt.hex)
		}
		back, rest, err := DecodeBinary(append(b, "rest"...), DefaultLimits)
		if err != nil || !Equal(back, v) || string(rest) != "rest" {
			t.Errorf("%s comes back as %v, %q, %v", tt.json, back, rest, err)
		}
		for cut := range b {
			if _, _, err := DecodeBinary(b[:cut], DefaultLimits); !errors.Is(err, ErrBinary) {
				t.Errorf("%s cut to %d bytes: %v, want ErrBinary", tt.json, cut, err)
			}
		}
	}
}

func TestDecodeBinaryRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"no such tag":              "0b",
		"long varint":              "038000",
		"varint of 11 bytes":       "03ffffffffffffffffffff01",
		"varint above 64 bits":     "03ffffffffffffffffff02",
		"NaN":                      "047ff8000000000000",
		"infinity":                 "04fff0000000000000",
		"string beyond the end":    "050361",
		"string of 2^63 bytes":     "05ffffffffffffffff7f61",
		"string of 2^64-1 bytes":   "05ffffffffffffffffff0161",
		"invalid UTF-8":            "0501ff",
		"surrogate in UTF-8":       "0503eda080",
		"array beyond the end":     "06ffffffff0f00",
		"object beyond the end":    "0702016100",
		"names out of order":       "070201620001610" + "0",
		"duplicate name":           "0702016100016100",
		"reserved name":            "0701" + "08" + hex.EncodeToString([]byte(counterName)) + "00",
		"invalid UTF-8 in a name":  "070101ff00",
		"set out of order":         "0902050162050161",
		"duplicate in a set":       "0902050161050161",
		"counter in a set":         "09010802",
		"text deep in a set":       "090106010a00",
		"set in a set":             "09010900",
		"object with half members": "07020161",
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(name, err)
		}
		if v, _, err := DecodeBinary(b, DefaultLimits); !errors.Is(err, ErrBinary) || v != nil {
			t.Errorf("%s: %v, %v, want ErrBinary", name, v, err)
		}
	}
}

func TestDecodeBinaryLimits(t *testing.T) {
	nested := func(n int) []byte { return append(bytes.Repeat([]byte{tagArray, 1}, n-1), tagArray, 0) }
	list := func(n int) []byte {
		elems := make([]any, n)
		return AppendBinary(nil, elems)
	}
	for _, tt := range []struct {
		name   string
		in     []byte
		limits Limits
		want   error
	}{
		{"deep enough", nested(3), Limits{MaxDepth: 3}, nil},
		{"too deep", nested(4), Limits{MaxDepth: 3}, ErrTooDeep},
		{"deep by default", nested(DefaultMaxDepth), Limits{}, nil},
		{"too deep by default", nested(DefaultMaxDepth + 1), Limits{}, ErrTooDeep},
		{"very deep", nested(1 << 20), Limits{}, ErrTooDeep},
		{"items", list(5), Limits{MaxItems: 5}, nil},
		{"too many items", list(6), Limits{MaxItems: 5}, ErrTooLarge},
		{"too many items altogether", AppendBinary(nil, []any{[]any{nil}, []any{nil}, []any{nil}}), Limits{MaxItems: 5}, ErrTooLarge},
		{"items by default", list(DefaultMaxItems), Limits{}, nil},
		{"too many by default", list(DefaultMaxItems + 1), Limits{}, ErrTooLarge},
		{"bytes are not counted", AppendBinary(nil, strings.Repeat("a", 100)), Limits{MaxBytes: 10}, nil},
	} {
		if _, _, err := DecodeBinary(tt.in, tt.limits); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// A few bytes that promise a lot must not allocate a lot.
func TestDecodeBinaryMemoryIsBounded(t *testing.T) {
	// Each of 60 nested objects and arrays claims as many items as bytes are left.
	const size = 100_000
	var in []byte
	for i := range 60 {
		if i%2 == 0 {
			in = append(in, tagObject, 0x80, 0x80, 0x02, 1, 'a') // 32,768 members
		} else {
			in = append(in, tagArray, 0x80, 0x80, 0x02)
		}
	}
	in = append(in, make([]byte, size)...)
	in[len(in)-size] = 0xff // an error at the innermost place
	limits := Limits{MaxItems: math.MaxInt32}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := DecodeBinary(in, limits); !errors.Is(err, ErrBinary) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(60*maxPrealloc*100); got > limit {
		t.Errorf("%d bytes allocated, want at most %d", got, limit)
	}
}

func TestBinaryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(4).Draw(t, "v")
		rest := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "rest")
		b := AppendBinary(nil, v)
		back, left, err := DecodeBinary(append(bytes.Clone(b), rest...), DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if !Equal(back, v) || !bytes.Equal(left, rest) {
			t.Fatalf("%s comes back as %s, with %x of %x", typed(v), typed(back), left, rest)
		}
		if again := AppendBinary(nil, Clone(back)); !bytes.Equal(again, b) {
			t.Fatal("the encoding is not deterministic")
		}
		if cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); true {
			if _, _, err := DecodeBinary(b[:cut], DefaultLimits); err == nil {
				t.Fatalf("%x is decoded although %d bytes are missing", b[:cut], len(b)-cut)
			}
		}
	})
}

// What is passed over as plain JSON is what is decoded, but for typed values.
func TestPlainBinaryIsWhatIsDecodedWithoutTypes(t *testing.T) {
	same := func(t *rapid.T, b []byte, l Limits) {
		v, rest, err := DecodeBinary(b, l)
		plain := CheckPlainBinary(b, l)
		switch {
		case err == nil && len(rest) == 0 && !hasTypes(v):
			if plain != nil {
				t.Fatalf("%x is %s, and refused: %v", b, typed(v), plain)
			}
		case plain == nil:
			t.Fatalf("%x is let through: %v, %v, %d bytes are left", b, v, err, len(rest))
		case !errors.Is(plain, ErrReserved) && err != nil && plain.Error() != err.Error():
			t.Fatalf("%x: %v, and when it is decoded %v", b, plain, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := AppendBinary(nil, anyValue(4).Draw(t, "v"))
		limits := Limits{MaxDepth: rapid.IntRange(1, 5).Draw(t, "depth"), MaxItems: rapid.IntRange(1, 20).Draw(t, "items")}
		same(t, b, limits)
		same(t, b[:rapid.IntRange(0, len(b)).Draw(t, "cut")], limits)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		same(t, b, limits)
	})
}

func TestPlainBinaryTakesNoMemory(t *testing.T) {
	b := AppendBinary(nil, map[string]any{"a": []any{"b", int64(1), 1.5, nil, true}, "c": map[string]any{"d": "e"}})
	if n := testing.AllocsPerRun(100, func() {
		if err := CheckPlainBinary(b, DefaultLimits); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
