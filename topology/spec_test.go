package topology

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseKind(t *testing.T) {
	for _, k := range []Kind{Mesh, Ring, Star} {
		if got, err := ParseKind(string(k)); got != k || err != nil {
			t.Errorf("ParseKind(%q) = %q, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "Mesh", "tree"} {
		if got, err := ParseKind(s); err == nil {
			t.Errorf("ParseKind(%q) = %q, want an error", s, got)
		}
	}
}

func TestValidate(t *testing.T) {
	members := []string{"a", "b", "c"}
	tests := []struct {
		json string
		want string // part of the error
	}{
		{`{"kind":"mesh"}`, ""},
		{`{"kind":"ring"}`, ""},
		{`{"kind":"star","hub":"a"}`, ""},
		{`{"kind":"star","hub":"a","deputies":["c","b"]}`, ""},
		{`{}`, "unknown topology"},
		{`{"kind":"tree"}`, "unknown topology"},
		{`{"kind":"mesh","hub":"a"}`, "only a star"},
		{`{"kind":"ring","deputies":["a"]}`, "only a star"},
		{`{"kind":"star"}`, "needs a hub"},
		{`{"kind":"star","deputies":["a"]}`, "needs a hub"},
		{`{"kind":"star","hub":"z"}`, `"z" is not a member`},
		{`{"kind":"star","hub":"a","deputies":["z"]}`, `"z" is not a member`},
		{`{"kind":"star","hub":"a","deputies":["b","a"]}`, `"a" is named twice`},
		{`{"kind":"star","hub":"a","deputies":["b","b"]}`, `"b" is named twice`},
	}
	for _, tt := range tests {
		var spec Spec
		if err := json.Unmarshal([]byte(tt.json), &spec); err != nil {
			t.Fatal(err)
		}
		err := spec.Validate(members)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.json, err, tt.want)
		}
	}
}
