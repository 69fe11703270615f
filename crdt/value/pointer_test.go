package value

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// RFC 6901, section 5.
func TestPointerExamples(t *testing.T) {
	const doc = `{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}`
	v := parse(t, doc)
	for _, tt := range []struct{ pointer, want string }{
		{"", plain(v)},
		{"/foo", `["bar","baz"]`},
		{"/foo/0", `"bar"`},
		{"/", `0`},
		{"/a~1b", `1`},
		{"/c%d", `2`},
		{"/e^f", `3`},
		{"/g|h", `4`},
		{`/i\j`, `5`},
		{`/k"l`, `6`},
		{"/ ", `7`},
		{"/m~0n", `8`},
	} {
		p, err := ParsePointer(tt.pointer)
		if err != nil {
			t.Errorf("ParsePointer(%q): %v", tt.pointer, err)
			continue
		}
		if p.String() != tt.pointer {
			t.Errorf("%q is written %q", tt.pointer, p.String())
		}
		if got, ok := Find(v, p); !ok || plain(got) != tt.want {
			t.Errorf("%q finds %v, %t, want %s", tt.pointer, got, ok, tt.want)
		}
	}
}

func TestFindNothing(t *testing.T) {
	v := parse(t, `{"a":[1,{"b":2}],"s":{"$set":["x"]},"t":{"$text":"x"},"n":null}`)
	for _, pointer := range []string{"/b", "/a/2", "/a/-", "/a/01", "/a/-1", "/a/+1", "/a/1e0", "/a/", "/a/0/x", "/a/1/c", "/s/0", "/t/0", "/n/a", "//a"} {
		p, err := ParsePointer(pointer)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Find(v, p); ok {
			t.Errorf("%q finds %v", pointer, got)
		}
	}
}

func TestParsePointer(t *testing.T) {
	for in, want := range map[string]Pointer{
		"":           {},
		"/":          {""},
		"//":         {"", ""},
		"/~01":       {"~1"},
		"/~10":       {"/0"},
		"/~0~1~0/~1": {"~/~", "/"},
		"/a/0/é":     {"a", "0", "é"},
	} {
		got, err := ParsePointer(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParsePointer(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"a", "a/b", "#/a", "/~", "/~2", "/a~", "/~/a", "/\xff"} {
		if got, err := ParsePointer(in); !errors.Is(err, ErrPointer) || got != nil {
			t.Errorf("ParsePointer(%q) = %q, %v, want ErrPointer", in, got, err)
		}
	}
}

func TestPointerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Pointer(rapid.SliceOf(anyString).Draw(t, "pointer"))
		got, err := ParsePointer(want.String())
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q comes back as %q, %v", want, got, err)
		}
	})
}

func TestParseIndex(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "7": 7, "10": 10, "131072": 131072, "2147483639": 2147483639} {
		if got, ok := ParseIndex(in); !ok || got != want {
			t.Errorf("ParseIndex(%q) = %d, %t", in, got, ok)
		}
	}
	for _, in := range []string{"", "-", "-1", "+1", "00", "01", "1.0", "1e1", " 1", "1 ", "a", "٣", "9999999999", "18446744073709551616"} {
		if got, ok := ParseIndex(in); ok {
			t.Errorf("ParseIndex(%q) = %d", in, got)
		}
	}
}
