package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/api/client"
)

func TestPolicyCheck(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	// Two versions side by side: the second write was made on an older version.
	file := filepath.Join(t.TempDir(), "resolve.js")
	write := func(source string) {
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "put", "goods", "tea", `{"price": 1, "name": "tea"}`)
	base := decode[gotDocument](t, must(t, "get", "goods", "tea", "--json")).ETag
	must(t, "put", "goods", "tea", `{"price": 3, "name": "tea"}`)
	must(t, "put", "goods", "tea", `{"price": 2, "name": "tea"}`, "--base", base)

	write("// The greatest price, if all are numbers.\n" +
		"function resolve(versions) {\n  const all = versions.map(v => v.value);\n" +
		"  if (all.some(v => typeof v !== \"number\")) return versions.find(v => v.rank === versions.length - 1);\n  return Math.max(...all);\n}\n")
	out := must(t, "policy", "check", file, "--collection", "goods")
	for _, part := range []string{"Of the 1 document of goods, 1 is in conflict, and 1 would show something else.", "DOCUMENT  PATH    CHANGES  SHOWN  WHY", "tea       /price  yes      3      the script ", " passes: tried on 1 conflict of the collection and 40 generated ones."} {
		if !strings.Contains(out, part) {
			t.Errorf("the report lacks %q:\n%s", part, out)
		}
	}
	for _, args := range [][]string{{"max", "--field", "/price"}, {`{"region-priority": ["us-east"]}`}, {"lww"}} {
		r := decode[client.PolicyReport](t, must(t, append([]string{"policy", "check", "--collection", "goods", "--json"}, args...)...))
		if !r.OK || r.Cases.Recorded != 1 || (r.Documents.Changed == 1) != (args[0] == "max") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if got := must(t, "get", "goods", "tea"); !strings.Contains(got, `"price": 2`) {
		t.Errorf("the check has changed the policy: %s", got)
	}

	write("function resolve(versions) { return versions[0] }")
	r := run(t, "", "policy", "check", file, "--type", "register")
	if r.status != StatusFailed || !strings.Contains(r.out, "does not pass") || !strings.Contains(r.out, "depends-on-order (generated 1)") || r.err != "" {
		t.Errorf("%+v", r)
	}
	write("function resolve(versions) {\n  return Date.now()\n}")
	mustFail(t, StatusFailed, []string{"policy", "check", file}, "line 2, column 10", "no Date here")
	mustFail(t, StatusFailed, []string{"policy", "check", "lww", "--collection", "none"}, "404 unknown-collection")
	mustFail(t, StatusUsage, []string{"policy", "check"}, "FILE is missing")
	mustFail(t, StatusUsage, []string{"policy", "check", "nofile.js"}, "there is no file nofile.js")
	mustFail(t, StatusUsage, []string{"policy", "bogus"}, `there is no command "policy bogus"`)
}
