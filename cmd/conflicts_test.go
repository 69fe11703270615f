package cmd

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/api/client"
)

func TestConflictCommands(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	if out := must(t, "conflicts", "list"); out != "There are no such conflicts.\n" {
		t.Error(out)
	}
	// Two versions side by side: the second write was made on an older version.
	must(t, "put", "goods", "tea", `{"price": 1, "name": "tea"}`)
	base := decode[gotDocument](t, must(t, "get", "goods", "tea", "--json")).ETag
	must(t, "put", "goods", "tea", `{"price": 3, "name": "tea"}`)
	must(t, "put", "goods", "tea", `{"price": 2, "name": "tea"}`, "--base", base)

	x := decode[client.LoggedConflict](t, must(t, "conflicts", "list", "--json"))
	if x.Document != "tea" || x.Path != "/price" || x.State != "resolved-by-policy" || len(x.Versions) != 2 {
		t.Fatalf("%+v", x)
	}
	list := must(t, "conflicts", "list", "--collection", "goods", "--state", "resolved-by-policy", "--region", "us-east", "--since", "1h")
	for _, part := range []string{"ID ", "STATE", x.ID, "goods/tea /price", "us-east,us-east", "merge"} {
		if !strings.Contains(list, part) {
			t.Errorf("the list lacks %q:\n%s", part, list)
		}
	}
	show := must(t, "conflicts", "show", x.ID)
	for _, part := range []string{"goods/tea /price\nresolved-by-policy", "By the policy merge", "is newer than", "SHOWN  REGION", "yes    us-east", "Now there is: 2"} {
		if !strings.Contains(show, part) {
			t.Errorf("the explanation lacks %q:\n%s", part, show)
		}
	}
	if e := decode[client.ExplainedConflict](t, must(t, "conflicts", "show", x.ID, "--json")); e.ID != x.ID || e.Explanation == "" || string(e.Versions[0].Value) != "3" {
		t.Errorf("%+v", e)
	}

	const greatest = `{"script": "function resolve(versions) { return Math.max(...versions.map(v => v.value)) }"}`
	preview := must(t, "conflicts", "preview", x.ID, greatest)
	if !strings.Contains(preview, "Compared with what is there now:\nCHANGE   PATH    VALUE\nreplace  /price  3") {
		t.Errorf("preview:\n%s", preview)
	}
	if out := must(t, "conflicts", "preview", x.ID, "lww"); !strings.Contains(out, "It would show what is there now.") {
		t.Error(out)
	}
	if out := must(t, "conflicts", "preview", "--collection", "goods", greatest, "--last", "5"); !strings.Contains(out, "Of 1 conflict, 1 would show something else.") {
		t.Error(out)
	}
	if p := decode[client.ConflictPreviews](t, must(t, "conflicts", "preview", "--collection", "goods", greatest, "--json")); p.Checked != 1 || p.Changes != 1 {
		t.Errorf("%+v", p)
	}

	mustFail(t, StatusUsage, []string{"conflicts", "restore", x.ID, "us-east"}, "wrote several versions")
	mustFail(t, StatusUsage, []string{"conflicts", "restore", x.ID, "mars"}, "neither a version")
	mustFail(t, StatusFailed, []string{"conflicts", "restore", x.ID, x.Versions[0].Dot, "--if-match", base}, "412 precondition-failed")
	if out := must(t, "conflicts", "restore", x.ID, x.Versions[0].Dot); !strings.HasPrefix(out, "restored "+x.Versions[0].Dot+" of goods/tea /price in us-east, ETag ") {
		t.Error(out)
	}
	if got := must(t, "get", "goods", "tea"); !strings.Contains(got, `"price": 3`) {
		t.Error(got)
	}
	if out := must(t, "conflicts", "list", "--state", "undone"); !strings.Contains(out, x.ID) {
		t.Error(out)
	}
	events := must(t, "conflicts", "watch", "--after", "0", "--count", "1")
	if !strings.Contains(events, x.ID+"  undone  goods/tea /price: ") {
		t.Errorf("the feed says %q", events)
	}
	if e := decode[client.LoggedConflict](t, must(t, "conflicts", "watch", "--after", "0", "--count", "1", "--json")); e.ID != x.ID || e.Change != 2 {
		t.Errorf("%+v", e)
	}
	mustFail(t, StatusFailed, []string{"conflicts", "watch", "--after", "99"}, "410 feed-gone")
	mustFail(t, StatusFailed, []string{"conflicts", "show", "0123456789abcdef01234567"}, "404 no-such-conflict", "conflicts list")
	mustFail(t, StatusFailed, []string{"conflicts", "list", "--state", "shut"}, "422 invalid")
}

// TestWatchGoesOnAfterTheConnectionIsLost restarts the region under a watch.
func TestWatchGoesOnAfterTheConnectionIsLost(t *testing.T) {
	s := serveOne(t)
	conflict := func(id string) {
		must(t, "put", "goods", id, `{"price": 1}`, "--addr", s.url)
		base := decode[gotDocument](t, must(t, "get", "goods", id, "--json", "--addr", s.url)).ETag
		must(t, "put", "goods", id, `{"price": 3}`, "--addr", s.url)
		must(t, "put", "goods", id, `{"price": 2}`, "--base", base, "--addr", s.url)
	}
	conflict("a")
	out, in := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		done <- Execute(ctx, []string{"conflicts", "watch", "--after", "0", "--count", "2", "--json", "--addr", s.url}, strings.NewReader(""), in, &errs)
		in.Close()
	}()
	lines := make(chan string, 4)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	if first := decode[client.LoggedConflict](t, <-lines); first.Document != "a" {
		t.Errorf("%+v", first)
	}
	if r := s.stop(); r.status != StatusDone {
		t.Fatalf("%+v", r)
	}
	args := slices.Concat(s.args, []string{"--http", strings.TrimPrefix(s.url, "http://")})
	again := serve(t, args...)
	if again.url != s.url {
		t.Fatalf("the region came back at %s", again.url)
	}
	conflict("b")
	if second := decode[client.LoggedConflict](t, <-lines); second.Document != "b" {
		t.Errorf("%+v", second)
	}
	if status := <-done; status != StatusDone || !strings.Contains(errs.String(), "trying again") {
		t.Errorf("status %d: %s", status, errs.String())
	}
}
