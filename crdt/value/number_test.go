package value

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbers(t *testing.T) {
	negativeZero := math.Copysign(0, -1)
	for _, tt := range []struct {
		in    string
		value any    // nil: refused
		out   string // "": same as in
	}{
		{"0", int64(0), ""},
		{"1", int64(1), ""},
		{"-1", int64(-1), ""},
		{"9007199254740993", int64(1<<53 + 1), ""},
		{"9223372036854775807", int64(math.MaxInt64), ""},
		{"-9223372036854775808", int64(math.MinInt64), ""},
		{"9223372036854775808", nil, ""},
		{"-9223372036854775809", nil, ""},
		{"18446744073709551615", nil, ""},
		{"1" + strings.Repeat("0", 400), nil, ""},

		{"-0", negativeZero, "-0.0"},
		{"-0.0", negativeZero, ""},
		{"0.0", 0.0, ""},
		{"0e5", 0.0, "0.0"},
		{"0.000e-9999999999", 0.0, "0.0"},
		{"1.0", 1.0, ""},
		{"1.00", 1.0, "1.0"},
		{"1e3", 1000.0, "1000.0"},
		{"1E+3", 1000.0, "1000.0"},
		{"1e-3", 0.001, "0.001"},
		{"1.50", 1.5, "1.5"},
		{"0.1", 0.1, ""},
		{"-12.75", -12.75, ""},
		{"0.30000000000000004", 0x1.3333333333334p-2, ""},
		{"0.1000000000000000055", nil, ""},
		{"0.1000000000000000055511151231257827", nil, ""}, // the float64 itself, but not its shortest form
		{"0.10000000000000000", 0.1, "0.1"},
		{"3.141592653589793", math.Pi, ""},
		{"3.1415926535897932", nil, ""},
		{"9007199254740993.0", nil, ""},
		{"9007199254740992.0", 9007199254740992.0, ""},
		{"1152921504606846976.0", nil, ""}, // 2^60 is a float64, and would come back as …847000.0
		{"1152921504606847000.0", float64(1 << 60), ""},
		{"9223372036854775808.0", nil, ""},
		{"1e20", 1e20, "100000000000000000000.0"},
		{"1e21", 1e21, "1e+21"},
		{"1e22", 1e22, "1e+22"},
		{"1e23", 1e23, "1e+23"},
		{"123e45", 1.23e47, "1.23e+47"},
		{"0.000001", 1e-6, ""},
		{"0.0000001", 1e-7, "1e-7"},
		{"1e-10", 1e-10, ""},
		{"1.7976931348623157e308", math.MaxFloat64, "1.7976931348623157e+308"},
		{"1.7976931348623159e308", nil, ""},
		{"1e308", 1e308, "1e+308"},
		{"1e400", nil, ""},
		{"-1e400", nil, ""},
		{"1e99999999999999999999", nil, ""},
		{"5e-324", 5e-324, ""},
		{"4.9e-324", nil, ""},
		{"1e-323", 1e-323, ""},
		{"1.1e-323", nil, ""},
		{"2.2250738585072014e-308", 0x1p-1022, ""},
		{"1e18446744073709551616", nil, ""}, // 2^64 must not wrap around to 0
		{"1e-400", nil, ""},
		{"1e-99999999999999999999", nil, ""},
		{"0." + strings.Repeat("0", 400) + "1e400", 0.1, "0.1"},
		{"1" + strings.Repeat("0", 400) + "e-400", 1.0, "1.0"},
	} {
		got, err := Parse([]byte(tt.in), DefaultLimits)
		if tt.value == nil {
			if !errors.Is(err, ErrNumber) {
				t.Errorf("Parse(%s) = %v, %v, want ErrNumber", tt.in, got, err)
			}
			continue
		}
		if err != nil || !Equal(got, tt.value) {
			t.Errorf("Parse(%s) = %T %v, %v, want %T %v", tt.in, got, got, err, tt.value, tt.value)
			continue
		}
		want := tt.out
		if want == "" {
			want = tt.in
		}
		if out := typed(got); out != want {
			t.Errorf("%s is written %s, want %s", tt.in, out, want)
		}
	}
}

// keptExactly says what Parse must accept, in rational arithmetic.
func keptExactly(literal string) bool {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return false
	}
	want, ok := new(big.Rat).SetString(literal)
	if !ok {
		return false
	}
	kept, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', -1, 64))
	return want.Cmp(kept) == 0
}

func TestNumbersAreKeptExactlyOrRefused(t *testing.T) {
	literal := rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})\.[0-9]{1,24}`),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?[eE][+-]?[0-9]{1,2}`),
		rapid.StringMatching(`-?[1-9](\.[0-9]{1,17})?[eE][+-]?3[0-3][0-9]`),
		rapid.StringMatching(`[1-9]0{0,5}[1-9]?0{0,30}\.0{0,20}[1-9]?0{0,5}`).Filter(func(s string) bool { return !strings.HasSuffix(s, ".") }),
		rapid.Map(anyFloat, func(f float64) string { return string(appendFloat(nil, f)) }),
		rapid.Map(anyFloat, func(f float64) string { return strconv.FormatFloat(f, 'e', 16, 64) }),
		rapid.Map(anyFloat, func(f float64) string { return strconv.FormatFloat(f, 'e', 17, 64) }),
		rapid.Map(anyFloat, func(f float64) string { return strconv.FormatFloat(f, 'e', 14, 64) }),
	)
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		in := literal.Draw(t, "literal")
		v, err := Parse([]byte(in), DefaultLimits)
		if err != nil && !errors.Is(err, ErrNumber) {
			t.Fatal(err)
		}
		if want := keptExactly(in); (err == nil) != want {
			t.Fatalf("accepted: %t, kept exactly: %t", err == nil, want)
		}
		if err != nil {
			refused++
			return
		}
		accepted++
		f, ok := v.(float64)
		if want, _ := strconv.ParseFloat(in, 64); !ok || math.Float64bits(f) != math.Float64bits(want) {
			t.Fatalf("read as %T %v, want %v", v, v, want)
		}
		a, _ := new(big.Rat).SetString(in)
		b, _ := new(big.Rat).SetString(typed(v))
		if a.Cmp(b) != 0 {
			t.Fatalf("%s comes back as %s", in, typed(v))
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted and %d refused: the generator is too one-sided", accepted, refused)
	}
}

func TestIntegersAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyInt.Draw(t, "i")
		v, err := Parse(strconv.AppendInt(nil, want, 10), DefaultLimits)
		if got, ok := v.(int64); err != nil || !ok || got != want {
			t.Fatalf("got %T %v, %v", v, v, err)
		}
	})
}
