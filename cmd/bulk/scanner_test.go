package bulk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// A found record, with a copy of its bytes.
type found struct {
	Line int
	JSON string
}

func scanAll(s *Scanner) (all []found, err error) {
	for {
		r, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if r.Number != len(all)+1 {
			return all, errors.New("a number is left out")
		}
		all = append(all, found{r.Line, string(r.JSON)})
	}
}

func TestScannerCutsValues(t *testing.T) {
	for name, test := range map[string]struct {
		in, member string
		want       []found
	}{
		"nothing":         {in: " \n"},
		"lines":           {in: "{}\n{\"a\":\n1}\n\n{}", want: []found{{1, "{}"}, {2, "{\"a\":\n1}"}, {5, "{}"}}},
		"without breaks":  {in: `{}{"a":[{}]}1 "x"`, want: []found{{1, "{}"}, {1, `{"a":[{}]}`}, {1, "1"}, {1, `"x"`}}},
		"array":           {in: "[{},\n{\"]\": \"\\\"}\"} ,\r\n3]\n", want: []found{{1, "{}"}, {2, `{"]": "\"}"}`}, {3, "3"}}},
		"empty array":     {in: "[ ]"},
		"byte order mark": {in: "\ufeff[1]", want: []found{{1, "1"}}},
		"member":          {in: "{\"x\": {\"rows\": [0]}, \"s\": \"rows\",\n\"rows\": [1, 2], \"y\": [3]}", member: "rows", want: []found{{2, "1"}, {2, "2"}}},
		"escaped member":  {in: `{"ro\u0077s": [1]}`, member: "rows", want: []found{{1, "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
				s := NewScanner(in, 1000, test.member)
				got, err := scanAll(s)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
				if test.member == "" && s.Read() != int64(len(test.in)) {
					t.Errorf("%d bytes were read of %d", s.Read(), len(test.in))
				}
			}
		})
	}
}

func TestScannerSaysInWhichLine(t *testing.T) {
	for name, test := range map[string]struct {
		in, member, want string
	}{
		"object not ended": {"{}\n{\"a\": 1\n\n", "", "line 2: the input ends within the value"},
		"array not ended":  {"[1,\n2\n", "", "line 3: the input ends within the array"},
		"only a comma":     {"[1,\n]", "", "line 2: there is no element"},
		"first a comma":    {"[,1]", "", "line 1: expected a document"},
		"two commas":       {"[1,,2]", "", "line 1: there is no element"},
		"no comma":         {"[1\n2]", "", "line 2: expected a comma"},
		"more":             {"[1]\n[2]", "", "line 2: something follows"},
		"stray bracket":    {"}", "", "line 1: expected a document"},
		"too large":        {"1\n\"" + strings.Repeat("x", 1000) + `"`, "", "line 2: the value that starts here has more than 1000 bytes"},
		"no such member":   {`{"a": 1}`, "b", `line 1: the input has no member "b"`},
		"member no array":  {`{"a": 1}`, "a", `line 1: the member "a" is no array`},
		"no object":        {`[1]`, "a", "line 1: the input is no object"},
		"no colon":         {`{"a" 1}`, "a", "line 1: expected a colon"},
		"nothing":          {``, "a", "line 1: the input is no object"},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewScanner(strings.NewReader(test.in), 1000, test.member)
			_, err := scanAll(s)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if _, again := s.Next(); !errors.Is(again, err) {
				t.Errorf("then %v", again)
			}
		})
	}
	broken := errors.New("broken")
	if _, err := scanAll(NewScanner(io.MultiReader(strings.NewReader("[1,"), iotest.ErrReader(broken)), 1000, "")); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Whatever JSON there is, the scanner cuts it as encoding/json does; and other
// input it survives.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "{}\n{}", `[{"a":"\\\"]"},1.5e3,null]`, `["`, "[1,", "\ufeff[]", "1 2 3", `{"a":[[]]}`, "]", `"\`, "[1 ]x",
		`{"rows": [1, {"x": "]"}], "y": 2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 10
		got, err := scanAll(NewScanner(bytes.NewReader(in), limit, ""))
		for i, r := range got {
			if len(r.JSON) > limit || len(r.JSON) == 0 || r.Line < 1 || i > 0 && r.Line < got[i-1].Line {
				t.Fatalf("record %d: %+v", i, r)
			}
		}
		_, _ = scanAll(NewScanner(bytes.NewReader(in), limit, "rows"))
		want, ok := reference(in)
		if !ok || len(in) > limit {
			return
		}
		if err != nil {
			t.Fatalf("%q is refused: %v", in, err)
		}
		if len(want) != len(got) {
			t.Fatalf("%q: %d records, want %d", in, len(got), len(want))
		}
		for i := range want {
			if got[i].JSON != want[i] {
				t.Fatalf("%q: record %d is %q, want %q", in, i, got[i].JSON, want[i])
			}
		}
	})
}

// reference cuts input that is valid.
func reference(in []byte) (all []string, ok bool) {
	in = bytes.TrimPrefix(in, []byte("\ufeff"))
	var array []json.RawMessage
	if trimmed := bytes.TrimLeft(in, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if json.Unmarshal(in, &array) != nil {
			return nil, false
		}
		for _, v := range array {
			all = append(all, string(v))
		}
		return all, true
	}
	d := json.NewDecoder(bytes.NewReader(in))
	for {
		var v json.RawMessage
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return all, true
		case err != nil:
			return nil, false
		}
		// Numbers and names that touch are cut by encoding/json and not by us.
		if c := v[0]; c != '{' && c != '[' && c != '"' {
			return nil, false
		}
		all = append(all, string(v))
	}
}
