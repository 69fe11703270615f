package api

import (
	"strings"
	"testing"
)

func FuzzETags(f *testing.F) {
	for _, s := range []string{"", "*", `"a"`, `W/"a", "b.c.j"`, `,"a",,`, `"a`, `"a" "b"`, "\"\x7f\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseETags(s)
		if err != nil {
			return
		}
		if l.any {
			if len(l.tags) > 0 || strings.Trim(s, " \t") != "*" {
				t.Errorf("%q is taken for * and %d tags", s, len(l.tags))
			}
			return
		}
		// What was read, written again, reads the same.
		var again []string
		for _, e := range l.tags {
			prefix := ""
			if e.weak {
				prefix = "W/"
			}
			again = append(again, prefix+`"`+e.opaque+`"`)
		}
		second, err := parseETags(strings.Join(again, ", "))
		if err != nil || len(second.tags) != len(l.tags) {
			t.Fatalf("%q is read as %q, which is read as %v, %v", s, again, second, err)
		}
		for i := range l.tags {
			if second.tags[i] != l.tags[i] {
				t.Errorf("%q: tag %d is %v, then %v", s, i, l.tags[i], second.tags[i])
			}
		}
		if _, err := condition(s, s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzBase(f *testing.F) {
	f.Add(`"0123456789abcdef.rev.j"`)
	f.Add(`"0123456789abcdef"`)
	f.Add(`W/"0123456789abcdef"`)
	f.Fuzz(func(t *testing.T, s string) {
		tag, err := parseBase(s)
		if err == nil && tag != "" && (len(tag) != versionTagLen || !strings.Contains(s, `"`+tag)) {
			t.Errorf("%q names the base %q", s, tag)
		}
	})
}
