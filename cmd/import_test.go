package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/api/client"
)

// rows makes NDJSON of documents that have ids.
func rows(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `{"id": "row-%05d", "n": %d, "half": %d.5, "text": "<b>%d</b>", "seen": {"$counter": %d}, "tags": {"$set": ["a", "b"]}}`+"\n", i, i, i, i, i)
	}
	return b.String()
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func importJSON(t *testing.T, stdin string, args ...string) imported {
	t.Helper()
	return decode[imported](t, mustIn(t, stdin, append([]string{"import", "--json"}, args...)...))
}

func TestImportAndExportAreInverse(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	const n = 1200 // several pages and batches
	in := importJSON(t, "", writeFile(t, "rows.ndjson", rows(0, n)), "--collection", "a")
	if in.Created != n || in.Documents != n || in.Changes != n/200 || in.Rate == 0 {
		t.Errorf("%+v", in)
	}

	file := filepath.Join(t.TempDir(), "a.ndjson")
	if out := must(t, "export", "--collection", "a", "--out", file); !strings.HasPrefix(out, "a: 1,200 documents, ") {
		t.Error(out)
	}
	exported, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(exported), "\n")
	const want = `{"id":"row-00000","value":{"half":0.5,"id":"row-00000","n":0,"seen":{"$counter":0},"tags":{"$set":["a","b"]},"text":"<b>0</b>"}}`
	if first != want || strings.Count(string(exported), "\n") != n {
		t.Errorf("%d lines, the first is %s", strings.Count(string(exported), "\n"), first)
	}

	mustFail(t, StatusUsage, []string{"import", file, "--collection", "b"}, "--exported")
	if in := importJSON(t, string(exported), "-", "--collection", "b", "--exported"); in.Created != n {
		t.Errorf("%+v", in)
	}
	r := run(t, "", "export", "--collection", "b", "--json")
	if r.status != StatusDone || r.out != string(exported) {
		t.Errorf("the second export differs from the first; status %d", r.status)
	}
	if e := decode[exportedJSON](t, r.err); e.Documents != n || e.Collection != "b" || int(e.Bytes) != len(exported) {
		t.Errorf("%+v", e)
	}
	plain := must(t, "export", "--collection", "b", "--plain", "--prefix", "row-00001")
	if plain != `{"id":"row-00001","value":{"half":1.5,"id":"row-00001","n":1,"seen":1,"tags":["a","b"],"text":"<b>1</b>"}}`+"\n" {
		t.Error(plain)
	}
	// As documents of their own.
	if in := importJSON(t, string(exported), "-", "--collection", "c", "--exported=false"); in.Created != n {
		t.Errorf("%+v", in)
	}
	mustFail(t, StatusFailed, []string{"export", "--collection", "nope"}, "404 unknown-collection")
	if r := run(t, "", "export", "--collection", "nope", "--out", file); r.status != StatusFailed {
		t.Errorf("%+v", r)
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(exported) {
		t.Error("an export that failed has touched the file")
	}
}

// An interrupter gives out its text and ends the context on the way.
type interrupter struct {
	io.Reader
	cancel context.CancelFunc
	after  int
}

func (r *interrupter) Read(p []byte) (int, error) {
	if r.after <= 0 {
		r.cancel()
	}
	n, err := r.Reader.Read(p[:min(len(p), 4<<10)])
	r.after -= n
	return n, err
}

func TestInterruptedImportGoesOnWithoutWritingTwice(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	const n = 3000
	text := rows(0, n)
	for _, test := range []struct {
		name string
		args []string
	}{
		{"plain", nil},
		{"resume", []string{"--resume", filepath.Join(t.TempDir(), "checkpoint")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"import", "-", "--json", "--collection", test.name}, test.args...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := runIn(ctx, &interrupter{strings.NewReader(text), cancel, len(text) / 2}, args...)
			if r.status != StatusFailed || !strings.Contains(r.err, "interrupted\nRun the same command again") {
				t.Fatalf("%+v", r)
			}
			before := decode[imported](t, r.out)
			if before.Created == 0 || before.Created >= n {
				t.Fatalf("the interruption left %+v", before)
			}
			// The batch that was on its way may have been written; nothing else is new.
			after := decode[imported](t, mustIn(t, text, args...))
			if after.Updated != 0 || after.Created+after.Unchanged+after.Passed != n || after.Created < n-before.Created-200 {
				t.Errorf("before %+v, after %+v", before, after)
			}
			if test.args == nil && after.Passed != 0 || test.args != nil && after.Passed != before.Created {
				t.Errorf("passed over: before %+v, after %+v", before, after)
			}
			again := decode[imported](t, mustIn(t, text, args...))
			if again.Changes != 0 || again.Unchanged+again.Passed != n {
				t.Errorf("a third run: %+v", again)
			}
			for _, id := range []string{"row-00000", "row-01499", "row-01500", "row-02999"} {
				v := decode[client.Versions](t, must(t, "versions", test.name, id, "--json"))
				if len(v.Versions) != 1 || len(v.Conflicts) != 0 {
					t.Errorf("%s has %+v", id, v)
				}
			}
		})
	}
	if plain, resumed := must(t, "export", "--collection", "plain"), must(t, "export", "--collection", "resume"); plain != resumed || strings.Count(plain, "\n") != n {
		t.Error("the two imports differ")
	}
}

