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

func TestWatchShowsChangesFromACursorOn(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	must(t, "put", "carts", "c1", `{"items": ["tea"]}`)
	must(t, "put", "goods", "tea", `{}`)
	must(t, "delete", "carts", "c1")

	out := must(t, "watch", "--since", "0", "--count", "3")
	for i, want := range []string{"  us-east  carts/c1  deleted", "  us-east  goods/tea  {}", "  us-east  carts/c1  deleted"} {
		if line := strings.Split(out, "\n")[i]; !strings.HasSuffix(line, want) {
			t.Errorf("line %d is %q, not %q", i, line, want)
		}
	}
	x := decode[client.Change](t, must(t, "watch", "goods", "--since", "0", "--count", "1", "--json"))
	if len(x.Docs) != 1 || x.Docs[0].Collection != "goods" || x.Docs[0].ID != "tea" || x.Cursor == "" {
		t.Errorf("%+v", x)
	}
	y := decode[client.Change](t, must(t, "watch", "--since", x.Cursor, "--count", "1", "--json"))
	if len(y.Docs) != 1 || !y.Docs[0].Deleted || y.Docs[0].ID != "c1" {
		t.Errorf("%+v", y)
	}
	mustFail(t, StatusFailed, []string{"watch", "none"}, "404")
	mustFail(t, StatusFailed, []string{"watch", "--since", "yesterday"}, "400 malformed-cursor")
	mustFail(t, StatusUsage, []string{"watch", "a", "b"}, `unexpected argument "b"`)
}

func TestWatchOfChangesGoesOnAfterTheRegionWasRestarted(t *testing.T) {
	s := serveOne(t)
	must(t, "put", "goods", "a", `{}`, "--addr", s.url)
	out, in := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		done <- Execute(ctx, []string{"watch", "goods", "--since", "0", "--count", "2", "--addr", s.url}, strings.NewReader(""), in, &errs)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.Contains(lines.Text(), "goods/a") {
		t.Errorf("%q", lines.Text())
	}
	if r := s.stop(); r.status != StatusDone {
		t.Fatalf("%+v", r)
	}
	again := serve(t, slices.Concat(s.args, []string{"--http", strings.TrimPrefix(s.url, "http://")})...)
	must(t, "put", "goods", "b", `{}`, "--addr", again.url)
	if !lines.Scan() || !strings.Contains(lines.Text(), "goods/b") {
		t.Errorf("%q", lines.Text())
	}
	if status := <-done; status != StatusDone || !strings.Contains(errs.String(), "trying again") {
		t.Errorf("status %d: %s", status, errs.String())
	}
}
