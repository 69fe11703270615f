package cmd

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

func TestHome(t *testing.T) {
	s := serveOne(t)
	t.Setenv("MERIDIAN_ADDR", s.url)
	must(t, "put", "seats", "1a", `{}`)
	if got := must(t, "home", "seats"); !strings.Contains(got, "no home") {
		t.Errorf("got %q", got)
	}
	if got := must(t, "home", "seats", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("got %q", got)
	}
	m := decode[client.HomeMove](t, must(t, "home", "seats", "us-east", "--prefix", "1", "--json"))
	if m.Home.Region != "us-east" || m.Home.Prefix != "1" || m.Home.Epoch != 1 || m.MayLose != nil {
		t.Errorf("%+v", m)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := must(t, "home", "seats"); strings.Contains(got, "granted") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the only region does not become home: %s", got)
		}
	}
	if got := must(t, "home", "seats", "us-east", "--prefix", "1"); !strings.Contains(got, "is the home of seats with ids that start with 1") {
		t.Errorf("got %q", got)
	}
	must(t, "put", "seats", "1a", `{"n": 1}`)
	if got := must(t, "get", "seats", "1a", "--read", "home", "--fallback"); !strings.Contains(got, `"n": 1`) {
		t.Errorf("got %q", got)
	}
	mustFail(t, StatusFailed, []string{"home", "seats", "nowhere"}, "422 invalid", "no region")
	mustFail(t, StatusUsage, []string{"home", "seats", "--force"}, "go with REGION")
	mustFail(t, StatusUsage, []string{"home"}, "COLLECTION is missing")
}