func TestCheckpointKnowsItsInput(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	file := filepath.Join(t.TempDir(), "checkpoint")
	resume := func(text string, more ...string) result {
		return run(t, text, append([]string{"import", "-", "--json", "--resume", file, "--collection", "c"}, more...)...)
	}
	if r := resume(rows(0, 300)); r.status != StatusDone {
		t.Fatalf("%+v", r)
	}
	if in := decode[imported](t, resume(rows(0, 400)).out); in.Passed != 300 || in.Created != 100 {
		t.Errorf("an input that has grown: %+v", in)
	}
	for name, r := range map[string]result{
		"another input":      resume(rows(1, 500)),
		"a shorter input":    resume(rows(0, 399)),
		"another collection": resume(rows(0, 400), "--collection", "d"),
		"other ids":          resume(rows(0, 400), "--generate-ids"),
	} {
		if r.status != StatusFailed || !strings.Contains(r.err, "cannot go on from its checkpoint") || !strings.Contains(r.err, "Remove the file named by --resume") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if err := os.WriteFile(file, []byte("not one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := resume(rows(0, 1)); r.status != StatusFailed {
		t.Errorf("a file that is no checkpoint: %+v", r)
	}
}

func TestImportReplacesOrKeepsWhatIsThere(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	importJSON(t, rows(0, 3), "-", "--collection", "c")
	must(t, "patch", "c", "row-00001", `{"mine": true}`)
	in := importJSON(t, rows(0, 4), "-", "--collection", "c", "--existing", "skip")
	if in.Created != 1 || in.Unchanged != 2 || in.Skipped != 1 {
		t.Errorf("skip: %+v", in)
	}
	if doc := must(t, "get", "c", "row-00001"); !strings.Contains(doc, "mine") {
		t.Error("--existing skip has replaced an edit")
	}
	in = importJSON(t, rows(0, 4), "-", "--collection", "c")
	if in.Updated != 1 || in.Unchanged != 3 {
		t.Errorf("replace: %+v", in)
	}
	if doc := must(t, "get", "c", "row-00001"); strings.Contains(doc, "mine") {
		t.Error("--existing replace has kept an edit")
	}
}

func TestImportSaysWhichLineIsWrong(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	good := rows(0, 2)
	for _, test := range []struct {
		name, in string
		args     string
		want     []string
	}{
		{"syntax", good + "{\"id\": \"x\",\n \"a\" 1}\n", "", []string{"line 4: document 3", "malformed JSON", "2 documents before it are imported"}},
		{"cut short", good + `{"id": "x"`, "", []string{"line 3", "the input ends within the value that starts here"}},
		{"no object", good + "[1]\n", "", []string{"line 3: document 3", "not a JSON object"}},
		{"number", "[{\"id\": 1},\n\n{\"id\": 2, \"n\": 1e999}]", "", []string{"line 3: document 2", "number cannot be kept exactly"}},
		{"no id", good + "{}\n", "", []string{"line 3: document 3", `no member "id"`, "--id-field", "--generate-ids"}},
		{"bad id", `{"id": 1.5}`, "", []string{"line 1", "neither a text nor an integer"}},
		{"control character", `{"id": "a\u0000b"}`, "", []string{"line 1", "control character"}},
		{"array not ended", `[{"id": 1}`, "", []string{"line 1", "within the array"}},
		{"no export", `{"id": "a", "v": 1}`, "--exported", []string{"line 1", "is this what"}},
		{"no member", `{"a": []}`, "--member b", []string{"line 1", `no member "b"`}},
		{"too large", `{"id": 1, "x": "` + strings.Repeat("x", 1<<20) + `"}`, "", []string{"line 1", "at most"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := run(t, test.in, append([]string{"import", "-", "--collection", "bad"}, strings.Fields(test.args)...)...)
			if r.status != StatusFailed {
				t.Fatalf("%+v", r)
			}
			for _, text := range test.want {
				if !strings.Contains(r.err, text) {
					t.Errorf("standard error lacks %q:\n%s", text, r.err)
				}
			}
		})
	}
}

func TestImportShapesAndIDs(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	array := `[{"code": 7, "name": "seven"}, {"code": 8, "name": "eight"}]`
	for _, test := range []struct{ name, in, args, ids string }{
		{"array", array, "--id-field code", "7 8"},
		{"member", `{"version": [1, "]"], "table": ` + array + `, "more": 1}`, "--id-field name --member table", "eight seven"},
		{"lines", "\ufeff" + strings.NewReplacer("[", "", "]", "", ", {", "\n\n{").Replace(array), "--id-field code", "7 8"},
		{"empty", "", "", ""},
		{"empty-array", " [ ] ", "", ""},
	} {
		in := importJSON(t, test.in, append([]string{"-", "--collection", test.name}, strings.Fields(test.args)...)...)
		var ids []string
		if in.Documents > 0 {
			for line := range strings.Lines(must(t, "list", test.name, "--json")) {
				ids = append(ids, decode[client.Document](t, line).ID)
			}
		}
		if got := strings.Join(ids, " "); got != test.ids {
			t.Errorf("%s: ids %q, want %q", test.name, got, test.ids)
		}
	}

	// Made ids keep equal documents apart and stay the same, also when the input grows.
	text := `{"a":1}{"a":1}{"a":2}`
	importJSON(t, text, "-", "--collection", "made", "--generate-ids")
	if in := importJSON(t, text+`{"a":1}`, "-", "--collection", "made", "--generate-ids"); in.Unchanged != 3 || in.Created != 1 {
		t.Errorf("%+v", in)
	}
	// The same id twice in one input: the last one stays.
	importJSON(t, `{"id":1,"v":1}{"id":2}{"id":1,"v":2}`, "-", "--collection", "twice")
	if doc := must(t, "get", "twice", "1"); !strings.Contains(doc, `"v": 2`) {
		t.Error(doc)
	}
}
